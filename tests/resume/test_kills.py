from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

from tests.conftest import FreshPython
from tests.counts import count
from tests.integration.processes import outputs, start
from tests.resume.killed_fit import CASES, differences

TRAIN = "from tests.resume.killed_fit import main; main()"
KILL = "from tests.resume.killer import main; main()"
KILLS_OF_A_CASE = 8
LATEST_KILL_SECONDS = 3.0


@pytest.fixture
def dice() -> random.Random:
    """Choose the moments of the kills: others each time, and printed, so that they can be chosen again."""
    seed = os.environ.get("KILL_SEED") or str(random.randrange(10**6))  # noqa: S311 - not a secret
    print(f"KILL_SEED={seed}")  # noqa: T201 - shown where the test fails
    return random.Random(seed)  # noqa: S311 - not a secret


def test_trainings_killed_and_started_anew_end_in_the_bits_of_those_never_killed(
    tmp_path: pathlib.Path, dice: random.Random
) -> None:
    """Three trainings, each killed once, each time in an interpreter of its own, started as a user starts it.

    The first dies at any moment, mostly before a save; the second in the midst of a write; the third after a rename.
    A process goes on with what the one before it was killed in, then begins the next, and is killed in that.
    """
    cases = ["density,tf.data,mid-epoch", "density,array,epoch", "variational,array,mid-epoch"]
    deaths = [f"inside write {dice.randint(1, 12)}", f"after rename {dice.randint(1, 2)}"]
    whole = start(tmp_path, "-c", TRAIN, "whole", "never", *cases)

    killed = [start(tmp_path, "-c", TRAIN, "killed", "never", *cases)]
    _kill_once_it_has_begun(killed[0], dice)
    for number, death in enumerate(deaths, start=2):
        killed.append(start(tmp_path, "-c", TRAIN, "killed", death, *cases[:number]))
        killed[-1].communicate()
    outputs({"the last": start(tmp_path, "-c", TRAIN, "killed", "never", *cases), "whole": whole})

    assert [process.returncode for process in killed] == [-signal.SIGKILL] * 3, deaths
    assert [difference for case in cases for difference in _differences_in(case, tmp_path)] == []


def _kill_once_it_has_begun(process: subprocess.Popen[str], dice: random.Random) -> None:
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(dice.uniform(0, LATEST_KILL_SECONDS))
    process.kill()
    process.communicate()


def _differences_in(case: str, place: pathlib.Path) -> list[str]:
    whole, killed = ((place / side / case / "end.json").read_text() for side in ("whole", "killed"))
    return differences(json.loads(whole), json.loads(killed))


def test_what_two_trainings_end_in_otherwise_is_named() -> None:
    """One bit of one variable, a loss, a name that only one of them has."""
    whole = {"weights": {"a": "00", "b": "01"}, "epochs": [0, 1]}
    other = {"weights": {"a": "00", "b": "11", "c": "00"}, "epochs": [0]}

    assert differences(whole, whole) == []
    assert differences(whole, other) == ["epochs : [0], not [0, 1]", "weights b: 11, not 01", "weights c: 00, not None"]


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_a_training_killed_at_any_moment_ends_in_the_bits_of_one_never_killed(
    case: str, tmp_path: pathlib.Path, fresh_python: FreshPython, dice: random.Random
) -> None:
    """Eight kills and more of each case, so over thirty of each kind, by the clock and at calls of the file system.

    One interpreter imports TensorFlow, and each training is a fork of it that has the rest of TensorFlow to itself.
    """
    arguments = ("-c", KILL, str(tmp_path), str(KILLS_OF_A_CASE), str(dice.randrange(10**6)), case)

    said = json.loads(fresh_python(*arguments).stdout.splitlines()[-1])

    kind = case.partition(",")[0]
    for moment in said["kills"]:
        count(f"trainings of kind {kind} killed")
        count(f"trainings killed {moment}")
    assert said["problems"] == []
    assert len(said["kills"]) >= KILLS_OF_A_CASE
