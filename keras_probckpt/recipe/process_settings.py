"""Keras's settings of the whole process, which decide what layers are made and what some of them compute.

`floatx` is the dtype of variables whose layer names none, and what `fit` and `predict` cast their data to. `epsilon`
and `image_data_format` are also read when a model is called, by losses and by functions of the user's.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import Node

__all__ = ["checked_settings", "process_settings", "settings_as", "settings_that_differ"]

_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "floatx": (tfk.backend.floatx, tfk.backend.set_floatx),
    "epsilon": (tfk.backend.epsilon, tfk.backend.set_epsilon),
    "image_data_format": (tfk.backend.image_data_format, tfk.backend.set_image_data_format),
}
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_FORMATS = ("channels_first", "channels_last")


def process_settings() -> dict[str, Any]:
    """Return the settings of this process, by name."""
    return {name: get() for name, (get, _) in _SETTINGS.items()}


def checked_settings(recorded: Node) -> dict[str, Any]:
    """Return recorded settings, each of which must be one that Keras can have.

    Raises:
        MalformedRecipeError: If one is not.
    """
    if not isinstance(recorded, dict):
        raise MalformedRecipeError(where="settings", problem=f"they are an object, not {recorded!r:.80}")
    for name, value in recorded.items():
        if not _is_possible(name, value):
            raise MalformedRecipeError(where="settings", problem=f"{value!r:.80} is no {name[:40]!r} of Keras")
    return recorded


def _is_possible(name: str, value: Any) -> bool:
    if name == "epsilon":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, str) and value in {"floatx": _FLOATS, "image_data_format": _FORMATS}.get(name, ())


@contextlib.contextmanager
def settings_as(recorded: dict[str, Any]) -> Iterator[None]:
    """Let the process have recorded settings, until the block ends."""
    kept = process_settings()
    try:
        _set(recorded)
        yield
    finally:
        _set(kept)


def _set(values: dict[str, Any]) -> None:
    for name, value in values.items():
        get, put = _SETTINGS[name]
        if get() != value:
            put(value)


def settings_that_differ(recorded: dict[str, Any]) -> list[str]:
    """Say which recorded settings this process does not have, each as the call that sets it."""
    here = process_settings()
    return [
        f"{name} was {value!r} and is {here[name]!r}: tf_keras.backend.set_{name}({value!r})"
        for name, value in recorded.items()
        if here[name] != value
    ]
