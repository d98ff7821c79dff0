"""Kills a training again and again at moments nobody chose, and looks at what is left each time.

    python -m tests.faults.killed_training <an empty directory> <kills> <seed>

prints what it did as JSON. Each training is a fork that saves after every batch and goes on from where the one before
it died, all in one run directory.
"""

from __future__ import annotations

import json
import pathlib
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors.numpy
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint, list_checkpoints, verify_checkpoint
from tests.resume.killer import fork

LATEST_KILL_SECONDS = 1.0


class Count(tfk.callbacks.Callback):
    """Sets every weight to the number of the step, so that a checkpoint made of two steps would show."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count."""
        for variable in self.model.variables:
            variable.assign(tfk.backend.ones_like(variable) * float(self.model.optimizer.iterations))


class Tell(tfk.callbacks.Callback):
    """Says that the training has begun."""

    def __init__(self, tell: Callable[[], object]) -> None:
        super().__init__()
        self._tell = tell

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Say so, at each batch; once is heard."""
        self._tell()


def train(run: pathlib.Path, tell: Callable[[], object]) -> None:
    """Train until somebody kills it."""
    model = tfk.Sequential([tfk.layers.Dense(200, input_shape=(200,)), tfk.layers.Dense(200)])
    model.compile("adam", "mse")
    x = np.zeros((64, 200), "float32")
    checkpoint = ProbCheckpoint(run, "loss", save_freq=1, save_last=3, save_top_k=0, resume=True)
    model.fit(x, x, batch_size=1, epochs=100_000, verbose=0, callbacks=[Count(), Tell(tell), checkpoint])


def newest_of(run: pathlib.Path) -> int:
    """Read everything that is listed; give the newest step.

    Raises:
        AssertionError: If a checkpoint holds another step than its own.
        CheckpointError: If one is not whole.
    """
    found = list_checkpoints(run) if any(run.glob("[!.]*")) else []
    for info in found:
        path = verify_checkpoint(info.path).path
        arrays = safetensors.numpy.load_file(path / "model.safetensors")
        held = {float(value) for array in arrays.values() for value in np.unique(array)}
        assert held == {float(info.step)}, f"{path} holds {held}"
    steps = [info.step for info in found]
    assert steps == sorted(set(steps)), steps
    return steps[-1] if steps else 0


def kill(place: pathlib.Path, *, kills: int, dice: random.Random) -> dict[str, Any]:
    """Kill trainings of one run, one after the other; say how far they came."""
    run, newest = place / "run", 0
    for _ in range(kills):
        child = fork(lambda tell: train(run, tell), place / "log")
        assert child.has_begun(), child.log.read_text()[-4000:]
        time.sleep(dice.uniform(0, LATEST_KILL_SECONDS))
        child.kill()
        left = newest_of(run)
        assert left >= newest, f"step {newest} was there, and {left} is the newest now"
        newest = left
    return {"kills": kills, "newest": newest}


if __name__ == "__main__":
    place, kills, seed = sys.argv[1:]
    said = kill(pathlib.Path(place), kills=int(kills), dice=random.Random(int(seed)))  # noqa: S311 - not a secret
    print(json.dumps(said))  # noqa: T201 - what it is for
