"""The optimizers of a training loop of the user's, which a model may not lead to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.training.variables import OPTIMIZERS, find_optimizers, note_optimizers

__all__ = ["LoopOptimizers"]

_ONLY_ONE = "optimizer"
# Whether a model is trained shows in any of its variables: a few small ones are looked at.
_MOST_WATCHED = 8
_MOST_BYTES = 64 * 1024


class LoopOptimizers:
    """Tells the optimizers that were given with a model, and warns of a training whose optimizer is not saved.

    Args:
        optimizers: One, a list, or a dict by name; None if there are none to be given.

    Raises:
        TypeError: If they are something else.
    """

    def __init__(self, optimizers: Any) -> None:
        self._given = _by_name(optimizers)
        self._seen: Mapping[str, bytes] | None = None
        self._has_warned = False

    def note(self, model: tfk.Model) -> None:
        """Have the optimizers found with the model from now on."""
        if self._given:
            note_optimizers(model, self._given)

    def watch(self, model: tfk.Model) -> None:
        """Note the optimizers at a save, and warn once where there are none and the model is trained all the same."""
        self.note(model)
        if self._given or self._has_warned:
            return
        now = _fingerprint(model)
        # What has other variables than before, or as many of another shape, was built since and not trained.
        is_trained = self._seen is not None and self._seen.keys() == now.keys() and self._seen != now
        self._seen = now
        if is_trained and not find_optimizers(model):
            self._has_warned = True
            warnings.warn(
                "The trainable variables have changed since the last save, and the model leads to no optimizer: the "
                "checkpoints hold none, and a resumed training would begin with a new one. Write "
                "CheckpointManager(model, directory, optimizers=optimizer), with one, a list or a dict by name.",
                stacklevel=4,
            )


def _by_name(optimizers: Any) -> dict[str, Any]:
    if optimizers is None:
        return {}
    if isinstance(optimizers, OPTIMIZERS):
        return {_ONLY_ONE: optimizers}
    if isinstance(optimizers, Mapping):
        found = dict(optimizers)
    elif isinstance(optimizers, (list, tuple)):
        found = {str(number): optimizer for number, optimizer in enumerate(optimizers)}
    else:
        raise TypeError(_refusal(optimizers, "optimizers"))
    for name, optimizer in found.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"optimizers= must have names that are texts, got {name!r:.200}. Nothing was saved.")
        if not isinstance(optimizer, OPTIMIZERS):
            place = f"optimizers[{name!r}]" if isinstance(optimizers, Mapping) else f"optimizers[{name}]"
            raise TypeError(_refusal(optimizer, place))
    return found


def _refusal(found: Any, place: str) -> str:
    kind = f"{type(found).__module__}.{type(found).__qualname__}"
    advice = "Take one of tf_keras.optimizers: in this TensorFlow, tf.keras is Keras 3."
    return f"{place} must be a tf_keras optimizer, a list or a dict of them, got {kind}. Nothing was saved." + (
        f" {advice}" if type(found).__module__.startswith("keras.") else ""
    )


def _fingerprint(model: tfk.Model) -> dict[str, bytes]:
    try:
        variables = sorted(model.trainable_variables, key=_size_bytes)[:_MOST_WATCHED]
    except ValueError:  # A model that was never called has none yet, or a part of it.
        return {}
    return {
        f"{index}-{variable.shape}": np.asarray(variable.numpy()).tobytes()
        for index, variable in enumerate(variables)
        if _size_bytes(variable) <= _MOST_BYTES
    }


def _size_bytes(variable: tf.Variable) -> int:
    return int(np.prod(variable.shape.as_list() or [1])) * int(variable.dtype.size or 1)
