"""Well-formed hostile recipes, drawn at random and restored in a process whose every step is watched."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from tests.conftest import FreshPython
from tests.counts import count


def attack(fresh_python: FreshPython, place: pathlib.Path, *, seconds: float, seed: int) -> dict[str, Any]:
    """Let the attacker do what he can, for some seconds."""
    place.mkdir()
    ended = fresh_python("-m", "tests.faults.attacker", str(place), str(seconds), str(seed))
    said: dict[str, Any] = json.loads(ended.stdout)
    count("hostile recipes restored or refused", said["tried"])
    return said


def test_an_attacker_reaches_nothing(fresh_python: FreshPython, tmp_path: pathlib.Path) -> None:
    """No file of his runs, imports, unpickles, opens, or takes long; what is not followed is refused in our words."""
    said = attack(fresh_python, tmp_path / "place", seconds=4, seed=1)

    assert (said["events"], said["raw"], said["slow"]) == ([], [], [])
    assert said["loaded"] >= 1
    assert said["tried"] >= 10


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 14))
def test_an_attacker_reaches_nothing_in_twenty_minutes(
    fresh_python: FreshPython, tmp_path: pathlib.Path, seed: int
) -> None:
    """The same for long."""
    said = attack(fresh_python, tmp_path / "place", seconds=300, seed=seed)

    assert (said["events"], said["raw"], said["slow"]) == ([], [], [])
    assert said["loaded"] >= 50
