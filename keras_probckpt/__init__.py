"""Checkpoints for `tf_keras` models with TensorFlow Probability layers, restored in any process, distributions and all.

Every name below is imported when it is first used, so that `import keras_probckpt` loads neither TensorFlow nor numpy,
and listing checkpoints never does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_probckpt import errors as errors
    from keras_probckpt.callback import ProbCheckpoint
    from keras_probckpt.manager import CheckpointManager
    from keras_probckpt.recipe.builder import builder
    from keras_probckpt.recipe.mixin import ProbModelMixin
    from keras_probckpt.restore import restore_best, restore_checkpoint, restore_latest
    from keras_probckpt.storage.catalog import inspect_checkpoint, list_checkpoints, verify_checkpoint

__all__ = [
    "CheckpointManager",
    "ProbCheckpoint",
    "ProbModelMixin",
    "__version__",
    "builder",
    "errors",
    "inspect_checkpoint",
    "list_checkpoints",
    "restore_best",
    "restore_checkpoint",
    "restore_latest",
    "verify_checkpoint",
]

__version__ = "0.1.0"

_HOMES = {
    "CheckpointManager": "keras_probckpt.manager",
    "ProbCheckpoint": "keras_probckpt.callback",
    "ProbModelMixin": "keras_probckpt.recipe.mixin",
    "builder": "keras_probckpt.recipe.builder",
    "inspect_checkpoint": "keras_probckpt.storage.catalog",
    "list_checkpoints": "keras_probckpt.storage.catalog",
    "restore_best": "keras_probckpt.restore",
    "restore_checkpoint": "keras_probckpt.restore",
    "restore_latest": "keras_probckpt.restore",
    "verify_checkpoint": "keras_probckpt.storage.catalog",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first used (PEP 562)."""
    if name == "errors":
        return importlib.import_module("keras_probckpt.errors")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
