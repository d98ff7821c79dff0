"""Stable names for the variables of a model and its optimizers.

A variable's path is the names of the attributes that lead to it from the model, shortest first, as TensorFlow's
object-based checkpoints name them (`layer-0/kernel`, `hidden/bias`, `blocks/2/kernel`). It depends neither on the
order in which layers are made nor on the counters in tf_keras's names.

Source: tf.train.TrackableView, https://www.tensorflow.org/guide/checkpoint#loading_mechanics
"""

from __future__ import annotations

import collections
import dataclasses
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as tfk
from tf_keras.src.engine.functional import Functional

from keras_probckpt.model.members import member

__all__ = [
    "ModelVariables",
    "find_layers",
    "find_optimizers",
    "find_variables",
    "given_optimizers",
    "is_of_given_optimizer",
    "is_tracked_path",
    "note_optimizers",
    "with_recipe_variables",
]

OPTIMIZERS = (tfk.optimizers.Optimizer, tfk.optimizers.legacy.Optimizer)
# Keras keeps what `fit` compiles on the model; an optimizer an index by names that differ from process to process.
_NO_STATE = frozenset(
    {"_index_dict", "_variables", "train_function", "train_tf_function", "test_function", "predict_function"}
)
# TFP's joint distributions keep the parts they made, by the number of the graph they made them in; all have the same
# variables.
_PARTS_BY_GRAPH = "_single_sample_distributions"


# No path of a tracked variable begins so: in a name, `_escaped` writes "~" as "~0".
_RECIPE_PREFIX = "recipe~/"
HIDDEN_PREFIX = "hidden~/"
GIVEN_PREFIX = "optimizers~/"

