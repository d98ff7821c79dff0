"""Restoring from a run in which something is damaged: nothing is loaded from it, and the next best is one word away."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable

import numpy as np
import pytest
import tf_keras as tfk

from keras_probckpt import CheckpointManager, restore_best
from keras_probckpt.errors import DamagedCheckpointError
from tests.counts import count
from tests.faults.test_bit_rot import be_directory, be_fifo, be_half_a_hole, be_hole, be_link

BEST, NEXT = "step-0000000002", "step-0000000001"


@pytest.fixture(scope="module")
def model() -> tfk.Sequential:
    """Make a model with an optimizer that has state."""
    model = tfk.Sequential([tfk.layers.Dense(2, input_shape=(2,))])
    model.compile("adam", "mse")
    model.fit(np.ones((2, 2)), np.ones((2, 2)), verbose=0)
    return model


@pytest.fixture
def run(model: tfk.Sequential, tmp_path: pathlib.Path) -> pathlib.Path:
    """Save steps 1 and 2, of which 2 is the better; the weights of a step are its number."""
    with CheckpointManager(model, tmp_path / "run", monitor="nll", save_top_k=2) as manager:
        for step in (1, 2):
            fill(model, step)
            model.optimizer.iterations.assign(step)
            manager.save(step, metrics={"nll": 1.0 / step})
    return tmp_path / "run"


def fill(model: tfk.Model, number: float) -> None:
    """Set every weight."""
    for variable in model.variables:
        variable.assign(np.full(variable.shape, number, "float32"))


def numbers_in(model: tfk.Model) -> set[float]:
    """Collect the weights."""
    return {float(number) for variable in model.variables for number in np.ravel(variable)}


def be_another_checkpoints(path: pathlib.Path) -> None:
    """Stand there as the file of the other checkpoint."""
    shutil.copy(path.parent.parent / NEXT / path.name, path)


def be_cut(path: pathlib.Path) -> None:
    """Lack the last byte."""
    os.truncate(path, path.stat().st_size - 1)


def be_flipped(path: pathlib.Path) -> None:
    """Differ in one bit."""
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])


DAMAGES = [be_flipped, be_cut, be_another_checkpoints, be_hole, be_half_a_hole, be_directory, be_link, be_fifo]


CASES = [
    (damage, file)
    for damage in DAMAGES
    for file in ("manifest.json", "model.safetensors", "optimizer.safetensors")
    # Where the manifest is another's, it is whole, and makes every other file a damaged one.
    if (damage, file) != (be_another_checkpoints, "manifest.json")
]


@pytest.mark.parametrize(("damage", "file"), CASES, ids=lambda case: getattr(case, "__name__", case).replace("_", " "))
def test_the_next_best_is_restored_and_what_was_passed_over_is_named(
    run: pathlib.Path, damage: Callable[[pathlib.Path], None], file: str
) -> None:
    """But not before it was asked for: without skip_damaged the error names the file."""
    damage(run / BEST / file)

    with pytest.raises(DamagedCheckpointError, match=f"{BEST}/{file} is damaged"):
        restore_best(run)
    with pytest.warns(UserWarning, match=f"Passed over: .*{BEST}/{file} is damaged"):
        restored = restore_best(run, skip_damaged=True)

    assert numbers_in(restored) == {1.0}
    count("damaged checkpoints passed over")


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "recipe.json"])
def test_nothing_of_a_damaged_checkpoint_reaches_a_live_model(
    model: tfk.Sequential, run: pathlib.Path, tmp_path: pathlib.Path, file: str
) -> None:
    """Neither the files that are whole: weights without their optimizer would be half a restore."""
    with CheckpointManager(model, tmp_path / "live", monitor="nll") as manager:
        fill(model, 5.0)
        manager.save(5, metrics={"nll": 0.1})
        be_flipped(tmp_path / "live" / "step-0000000005" / file)
        fill(model, 7.0)

        with pytest.raises(DamagedCheckpointError, match=file):
            manager.restore_best()

    assert numbers_in(model) == {7.0}
