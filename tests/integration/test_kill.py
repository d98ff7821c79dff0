from __future__ import annotations

import concurrent.futures
import pathlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import numpy as np
import pytest

from keras_probckpt import list_checkpoints, restore_latest, verify_checkpoint
from tests.conftest import FreshPython
from tests.integration.processes import start

KILLS = 3
LATEST_KILL_SECONDS = 1.0
# The weights of step n hold n everywhere, so a checkpoint made of two steps would show.
PROGRAM = """
import numpy as np, tf_keras as tfk
from keras_probckpt import ProbCheckpoint

class Count(tfk.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        for variable in self.model.variables:
            variable.assign(tfk.backend.ones_like(variable) * float(self.model.optimizer.iterations))

model = tfk.Sequential([tfk.layers.Dense(600, input_shape=(600,)), tfk.layers.Dense(600)])
model.compile("adam", "mse")
x = np.zeros((4, 600), "float32")
checkpoint = ProbCheckpoint("run", "loss", save_freq=1, save_last=3, save_top_k=0)
model.fit(x, x, batch_size=1, epochs=100000, verbose=0, callbacks=[Count(), checkpoint])
"""


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[pathlib.Path]]:
    """Train in several processes that save after each batch, and kill each at a moment nobody chose."""
    directories = [tmp_path_factory.mktemp("killed") for _ in range(KILLS)]
    processes = [start(directory, "-c", PROGRAM) for directory in directories]
    try:
        with concurrent.futures.ThreadPoolExecutor(KILLS) as pool:
            codes = list(pool.map(_kill_after_a_checkpoint, directories, processes))
        assert codes == [-signal.SIGKILL] * KILLS
        yield directories
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _kill_after_a_checkpoint(directory: pathlib.Path, process: subprocess.Popen[str]) -> int:
    while not list((directory / "run").glob("step-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(random.uniform(0, LATEST_KILL_SECONDS))  # noqa: S311 - not a secret
    process.kill()
    process.communicate()
    return process.returncode


@pytest.mark.parametrize("number", range(KILLS))
def test_after_a_kill_every_listed_checkpoint_is_whole(number: int, killed: list[pathlib.Path]) -> None:
    """Of a training killed in the midst of saving, what is listed verifies, the newest included."""
    run = killed[number] / "run"

    found = list_checkpoints(run)

    # One more than the three newest where the kill came between a commit and the removal after it.
    assert 1 <= len(found) <= 4
    assert [info.step for info in found] == sorted({info.step for info in found})
    for info in found:
        verify_checkpoint(info.path)


@pytest.mark.parametrize("number", range(KILLS))
def test_after_a_kill_the_newest_restores_as_it_was_saved(number: int, killed: list[pathlib.Path]) -> None:
    """Its weights are all of its step: none of the step before, none of the one after."""
    run = killed[number] / "run"
    newest = list_checkpoints(run)[-1]

    model = restore_latest(run)

    assert {float(value) for variable in model.variables for value in np.unique(variable)} == {float(newest.step)}
    assert int(model.optimizer.iterations) == newest.step


SWEEP = """
import pathlib
from keras_probckpt.storage.run import RunWriter
for run in pathlib.Path().glob("*/run"):
    writer = RunWriter(run.absolute())
    writer.open()
    writer.close()
"""


def test_the_next_training_sweeps_what_the_killed_one_left(
    killed: list[pathlib.Path], tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """Nothing hidden is left but the lock, nothing committed is lost, and the lock is free."""
    before = {}
    for directory in killed:
        copy = shutil.copytree(directory, tmp_path / directory.name)
        before[copy] = [info.name for info in list_checkpoints(copy / "run")]
        (copy / "run" / ".step-0000000001.partial-4194999-0123456789abcdef").mkdir()

    fresh_python("-c", SWEEP)

    for copy, found in before.items():
        assert [path.name for path in (copy / "run").glob(".*")] == [".lock"]
        assert [info.name for info in list_checkpoints(copy / "run")] == found
