"""Attributes that hold the weights of layers, such as a list of the variables that an optimizer of one's own trains.

A layer makes its weights when it is built, so they are there only after the first call: then the attribute is set.

The node is a list of `[path, name, form, paths]`: the object, its attribute, `"one"`, `"list"` or `"tuple"`, and other
ways that lead to the variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.model.attributes import find_object, roots_of
from keras_probckpt.model.objects import Place
from keras_probckpt.recipe.codec import Encoder, Node
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.penalties import own_weights

__all__ = ["is_alias", "put_aliases", "record_aliases"]


def is_alias(value: Any, owner: tfk.layers.Layer) -> bool:
    """Whether an attribute of a layer holds nothing but variables, weights that layers in it made among them."""
    weights = _weights_in(value)
    if not weights:
        return False
    inner = {id(weight) for layer in owner._flatten_layers(include_self=False) for weight in own_weights(layer)}
    return any(id(weight) in inner for weight in weights)


def _weights_in(value: Any) -> list[tf.Variable]:
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    return items if all(isinstance(item, tf.Variable) for item in items) else []


def record_aliases(places: Sequence[Place], encoder: Encoder) -> list[Node]:
    """Write which attributes hold the weights of layers, of objects that are made by their state.

    Args:
        places: The walk over the model.
        encoder: Has written the model already.
    """
    layers = [place for place in places if isinstance(place.item, tfk.layers.Layer)]
    owners = [place for place in layers if encoder.tag_of(place.item) == "state"]
    found = [(place, name) for place in owners for name, child in place.children.items() if is_alias(child, place.item)]
    ways = _ways_to_variables(places, {(*place.path, name) for place, name in found}) if found else {}
    entries = [
        (place, name, [ways.get(id(item)) for item in _weights_in(place.children[name])]) for place, name in found
    ]
    return [
        [list(place.path), name, _form_of(place.children[name]), ways_to]
        for place, name, ways_to in entries
        if None not in ways_to
    ]


def _ways_to_variables(places: Sequence[Place], aliases: set[tuple[str, ...]]) -> dict[int, list[str]]:
    ways: dict[int, list[str]] = {}
    for place in places:
        for name, child in place.children.items():
            path = (*place.path, name)
            if isinstance(child, tf.Variable) and not aliases.intersection((path, place.path)):
                ways.setdefault(id(child), list(path))
    return ways


def _form_of(value: Any) -> str:
    return "list" if isinstance(value, list) else "tuple" if isinstance(value, tuple) else "one"


def put_aliases(model: tfk.Model, recorded: Sequence[Node]) -> None:
    """Let attributes hold the weights of layers again.

    Args:
        model: The rebuilt model, with all its variables.
        recorded: What `record_aliases` wrote.

    Raises:
        MalformedRecipeError: If it is not of that form, or there are no such variables.
    """
    roots = roots_of(model)
    for index, entry in enumerate(recorded):
        where = f"aliases[{index}]"
        try:
            path, name, form, ways = entry
            weights = [find_object(roots, tuple(map(str, way))) for way in ways]
            item = find_object(roots, tuple(map(str, path)))
        except (TypeError, ValueError, KeyError) as error:
            raise MalformedRecipeError(where=where, problem=f"there are no such variables: {entry!r:.80}") from error
        value = weights[0] if form == "one" else tuple(weights) if form == "tuple" else weights
        call(setattr, [item, name, value], {}, where)
