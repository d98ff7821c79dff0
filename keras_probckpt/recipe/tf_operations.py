"""Layers that tf_keras makes of TensorFlow functions called on symbolic tensors, as in `tf.exp(hidden) + 1.0`."""

from __future__ import annotations

from typing import Any

from tf_keras.src.layers.core import tf_op_layer

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import TAG, Decoder, Encoder, Kind, Node, field
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.known import known_object
from keras_probckpt.recipe.named import named_object
from keras_probckpt.recipe.strangers import MEMBERS

__all__ = ["OPERATION_KINDS"]

_MEMBERS = {"InstanceProperty": tf_op_layer.InstanceProperty, "InstanceMethod": tf_op_layer.InstanceMethod}


def _encode_function(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    """Write a function of the closed tables by its name there, and any other as a reference, which needs trust."""
    name = f"tf.{value.symbol}"
    function = name if known_object(name) is not None else encoder.encode(value.function, f"{where}.function")
    return {"function": function, "name": value.name}


def _decode_function(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    written = node.get("function")
    if isinstance(written, dict) and written.get(TAG) in _REFERENCES:
        function = decoder.decode(written, f"{where}.function")
    else:
        name = field(node, "function", str, where)
        function = named_object(name, decoder, where, use="operation") if name.startswith("tf.") else None
    if isinstance(function, type) or not callable(function):
        raise MalformedRecipeError(
            where=where, problem=f"{written!r:.80} is not a TensorFlow function a recipe may name"
        )
    cls = tf_op_layer.SlicingOpLambda if written == _SLICING else tf_op_layer.TFOpLambda
    return call(cls, [function], {"name": field(node, "name", str, where)}, where)


def _decode_member(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    kind, attribute = field(node, "kind", str, where), field(node, "attribute", str, where)
    is_listed = attribute in MEMBERS.get(kind, ()) or (decoder.is_trusted and attribute.isidentifier())
    if kind not in _MEMBERS or not is_listed or attribute.startswith("_"):
        raise MalformedRecipeError(where=where, problem=f"{kind!r:.40} of {attribute!r:.40} is not a tensor's member")
    return call(_MEMBERS[kind], [attribute], {"name": field(node, "name", str, where)}, where)


_REFERENCES = ("import", "pickle")
_SLICING = "tf.__operators__.getitem"

OPERATION_KINDS = (
    Kind(
        tag="tf_function",
        matches=lambda value: type(value) in (tf_op_layer.TFOpLambda, tf_op_layer.SlicingOpLambda),
        encode=_encode_function,
        decode=_decode_function,
        is_shared=True,
    ),
    Kind(
        tag="tf_member",
        matches=lambda value: type(value) in _MEMBERS.values(),
        encode=lambda value, _encoder, _where: {
            "kind": type(value).__name__,
            "attribute": value.attr_name,
            "name": value.name,
        },
        decode=_decode_member,
        is_shared=True,
    ),
)
