"""Whatever bytes there are, a parser reads them or gives its own error."""

from __future__ import annotations

import random

import pytest

from tests.conftest import FreshPython
from tests.counts import count
from tests.faults.parsers import PARSERS, Parser, mutant

MUTANTS = 2000
LONG_SECONDS = 120


@pytest.mark.parametrize("name", PARSERS)
def test_good_bytes_are_read(name: str) -> None:
    """Or changing them would prove nothing; made consistent again they are good still."""
    parser = PARSERS[name]

    assert all(parser.survives(seed) for seed in parser.seeds)
    assert all(parser.survives(parser.mend(seed)) for seed in parser.seeds)


@pytest.mark.parametrize("name", PARSERS)
def test_mutants_are_read_or_refused(name: str) -> None:
    """Also where the attacker computed seals and lengths anew: no error of another kind, and some of each outcome."""
    parser = PARSERS[name]
    dice = random.Random(name)  # noqa: S311 - to be the same in every run of the tests

    outcomes = []
    for _ in range(MUTANTS):
        data = mutant(dice.choice(parser.seeds), dice)
        outcomes += [parser.survives(data), parser.survives(parser.mend(data))]

    assert set(outcomes) == ({True, False} if parser.refusals else {True})
    count("mutants parsed", len(outcomes))


def test_a_parser_that_fails_otherwise_is_seen() -> None:
    """An IndexError is not taken for a refusal."""
    careless = Parser(parse=lambda data: data[100], refusals=(ValueError,), seeds=(b"x" * 200,))

    with pytest.raises(IndexError):
        careless.survives(b"short")


@pytest.mark.long
@pytest.mark.parametrize("name", PARSERS)
def test_fuzzing_for_minutes_finds_nothing(name: str, fresh_python: FreshPython) -> None:
    """Guided by coverage where atheris is installed."""
    tried, _, how = fresh_python("-m", "tests.faults.fuzz", name, str(LONG_SECONDS)).stdout.strip().partition(" ")

    assert int(tried) > MUTANTS
    count(f"mutants parsed, {how}", int(tried))
    count("seconds of fuzzing", LONG_SECONDS)
