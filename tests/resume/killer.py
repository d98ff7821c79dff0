"""Kills trainings of one case again and again, and compares what each ends in with one that was never killed.

    python -c "from tests.resume.killer import main; main()" <directory> <kills> <seed> <case>

prints what it did as JSON. It has imported TensorFlow and asked nothing of it: each training is a fork, so that a kill
does not cost an import. TensorFlow makes its threads and its memory at its first operation, which each fork does for
itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import os
import pathlib
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from tensorflow.python.eager import context

from tests.faults.system_calls import tapped
from tests.resume.killed_fit import death_of, differences, train

# So often one training is killed; after that it may end.
MOST_KILLS = 8
BY_THE_CLOCK = "by the clock"


@dataclasses.dataclass
class Child:
    """A fork that trains.

    Attributes:
        process: Its number.
        said: What it writes a byte into as its training begins, and closes as it ends.
        log: File of what it says.
    """

    process: int
    said: int
    log: pathlib.Path

    def has_begun(self) -> bool:
        """Wait for the training to begin or the process to end."""
        return bool(os.read(self.said, 1))

    def ends_within(self, seconds: float) -> bool:
        """Wait for the process to end, at most so long."""
        return bool(select.select([self.said], [], [], seconds)[0])

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        os.kill(self.process, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Return 0 for a training that came to its end, or minus the signal that killed it.

        Raises:
            RuntimeError: If it was neither, with what it said.
        """
        os.close(self.said)
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        if code not in {0, -signal.SIGKILL}:
            raise RuntimeError(f"exit code {code}\n{self.log.read_text()[-4000:]}")
        return code


def fork(work: Callable[[Callable[[], object]], None], log: pathlib.Path) -> Child:
    """Do something in a fork of this process.

    Args:
        work: What to do; it calls what it is given once it has begun.
        log: The file for what it says; not made anew.
    """
    assert context.context()._context_handle is None, "TensorFlow has begun to work: a fork may hang"
    log.parent.mkdir(parents=True, exist_ok=True)
    reader, writer = os.pipe()
    process = os.fork()
    if process:
        os.close(writer)
        return Child(process, reader, log)
    code = 1
    with contextlib.suppress(BaseException):
        with log.open("a") as said:
            os.dup2(said.fileno(), sys.stderr.fileno())
        try:
            work(functools.partial(os.write, writer, b"."))
            code = 0
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
            traceback.print_exc()
    os._exit(code)


def fork_training(case: str, directory: pathlib.Path, death: str) -> Child:
    """Start a training of a case in a fork; what it says goes to `log` in its directory."""

    def work(tell: Callable[[], object]) -> None:
        with tapped(death_of(death)):
            train(case, directory, tell)

    return fork(work, directory / "log")


def chosen_death(dice: random.Random) -> str:
    """Half of the deaths come by the clock, a half at calls: in the midst of a write, right after a rename."""
    at_call = dice.choice([f"inside write {dice.randint(1, 30)}", f"after rename {dice.randint(1, 4)}"])
    return dice.choice([BY_THE_CLOCK, at_call])


def killed_training(case: str, directory: pathlib.Path, dice: random.Random, *, seconds: float) -> list[str]:
    """Train to the end, with kills; say what was found after each.

    Raises:
        RuntimeError: If a training ended by itself, and not at its end.
    """
    found: list[str] = []
    while True:
        death = chosen_death(dice) if len(found) < MOST_KILLS else "never"
        is_timed = death == BY_THE_CLOCK
        child = fork_training(case, directory, "never" if is_timed else death)
        has_begun = child.has_begun()
        if is_timed and has_begun and not child.ends_within(dice.uniform(0, seconds)):
            os.kill(child.process, signal.SIGKILL)
        if child.wait() == 0:
            return found
        found.append(left_by_a_kill(directory / "run", death))


def left_by_a_kill(run: pathlib.Path, death: str) -> str:
    """Say at which moment the kill came."""
    names = [path.name for path in run.glob("*")]
    if any(".partial-" in name for name in names):
        return "in the midst of a save"
    if all(name.startswith(".") for name in names):
        return "before the first save"
    return "right after a rename" if death.startswith("after rename") else "between two saves"


def whole_training(case: str, directory: pathlib.Path) -> float:
    """Train to the end without a kill; give the seconds that took from where the training began."""
    child = fork_training(case, directory, "never")
    child.has_begun()
    begun = time.monotonic()
    child.wait()
    return time.monotonic() - begun


def kill(case: str, place: pathlib.Path, *, kills: int, dice: random.Random) -> dict[str, Any]:
    """Kill trainings of a case until there were so many kills; say what they were and what ended otherwise."""
    seconds = whole_training(case, place / "whole")
    expected = json.loads((place / "whole" / "end.json").read_text())
    found: list[str] = []
    problems: list[str] = []
    trainings = 0
    while len(found) < kills and not problems:
        trainings += 1
        directory = place / f"killed-{trainings}"
        found += killed_training(case, directory, dice, seconds=seconds / 2)
        problems = differences(expected, json.loads((directory / "end.json").read_text()))
    return {"kills": found, "trainings": trainings, "problems": problems}


def main() -> None:
    """Do what the command line says."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    place, kills, seed, case = sys.argv[1:]
    said = kill(case, pathlib.Path(place), kills=int(kills), dice=random.Random(f"{seed} {case}"))  # noqa: S311
    print(json.dumps(said))  # noqa: T201 - what it is for
