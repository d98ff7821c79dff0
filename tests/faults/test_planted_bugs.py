from __future__ import annotations

import pathlib

import pytest

from tests.conftest import CHECKOUT
from tests.faults.planted_bugs import BUGS, Bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_bug_can_be_planted(bug: Bug) -> None:
    """Its text is there exactly once, what replaces it is Python, and the tests that must catch it exist."""
    source = (CHECKOUT / bug.file).read_text(encoding="utf-8")

    patched = bug.patched(source)

    assert patched != source
    compile(patched, bug.file, "exec")
    for test in bug.tests:
        assert not test.startswith("tests/") or (CHECKOUT / test).is_file()


def test_there_are_enough_bugs_each_of_its_own() -> None:
    """No two of them are one."""
    assert len({bug.name for bug in BUGS}) == len({(bug.file, bug.old) for bug in BUGS}) == len(BUGS) >= 25


def test_a_bug_whose_place_is_gone_is_not_passed_over() -> None:
    """Code moves on: a patch that no longer fits would be caught by nothing and prove nothing."""
    bug = Bug("moved", str(pathlib.Path("a.py")), "old", "new", ())

    with pytest.raises(ValueError, match="holds 0 times"):
        bug.patched("")
    with pytest.raises(ValueError, match="holds 2 times"):
        bug.patched("old old")
