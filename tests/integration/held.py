"""A manager whose saves stay pending for as long as a test wants, and what a checkpoint of a model must hold."""

from __future__ import annotations

import pathlib
from typing import Any

import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbCheckpoint
from keras_probckpt.format.digest import digest_of
from keras_probckpt.format.tensors import encode_tensors
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.training.variables import find_variables
from tests.storage.held_filesystem import HeldFileSystem


class FailAtTheEnd(tfk.callbacks.Callback):
    """Keeps what a callback after this one saves pending until the training ends, and then lets it fail."""

    def __init__(self, checkpoint: ProbCheckpoint, *, path: pathlib.Path) -> None:
        super().__init__()
        self._checkpoint = checkpoint
        self._path = path

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Hold."""
        if epoch == 0:
            manager = self._checkpoint._running_manager
            self._held = _held_from_now_on(manager)

    def on_train_end(self, logs: Any = None) -> None:
        """Put a file of the user's where the checkpoint should go, and let go."""
        self._held.wait_until_held()
        self._path.write_text("mine")
        self._held.release()


def held_manager(model: tfk.Model, run: pathlib.Path, **arguments: Any) -> tuple[CheckpointManager, HeldFileSystem]:
    """Open a manager whose writer stops before it writes a file; a rehearsal would wait for it."""
    manager = CheckpointManager(model, run, rehearse=False, **arguments)
    return manager, _held_from_now_on(manager)


def _held_from_now_on(manager: CheckpointManager) -> HeldFileSystem:
    held = HeldFileSystem(LocalFileSystem(manager.directory))
    manager._writer._open_filesystem = lambda _: held
    manager.open()
    return held


def digests_of(model: tfk.Model) -> dict[str, str]:
    """Give the digests of the tensor files that a checkpoint of the model as it is now has. Copies every value."""
    found = find_variables(model)
    files = {"model.safetensors": found.model, "optimizer.safetensors": found.optimizers}
    return {
        file: digest_of(encode_tensors({path: _copy_of(variable) for path, variable in variables.items()}))
        for file, variables in files.items()
    }


def _copy_of(variable: Any) -> Any:
    return getattr(variable, "_variable", variable).numpy().copy()
