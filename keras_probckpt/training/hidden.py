"""Variables that training uses and the model does not track.

A model may reach a variable through a plain object, the closure of a function, or a global of a module. Keras does not
know of it, but TensorFlow notes every variable that a train step uses. Those that nobody tracks are searched for from
the model and the arguments of `compile`, through attributes, containers, closures and the globals that functions name,
so that the same way leads to them in a rebuilt model.
"""

from __future__ import annotations

import collections
import dataclasses
import inspect
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as tfk
from tensorflow.python.ops import stateful_random_ops

from keras_probckpt.errors import UnrecordableError
from keras_probckpt.model.members import member
from keras_probckpt.training.variables import HIDDEN_PREFIX, ModelVariables, find_layers

__all__ = [
    "find_hidden",
    "find_hidden_layers",
    "find_located",
    "is_hidden_path",
    "locate_layers",
    "restored_paths",
    "with_hidden_variables",
]

# Whose objects hold no variables of the user's; the search would get lost in them.
_LIBRARIES = ("tensorflow", "keras", "tf_keras", "tensorflow_probability", "numpy", "builtins", "keras_probckpt")
_MOST_OBJECTS = 100_000
_ATTRIBUTE = "_keras_probckpt_hidden"
_NO_PATHS: frozenset[str] = frozenset()
# What `compile` and `fit` leave on a model: a rebuilt one has it not, or otherwise.
_LEFT_BY_FIT = frozenset(
    {
        "_compile_config",
        "compiled_loss",
        "compiled_metrics",
        "history",
        "optimizer",
        "predict_function",
        "test_function",
        "train_function",
        "train_tf_function",
    }
)


def find_hidden(model: tfk.Model, known: Iterable[tf.Variable], used: Iterable[tf.Variable]) -> dict[str, tf.Variable]:
    """Find the variables that training uses and nobody tracks, and those that were restored with the model.

    Args:
        model: A model.
        known: The variables that are saved without this.
        used: The variables that training uses, as far as that is known.

    Returns:
        Variables by path.

    Raises:
        UnrecordableError: If no way leads to one of them. Names it.
    """
    unknown = _unknown(model, known, used)
    names = restored_paths(model)
    located = find_located(model) if unknown or names else {}
    found = {path: item for path, item in located.items() if _identity(item) in unknown or path in names}
    lost = [unknown[key] for key in unknown.keys() - {_identity(variable) for variable in found.values()}]
    if lost:
        described = ", ".join(sorted(f"{variable.name!r} of shape {tuple(variable.shape)}" for variable in lost))
        raise UnrecordableError(
            where=f"the state of training: {described}",
            problem="training uses this variable, but neither the model nor its loss leads to it",
            advice="Make it an attribute of the model or of one of its layers.",
        )
    return found


def find_hidden_layers(
    model: tfk.Model, known: Iterable[tf.Variable], used: Iterable[tf.Variable]
) -> dict[str, tfk.layers.Layer]:
    """Find the layers that nobody tracks and that have such variables.

    Args:
        model: A model.
        known: The variables that are saved without this.
        used: The variables that training uses, as far as that is known.

    Returns:
        Layers by path, parents before their children.
    """
    unknown = _unknown(model, known, used)
    located = find_located(model) if unknown else {}
    paths = [*(path for path, item in located.items() if _identity(item) in unknown), *restored_paths(model)]
    if not paths:
        return {}
    known_layers = {id(layer) for layer in find_layers(model).values()}
    return {
        path: layer
        for path, layer in locate_layers(model).items()
        if id(layer) not in known_layers and any(other.startswith(f"{path}/") for other in paths)
    }


def _unknown(model: tfk.Model, known: Iterable[tf.Variable], used: Iterable[tf.Variable]) -> Mapping[int, tf.Variable]:
    tracked = {_identity(variable) for variable in (*known, *_of_keras(model))}
    found = {_identity(variable): variable for variable in used}
    return {key: found[key] for key in found.keys() - tracked}


def restored_paths(model: tfk.Model) -> frozenset[str]:
    """Paths of what a restored model had: before it is trained or called, only its checkpoint knows of them."""
    names: frozenset[str] = vars(model).get(_ATTRIBUTE, _NO_PATHS)
    return names


