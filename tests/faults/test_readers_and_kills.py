"""Processes that meet: readers beside a writer, and writers that are killed at moments nobody chose."""

from __future__ import annotations

import json
import pathlib
import random
import signal
import subprocess
import time

import pytest

from keras_probckpt.errors import CheckpointNotFoundError
from keras_probckpt.storage.catalog import list_checkpoints, verify_checkpoint
from keras_probckpt.storage.run import RunWriter
from tests.conftest import FreshPython
from tests.counts import count
from tests.integration.processes import start
from tests.storage.samples import names_in

# Every file of a step is filled with the step's number, so that a mixture of two would show in what verifies.
SAVE_IN_A_LOOP = """
import itertools, pathlib, sys
from keras_probckpt.storage.run import RunWriter
from tests.storage.samples import manifest_of
writer = RunWriter(pathlib.Path("run").absolute())
writer.open()
steps = writer.store.scan().checkpoints
for step in itertools.count(1 + max((info.step for info in steps), default=0)):
    data = step.to_bytes(8, "little") * 5000
    name = "best" if step % 4 < 2 else f"step-{step}"
    writer.commit(name, manifest=manifest_of(step), files={"model.safetensors": [data], "recipe.json": [b"{}"]})
    for info in writer.infos[:-2]:
        writer.remove(info)
    if len(sys.argv) > 1 and step >= int(sys.argv[1]):
        break
    print(step, flush=True)
"""
READ_IN_A_LOOP = """
import json, pathlib, sys, warnings
from keras_probckpt.errors import CheckpointNotFoundError
from keras_probckpt.storage.catalog import list_checkpoints, verify_checkpoint
warnings.simplefilter("error")
said = {"listed": 0, "read": 0, "gone": 0, "empty": 0, "went back": 0}
newest = 0
while not pathlib.Path("done").exists():
    found = list_checkpoints("run")
    said["listed"] += 1
    said["empty"] += not found
    said["went back"] += bool(found) and found[-1].step < newest
    newest = max([newest, *(info.step for info in found)])
    for info in found:
        try:
            verify_checkpoint(info.path)
        except CheckpointNotFoundError as error:
            said["gone"] += 1
        else:
            said["read"] += 1
print(json.dumps(said))
"""


def test_a_reader_beside_a_writer_never_sees_half_a_checkpoint(tmp_path: pathlib.Path) -> None:
    """While another process saves, replaces and prunes: each is whole, or gone with an error that says so."""
    read_beside(tmp_path, steps=150)


@pytest.mark.long
def test_readers_beside_a_writer_for_long(tmp_path: pathlib.Path) -> None:
    """The same, many more times."""
    read_beside(tmp_path, steps=6000)


def read_beside(place: pathlib.Path, *, steps: int) -> None:
    """Read in two processes while a third writes; nothing but "gone" may be said."""
    start(place, "-c", SAVE_IN_A_LOOP, "2").communicate()
    readers = [start(place, "-c", READ_IN_A_LOOP) for _ in range(2)]
    writer = start(place, "-c", SAVE_IN_A_LOOP, str(steps))

    errors = writer.communicate()[1]
    (place / "done").touch()
    printed = [reader.communicate() for reader in readers]

    assert errors == ""
    for output, problem in printed:
        assert problem == ""
        said = json.loads(output)
        assert said["went back"] == said["empty"] == 0
        assert said["read"] > 0
        count("listings beside a writer", said["listed"])
        count("checkpoints read beside a writer", said["read"])


def killed_while_saving(place: pathlib.Path, dice: random.Random) -> int:
    """Save in a process until it is killed; give the last step of which it said that it was saved."""
    process = start(place, "-c", SAVE_IN_A_LOOP)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(dice.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    rest, errors = process.communicate()
    assert errors == ""
    assert process.returncode == -signal.SIGKILL
    # The last line may be cut.
    return int([first, *rest.splitlines(keepends=True)][-1] if rest.endswith("\n") else first)


def look_at(run: pathlib.Path, *, saved: int) -> None:
    """Read everything that is listed: what was said to be saved is there, or something newer."""
    found = list_checkpoints(run)
    for info in found:
        data = verify_checkpoint(info.path).path.joinpath("model.safetensors").read_bytes()
        assert data == info.step.to_bytes(8, "little") * 5000
    assert found[-1].step >= saved


def kill_often(place: pathlib.Path, *, kills: int) -> None:
    """Kill writers of one run, one after the other; each goes on where the one before it died."""
    dice = random.Random()  # noqa: S311 - not a secret, and another every time
    for _ in range(kills):
        saved = killed_while_saving(place, dice)
        look_at(place / "run", saved=saved)
        count("writers killed at random moments")
    writer = RunWriter(place / "run")
    writer.open()
    writer.close()
    assert [name for name in names_in(place / "run") if name.startswith(".")] == [".lock"]
    look_at(place / "run", saved=saved)


def test_writers_killed_at_random_leave_a_whole_run(tmp_path: pathlib.Path) -> None:
    """Nothing listed is damaged, nothing that was said to be saved is missing, and the next start sweeps the rest."""
    kill_often(tmp_path, kills=6)


@pytest.mark.long
def test_five_hundred_writers_killed_at_random_leave_a_whole_run(tmp_path: pathlib.Path) -> None:
    """The same, five hundred times in one directory."""
    kill_often(tmp_path, kills=500)


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_hundreds_of_trainings_killed_at_random_leave_a_whole_run(
    seed: int, tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """Real ones that save after each batch: what is listed is whole, of one step, and the newest is never lost."""
    kills = 250

    said = json.loads(fresh_python("-m", "tests.faults.killed_training", str(tmp_path), str(kills), str(seed)).stdout)

    assert said["kills"] == kills
    assert said["newest"] > 0
    count("trainings killed at random moments", kills)


def test_a_checkpoint_that_goes_while_it_is_read_is_said_to_be_gone(tmp_path: pathlib.Path) -> None:
    """Not damaged: the reader asks again."""
    start(tmp_path, "-c", SAVE_IN_A_LOOP, "4").communicate()
    info = list_checkpoints(tmp_path / "run")[0]
    subprocess.run(["rm", "-r", str(info.path)], check=True)  # noqa: S607 - a user's own way to remove one

    with pytest.raises(CheckpointNotFoundError):
        verify_checkpoint(info.path)
