"""Kills a writer at each of its system calls, each time in a process of its own, and looks at what is left.

    python -m tests.faults.killed_writer <an empty directory>

Prints what it did as JSON. A process of its own, without TensorFlow, because it forks hundreds of times.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from keras_probckpt.storage.catalog import list_checkpoints, verify_checkpoint
from keras_probckpt.storage.keys import key_path
from keras_probckpt.storage.run import RunWriter
from tests.faults.system_calls import Tap, When, losses_of_a_power_cut, tapped
from tests.storage.samples import DEAD_PROCESS, files_of, manifest_of, names_in, store_of

DEAD = f"{DEAD_PROCESS}-0123456789abcdef"

Steps = dict[str, int]
Action = Callable[[RunWriter], object]


def commit(name: str, step: int) -> Action:
    """Make the action of saving a step under a name."""
    return lambda writer: writer.commit(name, manifest=manifest_of(step), files=files_of(step))


def remove_other(writer: RunWriter) -> None:
    """Remove what is named `other`."""
    writer.remove(next(info for info in writer.infos if info.name == "other"))


# Each action, and what is listed once it is done.
ACTIONS: tuple[tuple[Action, Steps], ...] = (
    (lambda writer: writer.open(), {"best": 1, "old": 0}),
    (commit("other", 2), {"best": 1, "old": 0, "other": 2}),
    (commit("best", 3), {"best": 3, "old": 0, "other": 2}),
    (remove_other, {"best": 3, "old": 0}),
    (commit("last", 4), {"best": 3, "old": 0, "last": 4}),
    (lambda writer: writer.close(), {"best": 3, "old": 0, "last": 4}),
)
BEFORE = ACTIONS[0][1]


def prepare(run: pathlib.Path) -> None:
    """Leave two checkpoints, one of them moved aside, and half of another, as a writer that died does."""
    run.mkdir()
    commit_to(run, "best", 1)
    commit_to(run, "old", 0)
    (run / "old").rename(run / f".old.replaced-{DEAD}")
    commit_to(run, "half", 7)
    (run / "half").rename(run / f".half.partial-{DEAD}")
    (run / f".half.partial-{DEAD}" / "manifest.json").unlink()


def commit_to(run: pathlib.Path, name: str, step: int) -> None:
    """Commit without a lock."""
    store_of(run).commit(name, manifest=manifest_of(step), files=files_of(step))


def write(run: pathlib.Path, tap: Tap, report: Callable[[int], object]) -> None:
    """Do every action, and say after each how many are done."""
    writer = RunWriter(run)
    with tapped(tap):
        for number, (action, _) in enumerate(ACTIONS, start=1):
            action(writer)
            report(number)


def killed_at(run: pathlib.Path, moment: int, when: When) -> int:
    """Write in a child that dies at a call; give the number of actions that it had done."""
    reader, pipe = os.pipe()
    child = os.fork()
    if child == 0:
        # `os.write` goes through the tap: the child says what it did by a descriptor's file instead.
        with os.fdopen(pipe, "wb", buffering=0) as said:
            write(run, Tap(dies_at=moment, when=when), lambda _number: said.write(b"."))
        os._exit(0)
    os.close(pipe)
    with os.fdopen(reader, "rb") as said:
        done = len(said.read())
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the writer did not die at call {moment}"
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    return done


def whole(run: pathlib.Path) -> Steps:
    """List as a fresh reader does, and read every byte; a checkpoint moved aside counts by the name it had."""
    infos = list_checkpoints(run)
    for info in infos:
        verify_checkpoint(info.path)
    return {info.name.removeprefix(".").partition(".")[0]: info.step for info in infos}


def check(run: pathlib.Path, done: int) -> None:
    """Read what is left, open it as the next writer does, and save again."""
    allowed = [BEFORE if done == 0 else ACTIONS[done - 1][1], ACTIONS[min(done, len(ACTIONS) - 1)][1]]
    found = whole(run)
    assert found in allowed, f"{found} is none of {allowed}"
    writer = RunWriter(run)
    writer.open()
    assert whole(run) == found, f"{whole(run)} after the sweep, {found} before"
    hidden = [name for name in names_in(run) if name.startswith(".")]
    assert hidden == [".lock"], f"{hidden} is left after the sweep"
    info = commit("best", 9)(writer)
    writer.close()
    assert verify_checkpoint(run / "best").signature == "own", info
    assert whole(run) == {**found, "best": 9}


def main(place: pathlib.Path) -> dict[str, Any]:
    """Kill at each call; give the counts and everything that was not as it should be."""
    warnings.simplefilter("error")
    os.environ["XDG_CONFIG_HOME"] = str(place / "config")
    prepare(place / "template")
    tap = Tap()
    said: dict[str, Any] = {"cuts": 0, "problems": []}
    # Each has the key of the template, for only a checkpoint of one's own may be replaced.
    for number, (moment, when) in enumerate(_moments(place, tap)):
        os.environ["XDG_CONFIG_HOME"] = str(shutil.copytree(place / "config", place / f"config-{number}"))
        run = place / f"run-{number}"
        shutil.copytree(place / "template", run)
        try:
            check(run, killed_at(run, moment, when))
        except Exception:  # noqa: BLE001 - whatever it is, it is told with its moment
            said["problems"].append(f"{when} call {moment}, {tap.calls[moment]}:\n{traceback.format_exc()}")
        said["cuts"] += 1
        shutil.rmtree(run)
    # The run directory was there: to ask for it again makes nothing that a sync from above would have to keep.
    calls = [call for call in tap.calls if call[:2] != ("mkdir", str(place / "once"))]
    return {**said, "calls": len(tap.calls), "losses": losses_of_a_power_cut(calls)}


def _moments(place: pathlib.Path, tap: Tap) -> list[tuple[int, When]]:
    os.environ["XDG_CONFIG_HOME"] = str(shutil.copytree(place / "config", place / "another-config"))
    shutil.copytree(place / "template", place / "once")
    write(place / "once", tap, lambda _number: None)
    assert key_path() is not None
    moments: list[tuple[int, When]] = [(number, "before") for number in range(len(tap.calls))]
    moments += [(number, "inside") for number, call in enumerate(tap.calls) if call[0] == "write"]
    return [*moments, (len(tap.calls) - 1, "after")]


if __name__ == "__main__":
    print(json.dumps(main(pathlib.Path(sys.argv[1])), indent=1))  # noqa: T201 - what it is for