def find_located(model: tfk.Model) -> dict[str, tf.Variable]:
    """Find every variable that plain Python leads to from a model and its compile arguments, by path."""
    return {path: item for path, item in _located(model) if isinstance(item, tf.Variable)}


def locate_layers(model: tfk.Model) -> dict[str, tfk.layers.Layer]:
    """Find every layer that plain Python leads to, likewise; parents before their children."""
    return {path: item for path, item in _located(model) if isinstance(item, tfk.layers.Layer)}


def _located(model: tfk.Model) -> Iterator[tuple[str, Any]]:
    compiled = getattr(getattr(model, "_compile_config", None), "config", {})
    pending = collections.deque([("model", model), ("compile", compiled)])
    seen = {id(model), id(compiled)}
    while pending and len(seen) < _MOST_OBJECTS:
        path, parent = pending.popleft()
        for name, child in _children(parent):
            if id(child) in seen:
                continue
            seen.add(id(child))
            yield f"{HIDDEN_PREFIX}{path}/{name}", child
            if not isinstance(child, tf.Variable):
                pending.append((f"{path}/{name}", child))


def is_hidden_path(path: str) -> bool:
    """Whether a path is that of a variable to which only plain Python leads."""
    return path.startswith(HIDDEN_PREFIX)


def with_hidden_variables(found: ModelVariables, model: tfk.Model, saved: Iterable[str]) -> ModelVariables:
    """Add the variables that plain Python leads to, as far as a checkpoint has values for them.

    Args:
        found: The variables that the model tracks.
        model: A live model, trained or not.
        saved: Paths of the saved variables.
    """
    names = {path for path in saved if path.startswith(HIDDEN_PREFIX)}
    located = find_located(model) if names else {}
    hidden = {path: variable for path, variable in located.items() if path in names}
    object.__setattr__(model, _ATTRIBUTE, frozenset(hidden))
    return dataclasses.replace(found, model={**found.model, **hidden})


def _identity(variable: tf.Variable) -> int:
    # Mixed precision wraps a variable in one that casts; the train step knows the one inside.
    return id(getattr(variable, "_variable", variable))


def _of_keras(model: tfk.Model) -> Iterator[tf.Variable]:
    """Variables in which Keras keeps count of training; they are no state of the model."""
    for metric in model.metrics:
        yield from metric.variables
    counters = ("_train_counter", "_test_counter", "_predict_counter", "_steps_per_execution")
    for name in counters:
        counter = getattr(model, name, None)
        if isinstance(counter, tf.Variable):
            yield counter
    if stateful_random_ops.global_generator is not None:  # TensorFlow's accessor would make one.
        yield stateful_random_ops.global_generator.state


def _children(parent: Any) -> list[tuple[str, Any]]:
    items = member(parent, "__wrapped__", parent) if isinstance(parent, (dict, tuple)) else parent
    if isinstance(items, Mapping):
        return [(str(key), item) for key, item in items.items()]
    if isinstance(items, (list, tuple, set, frozenset)):
        return [(str(index), item) for index, item in enumerate(items)]
    if isinstance(parent, types.MethodType):
        return [("self", parent.__self__), ("function", parent.__func__)]
    if isinstance(parent, tf.__internal__.function.Function):
        return [("function", parent.python_function)]
    if isinstance(parent, types.FunctionType):
        return list(_reached_by(parent))
    return [*_attributes(parent), *_functions_of(type(parent))]


def _reached_by(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    reached = inspect.getclosurevars(function)
    yield from reached.nonlocals.items()
    yield from ((name, item) for name, item in reached.globals.items() if not isinstance(item, types.ModuleType))


def _attributes(parent: Any) -> list[tuple[str, Any]]:
    is_foreign = type(parent).__module__.partition(".")[0] in _LIBRARIES
    if isinstance(parent, (type, types.ModuleType)) or (is_foreign and not isinstance(parent, tf.Module)):
        return []
    attributes = getattr(parent, "__dict__", {})
    return [(name, attributes[name]) for name in sorted(attributes) if name not in _LEFT_BY_FIT]


def _functions_of(cls: type) -> Iterator[tuple[str, Any]]:
    for owner in cls.__mro__:
        if owner.__module__.partition(".")[0] not in _LIBRARIES:
            yield from ((name, item) for name, item in vars(owner).items() if isinstance(item, types.FunctionType))
