"""Layers of `tfp.layers`.

Their `get_config` pickles functions and several have none, so the constructor's arguments are read where the layers
keep them: in the closure of the function that makes the distribution.
"""

from __future__ import annotations

import inspect
from typing import Any

import tensorflow_probability as tfp

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import Decoder, Encoder, Kind, Node
from keras_probckpt.recipe.construction import call, decode_call, encode_call
from keras_probckpt.recipe.keras_objects import base_arguments
from keras_probckpt.recipe.known import known_name

__all__ = ["TFP_KINDS"]

# A string in the place of the first would be unpickled by the layer's constructor, of the second looked up in TFP's
# module.
_FUNCTION_ARGUMENTS = ("make_distribution_fn", "convert_to_tensor_fn")

DistributionLambda = tfp.layers.DistributionLambda


def _is_distribution_layer(value: Any) -> bool:
    return isinstance(value, DistributionLambda) and (known_name(type(value)) or "").startswith("tfp.layers.")


def _encode_distribution_layer(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    arguments = {"convert_to_tensor_fn": value._convert_to_tensor_fn, **base_arguments(value)}
    if type(value) is DistributionLambda:
        arguments["make_distribution_fn"] = value._make_distribution_fn
    else:
        accepted = inspect.signature(type(value).__init__).parameters
        held = inspect.getclosurevars(value._make_distribution_fn).nonlocals
        arguments.update({key: item for key, item in held.items() if key in accepted})
    return encode_call(type(value), arguments, encoder, where)


def _decode_distribution_layer(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    cls, positional, arguments = decode_call(node, decoder, where)
    if not isinstance(cls, type) or not issubclass(cls, DistributionLambda) or known_name(cls) is None:
        raise MalformedRecipeError(where=where, problem=f"{cls!r:.80} is not a distribution layer of tfp.layers")
    for name in _FUNCTION_ARGUMENTS:
        if name in arguments and not callable(arguments[name]):
            raise MalformedRecipeError(where=f"{where}.{name}", problem="a function is needed here")
    return call(cls, positional, arguments, where)


TFP_KINDS = (
    Kind(
        tag="tfp",
        matches=_is_distribution_layer,
        encode=_encode_distribution_layer,
        decode=_decode_distribution_layer,
        is_shared=True,
    ),
)
