"""Losses that `add_loss` was given as functions of no arguments, such as a penalty on a layer's weights.

A layer of a user's class adds its own when it is made or built. Those of tf_keras and TFP are given theirs from
outside, and only they have to be given them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tf_keras as tfk
from tf_keras.src.engine import functional

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import Decoder, Encoder, Node, field
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.known import known_name
from keras_probckpt.recipe.strangers import check_argument

__all__ = ["add_recorded_losses", "record_losses"]

_KERAS = "tf_keras."


def record_losses(layers: Mapping[str, tfk.layers.Layer], encoder: Encoder) -> list[Node]:
    """Write the functions that the layers of tf_keras and TFP were given as losses.

    Args:
        layers: The model, at the path `""`, and the layers in it by path.
        encoder: Writes the functions.
    """
    found = {path: list(_given(layer)) for path, layer in layers.items() if _is_of_library(layer)}
    return [
        {"layer": path, "functions": encoder.encode_items(functions, f"{path or 'model'}.add_loss")}
        for path, functions in found.items()
        if functions
    ]


def _is_of_library(layer: tfk.layers.Layer) -> bool:
    return type(layer) is functional.Functional or known_name(type(layer)) is not None


def _given(layer: tfk.layers.Layer) -> Iterator[Callable[[], Any]]:
    for tagged in layer._callable_losses:
        function = tagged.args[0]  # A partial call of a function of Keras's, which marks what it returns.
        # Regularizers of weights come with the weights.
        if not (getattr(function, "func", function).__module__ or "").startswith(_KERAS):
            yield function


def add_recorded_losses(layers: Mapping[str, tfk.layers.Layer], recorded: Node, decoder: Decoder) -> None:
    """Give the layers their losses again.

    Args:
        layers: The rebuilt model, at the path `""`, and the layers in it by path.
        recorded: What `record_losses` wrote.
        decoder: Reads the functions.
    """
    if not isinstance(recorded, list) or not all(isinstance(node, dict) for node in recorded):
        raise MalformedRecipeError(where="losses", problem=f"a list of objects is needed, not {recorded!r:.80}")
    for index, node in enumerate(recorded):
        where = f"losses[{index}]"
        path, functions = field(node, "layer", str, where), field(node, "functions", list, where)
        if path not in layers:
            raise MalformedRecipeError(where=where, problem=f"there is no layer {path!r:.80}")
        for function in decoder.decode(functions, where):
            if not decoder.is_trusted:
                check_argument(None, "loss", function, where)
            if not callable(function):
                raise MalformedRecipeError(where=where, problem=f"a {type(function).__name__} is not a function")
            call(layers[path].add_loss, [function], {}, where)
