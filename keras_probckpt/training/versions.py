"""Which releases had a part in a training."""

from __future__ import annotations

import functools
import importlib
import platform

__all__ = ["library_versions"]

_LIBRARIES = ("keras_probckpt", "tensorflow", "tf_keras", "tensorflow_probability", "numpy")


@functools.cache
def library_versions() -> dict[str, str]:
    """Return the release of each library that a checkpoint depends on, by the name it is imported by, and of Python."""
    libraries = {name: str(importlib.import_module(name).__version__) for name in _LIBRARIES}
    return {**libraries, "python": platform.python_version()}
