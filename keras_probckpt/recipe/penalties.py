"""The regularizers and constraints that weights of layers have, whatever the layers' own attributes say.

Keras reads `kernel_regularizer` when it makes the kernel: to set one later has no effect, nor has it to take one away.
A layer that is made again makes its weights by what its attributes say now.

The node is `{layer: [[index, [regularizer, ...], constraint], ...]}`, without the weights that have neither, and null
for a layer of which they cannot be written.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.model.equality import closed_over, is_same
from keras_probckpt.model.members import member
from keras_probckpt.recipe.codec import Decoder, Encoder, Node
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.strangers import check_argument

__all__ = ["own_weights", "put_penalties", "record_penalties"]

_KERAS = "tf_keras."
_REGULARIZER = "regularizer"
_Layers = Mapping[str, tfk.layers.Layer]


def record_penalties(layers: _Layers, encoder: Encoder) -> dict[str, Node]:
    """Write which weights have which regularizers and constraint.

    Args:
        layers: The model, at the path `""`, and the layers in it by path.
        encoder: Writes them.
    """
    found = {path: _penalties_of(layer) for path, layer in layers.items()}
    return {path: _encoded(found[path], encoder, f"{path or 'model'}.weights") for path in found if found[path]}


def _encoded(penalties: Mapping[int, tuple[list[Any], Any]], encoder: Encoder, where: str) -> Node:
    try:
        with encoder.undone_on_error():
            return [
                [index, encoder.encode_items(regularizers, where), encoder.encode(constraint, where)]
                for index, (regularizers, constraint) in penalties.items()
            ]
    except UnrecordableError:
        return None


def _penalties_of(layer: tfk.layers.Layer) -> dict[int, tuple[list[Any], Any]]:
    """Give the regularizers and the constraint of each of a layer's own weights that has some, by its place."""
    regularizers: dict[int, list[Any]] = {}
    for _, function in _of_weights(layer):
        regularizers.setdefault(id(function.args[0]), []).append(_regularizer_of(function))
    found = ((regularizers.get(id(weight), []), member(weight, "constraint")) for weight in own_weights(layer))
    return {index: pair for index, pair in enumerate(found) if pair != ([], None)}


def _of_weights(layer: tfk.layers.Layer) -> Iterator[tuple[Any, functools.partial[Any]]]:
    """Give what of a layer's losses Keras makes of the regularizers of its weights, each with what marks it."""
    for tagged in layer._callable_losses:
        function = tagged.args[0]
        is_keras = isinstance(function, functools.partial) and (function.func.__module__ or "").startswith(_KERAS)
        if is_keras and _REGULARIZER in function.func.__code__.co_freevars:
            yield tagged, function


def _regularizer_of(function: functools.partial[Any]) -> Any:
    made: Any = function.func
    return closed_over(made)[_REGULARIZER]


def own_weights(layer: tfk.layers.Layer) -> list[tf.Variable]:
    """Give the weights of a layer without those of the layers in it, trainable ones first."""
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def put_penalties(layers: _Layers, recorded: Node, decoder: Decoder) -> None:
    """Let the weights of layers have the regularizers and constraints that they had, and no others.

    Args:
        layers: The rebuilt model, at the path `""`, and the layers in it by path.
        recorded: What `record_penalties` wrote.
        decoder: Reads it.

    Raises:
        MalformedRecipeError: If it is not of that form.
    """
    if not isinstance(recorded, dict):
        raise MalformedRecipeError(where="penalties", problem=f"an object is needed, not {recorded!r:.80}")
    for path, layer in layers.items():
        where = f"penalties[{path!r}]"
        wanted = _checked(recorded.get(path, []), decoder, where)
        now = None if wanted is None else _penalties_of(layer)
        if wanted is not None and not is_same(now, wanted):
            _put(layer, wanted, where)


def _checked(entries: Node, decoder: Decoder, where: str) -> dict[int, tuple[list[Any], Any]] | None:
    if entries is None:
        return None
    is_list = isinstance(entries, list) and all(
        isinstance(entry, list) and len(entry) == 3 and type(entry[0]) is int and isinstance(entry[1], list)  # noqa: PLR2004
        for entry in entries
    )
    if not is_list:
        raise MalformedRecipeError(where=where, problem=f"places, regularizers and constraints: {entries!r:.80}")
    found = {index: (decoder.decode(items, where), decoder.decode(one, where)) for index, items, one in entries}
    penalties = [item for items, one in found.values() for item in (*items, one) if item is not None]
    if not decoder.is_trusted:
        for item in penalties:
            check_argument(None, "penalty", item, where)
    if not all(map(callable, penalties)):
        raise MalformedRecipeError(where=where, problem="a regularizer or constraint is a function")
    return found


def _put(layer: tfk.layers.Layer, wanted: Mapping[int, tuple[list[Any], Any]], where: str) -> None:
    weights = own_weights(layer)
    of_weights = {id(tagged) for tagged, _ in _of_weights(layer)}
    layer._callable_losses[:] = [tagged for tagged in layer._callable_losses if id(tagged) not in of_weights]
    for index, weight in enumerate(weights):
        regularizers, constraint = wanted.get(index, ([], None))
        for regularizer in regularizers:
            name = weight.name.partition(":")[0]
            call(layer._handle_weight_regularization, [name, weight, regularizer], {}, where)
        if not is_same(member(weight, "constraint"), constraint):
            # There is no other way: a variable is given it when it is made.
            getattr(weight, "_variable", weight)._constraint = constraint
