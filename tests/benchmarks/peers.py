"""The other ways to save a tf_keras model during `fit`, each as a callback that saves at the end of every epoch."""

from __future__ import annotations

import importlib.util
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint
from tests.benchmarks.scales import state_of

__all__ = ["KERAS", "LOADABLE", "NOTHING", "OURS", "callbacks", "empty"]

OURS = "keras-probckpt"
NOTHING = "no callback"
KERAS = "ModelCheckpoint .keras"
# Name in the directory given to `callbacks`, of those that `load_model` reads.
LOADABLE = {KERAS: "model.keras", "ModelCheckpoint .h5": "model.h5", "ModelCheckpoint SavedModel": "saved_model"}

Make = Callable[[pathlib.Path], tfk.callbacks.Callback]


class AsyncTensorFlowCheckpoint(tfk.callbacks.Callback):
    """TensorFlow's own checkpoint, written by its background thread."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__()
        self._prefix = str(directory / "checkpoint")
        self._options = tf.train.CheckpointOptions(experimental_enable_async_checkpoint=True)

    def on_train_begin(self, logs: Any = None) -> None:
        """Name what is saved."""
        self._checkpoint = tf.train.Checkpoint(model=self.model, optimizer=self.model.optimizer)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save over the last one."""
        self._checkpoint.write(self._prefix, options=self._options)

    def on_train_end(self, logs: Any = None) -> None:
        """Wait for what is pending."""
        self._checkpoint.sync()


class OrbaxCheckpoint(tfk.callbacks.Callback):
    """Orbax's AsyncCheckpointer, given the same arrays, which costs it no copy."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__()
        import orbax.checkpoint

        self._directory = directory
        self._orbax = orbax.checkpoint

    def on_train_begin(self, logs: Any = None) -> None:
        """Start its threads."""
        self._checkpointer = self._orbax.AsyncCheckpointer(self._orbax.StandardCheckpointHandler())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save beside the last one."""
        arrays = {str(number): array for number, array in enumerate(state_of(self.model))}
        path = (self._directory / f"step-{epoch}").absolute()
        self._checkpointer.save(path, args=self._orbax.args.StandardSave(arrays), force=True)

    def on_train_end(self, logs: Any = None) -> None:
        """Wait for what is pending, and stop its threads."""
        self._checkpointer.wait_until_finished()
        self._checkpointer.close()


def callbacks(*, are_all: bool) -> dict[str, Make]:
    """Give for each tool a function that makes its callback for a directory; ours first.

    Args:
        are_all: Whether to give more than ours and the format that Keras recommends.
    """
    stock = tfk.callbacks.ModelCheckpoint
    made: dict[str, Make] = {
        OURS: lambda directory: ProbCheckpoint(directory / "ours", monitor="loss"),
        KERAS: lambda directory: stock(str(directory / LOADABLE[KERAS])),
    }
    if not are_all:
        return made
    for tool, file in LOADABLE.items():
        made[tool] = lambda directory, file=file: stock(str(directory / file))
    made["ModelCheckpoint weights, TF"] = lambda directory: stock(str(directory / "weights"), save_weights_only=True)
    made["ModelCheckpoint .weights.h5"] = lambda directory: stock(
        str(directory / "model.weights.h5"), save_weights_only=True
    )
    made["BackupAndRestore"] = lambda directory: tfk.callbacks.BackupAndRestore(str(directory / "backup"))
    made["TF async checkpoint"] = AsyncTensorFlowCheckpoint
    if importlib.util.find_spec("orbax"):
        made["orbax AsyncCheckpointer"] = OrbaxCheckpoint
    return made


def empty(directory: pathlib.Path) -> pathlib.Path:
    """Give a directory with nothing in it."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
