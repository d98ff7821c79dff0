"""The variables of a model from save to save: found anew only when the model may have others."""

from __future__ import annotations

import operator
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.model.members import member
from keras_probckpt.training.variables import OPTIMIZERS, ModelVariables, find_variables

__all__ = ["VariableInventory"]

# Where TensorFlow and Keras say which children an object has. For a checkpoint, all of these go by the lists below.
_KNOWN_TRACKERS = (
    "tensorflow.python.trackable.base",
    "tensorflow.python.trackable.autotrackable",
    "tf_keras.src.engine.",
    "tf_keras.src.mixed_precision.",
    "tf_keras.src.optimizers.",
)


class VariableInventory:
    """Finds the variables of a model as `find_variables` does, at a fraction of its time where nothing has changed.

    Kept is, for every object on the way to a variable, what its children follow from. If all of that is the same, then
    so are the variables and their paths: an attribute that is set, a layer that is added or built, an optimizer that is
    exchanged or that makes its slots changes one of those lists. A model with a part of which it is not known what its
    children follow from is searched every time.
    """

    def __init__(self) -> None:
        self._model: tfk.Model | None = None
        self._parents: list[Any] = []
        self._sources: list[Any] = []
        self._found = ModelVariables({}, {})

    def find(self, model: tfk.Model) -> ModelVariables:
        """Find the variables of a model."""
        if model is not self._model or not _are_same(self._sources, _sources_of(self._parents)):
            parents: list[Any] = []
            self._found = find_variables(model, parents=parents)
            self._model = model if all(map(_are_sources_known, parents)) else None
            self._parents = parents if self._model is not None else []
            self._sources = _sources_of(self._parents)
        return self._found


def _are_same(before: list[Any], now: list[Any]) -> bool:
    # By identity: variables compare by their elements.
    return len(before) == len(now) and all(map(operator.is_, before, now))


def _sources_of(parents: list[Any]) -> list[Any]:
    """Give what the children of objects follow from, each object before its own."""
    sources = []
    for parent in parents:
        sources.append(parent)
        sources += _own_sources(parent)
    return sources


def _are_sources_known(parent: Any) -> bool:
    items = member(parent, "__wrapped__", parent)
    if isinstance(items, (list, tuple, dict)) or not isinstance(parent, tf.__internal__.tracking.Trackable):
        return True
    module: str = type(parent)._trackable_children.__module__
    return module.startswith(_KNOWN_TRACKERS)


def _own_sources(parent: Any) -> list[Any]:
    items = member(parent, "__wrapped__", parent)
    if isinstance(items, (list, tuple)):
        return list(getattr(items, "_storage", items))
    if isinstance(items, dict):
        return [*items.keys(), *items.values()]
    is_optimizer = isinstance(parent, OPTIMIZERS)
    # One that wraps another, as that which scales a loss, keeps everything on the other.
    owner = getattr(parent, "inner_optimizer", parent) if is_optimizer else parent
    sources = list(getattr(owner, "_self_unconditional_checkpoint_dependencies", ()))
    if isinstance(parent, tfk.layers.Layer):
        sources += [*parent._trainable_weights, *parent._non_trainable_weights, *parent._self_tracked_trackables]
        sources.append(parent._trainable)  # Of this the recipe follows.
    if is_optimizer:
        sources.extend(getattr(owner, "_index_dict", ()))
        for slots in getattr(owner, "_slots", {}).values():
            sources.extend(slots.values())
    return sources