# Optimizers that a loop of the user's keeps in variables of its own, by the model that they train and by name.
_GIVEN: weakref.WeakKeyDictionary[tfk.Model, Mapping[str, Any]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class ModelVariables:
    """The variables of a model.

    Attributes:
        model: Variables of layers, and those the model holds itself, by path.
        optimizers: Variables of its optimizers, by path; the path of a slot ends in that of its model variable.
        trackers: Paths of the metrics that the model or a layer holds itself, whose variables are among the model's.
    """

    model: Mapping[str, tf.Variable]
    optimizers: Mapping[str, tf.Variable]
    trackers: tuple[str, ...] = ()

    def is_of_tracker(self, path: str) -> bool:
        """Whether a path is that of a variable of such a metric."""
        return any(path.startswith(f"{tracker}/") for tracker in self.trackers)


def find_variables(model: tfk.Model, *, parents: list[Any] | None = None) -> ModelVariables:
    """Find the variables of a model, in time proportional to their number.

    Args:
        model: The model.
        parents: Takes every object whose children were looked at.
    """
    own: dict[str, tf.Variable] = {}
    optimizers: dict[str, Any] = {}
    trackers: list[str] = []
    for path, item in _walk(model, stops=_holds_no_children, parents=parents):
        if isinstance(item, tf.Variable):
            own[path] = item
        elif isinstance(item, tfk.metrics.Metric):
            trackers.append(path)
        elif isinstance(item, OPTIMIZERS):
            optimizers[path] = item
    optimizers = _with_given(model, optimizers)
    state: dict[str, tf.Variable] = {}
    for path, optimizer in optimizers.items():
        state.update(_optimizer_variables(optimizer, path, model=own, parents=parents))
    return ModelVariables(own, state, tuple(trackers))


def find_optimizers(model: tfk.Model) -> dict[str, Any]:
    """Find the optimizers of a model by path: `optimizer`, those that are attributes, and those noted of it."""
    found = _walk(model, stops=_holds_no_layers)
    return _with_given(model, {path: item for path, item in found if isinstance(item, OPTIMIZERS)})


def note_optimizers(model: tfk.Model, optimizers: Mapping[str, Any]) -> None:
    """Note that optimizers train a model that does not lead to them; their names are part of their paths.

    Args:
        model: The model.
        optimizers: Its optimizers, by name.
    """
    _GIVEN[model] = {f"{GIVEN_PREFIX}{_escaped(name)}": optimizer for name, optimizer in optimizers.items()}


def given_optimizers(model: tfk.Model) -> Mapping[str, Any]:
    """Return the optimizers that were noted of a model, by path."""
    return _GIVEN.get(model, {})


def is_of_given_optimizer(path: str) -> bool:
    """Whether a path is that of a variable of an optimizer to which no model leads."""
    return path.startswith(GIVEN_PREFIX)


def _with_given(model: tfk.Model, found: Mapping[str, Any]) -> dict[str, Any]:
    known = {id(optimizer) for optimizer in found.values()}
    given = given_optimizers(model)
    return {**found, **{path: item for path, item in given.items() if id(item) not in known}}


def find_layers(model: tfk.Model) -> dict[str, tfk.layers.Layer]:
    """Find the layers of a model by path, parents before their children; the model itself is at the path `""`."""
    found = _walk(model, stops=_holds_no_layers)
    return {"": model, **{path: item for path, item in found if isinstance(item, tfk.layers.Layer)}}


def with_recipe_variables(
    found: ModelVariables, variables: Mapping[int, tf.Variable]
) -> tuple[ModelVariables, list[str]]:
    """Add the variables that only the recipe knows of, such as one in the closure of a loss.

    Args:
        found: The variables that the model tracks.
        variables: Variables that the recipe has nodes for, by the number it gives them.

    Returns:
        All of them, and the path of each of the recipe's: `recipe~/<number>` for those that the model does not track.
    """
    if not variables:
        return found, []
    names = {id(variable): path for path, variable in found.model.items()}
    paths = {
        number: names.get(id(variable), f"{_RECIPE_PREFIX}{number}") for number, variable in sorted(variables.items())
    }
    model = {**found.model, **{paths[number]: variable for number, variable in variables.items()}}
    return dataclasses.replace(found, model=model), list(paths.values())


def _holds_no_children(item: Any) -> bool:
    return isinstance(item, (tf.Variable, *OPTIMIZERS))


def _holds_no_layers(item: Any) -> bool:
    return isinstance(item, (tf.Variable, *OPTIMIZERS, tfk.metrics.Metric))


def is_tracked_path(path: str) -> bool:
    """Whether a path is that of a variable that the model tracks, and not one that only recipe or loss lead to."""
    return not path.startswith((_RECIPE_PREFIX, HIDDEN_PREFIX))


def _walk(root: Any, *, stops: Callable[[Any], bool], parents: list[Any] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield each object below the root once, by its shortest path, breadth first; not beyond objects where it stops."""
    pending = collections.deque([("", root)])
    seen = {id(root)}
    while pending:
        prefix, parent = pending.popleft()
        if parents is not None:
            parents.append(parent)
        for name, child in _children(parent):
            if id(child) in seen:
                continue
            seen.add(id(child))
            path = f"{prefix}{_escaped(name)}"
            yield path, child
            if not stops(child):
                pending.append((f"{path}/", child))


def _children(parent: Any) -> list[tuple[str, Any]]:
    items = member(parent, "__wrapped__", parent)
    if isinstance(items, (list, tuple)):  # TensorFlow's own view refuses some containers; these names are the same.
        return [(str(index), item) for index, item in enumerate(items)]
    if isinstance(items, dict):
        return sorted((str(key), item) for key, item in items.items())
    if not isinstance(parent, tf.__internal__.tracking.Trackable):
        return []
    names = _tracked(parent)
    children = [(name, names[name]) for name in sorted(names) if name not in _NO_STATE]
    if _PARTS_BY_GRAPH in names:
        children = [(name, _first_of(item) if name == _PARTS_BY_GRAPH else item) for name, item in children]
    if isinstance(parent, tfk.layers.Layer):  # Weights added under one name hide each other from the view.
        weights = [*parent._trainable_weights, *parent._non_trainable_weights]
        children += [(f"weights-{index}", weight) for index, weight in enumerate(weights)]
    return children


def _first_of(items: Any) -> list[Any]:
    parts = member(items, "__wrapped__", items)
    return [next(iter(parts.values()))] if parts else []


def _tracked(parent: Any) -> Mapping[str, Any]:
    if isinstance(parent, OPTIMIZERS):
        # Its own view is made once and kept: asked before the slots are made, it would hide them from everyone for
        # good.
        parent._maybe_initialize_trackable()
        return {reference.name: reference.ref for reference in parent._unconditional_checkpoint_dependencies}
    if isinstance(parent, Functional):
        # Its own view has another name for each layer with weights. It asks each for them, which takes time by the
        # square of their number where a list of the layer's holds them.
        layers = {f"layer-{index}": layer for index, layer in enumerate(parent.layers)}
        return {**layers, **super(Functional, parent)._trackable_children("checkpoint")}
    return dict(tf.train.TrackableView.children(parent))


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _optimizer_variables(
    optimizer: Any, prefix: str, *, model: Mapping[str, tf.Variable], parents: list[Any] | None
) -> dict[str, tf.Variable]:
    slots = _slots(getattr(optimizer, "inner_optimizer", optimizer), model)
    slot_ids = {id(variable) for variable in slots.values()}
    scalars = {
        path: item
        for path, item in _walk(optimizer, stops=lambda item: isinstance(item, tf.Variable), parents=parents)
        if isinstance(item, tf.Variable) and id(item) not in slot_ids
    }
    return {f"{prefix}/{path}": variable for path, variable in {**scalars, **slots}.items()}


def _slots(optimizer: Any, model: Mapping[str, tf.Variable]) -> dict[str, tf.Variable]:
    """Name the variables that an optimizer keeps for each model variable: `_momentums/<path>`, `slots/m/<path>`."""
    if isinstance(optimizer, tfk.optimizers.legacy.Optimizer):
        return {
            f"slots/{name}/{path}": slot
            for path, variable in model.items()
            for name, slot in optimizer._slots.get(_legacy_key(variable), {}).items()
        }
    numbers = getattr(optimizer, "_index_dict", {})
    keys = {path: optimizer._var_key(variable) for path, variable in model.items()} if numbers else {}
    places = {path: numbers[key] for path, key in keys.items() if key in numbers}
    lists = [
        (name, list(items))  # A plain one: each look into TensorFlow's own costs a call.
        for name, items in _children(optimizer)
        if isinstance(items, list) and len(items) == len(numbers)
    ]
    return {
        f"{name}/{path}": items[place]
        for name, items in lists
        if items and isinstance(items[0], tf.Variable)
        for path, place in places.items()
    }


def _legacy_key(variable: tf.Variable) -> str:
    return str(getattr(variable, "_unique_id", variable.name))
