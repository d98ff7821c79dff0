"""The networks of TFP's flows that are templates of TensorFlow 1, as `real_nvp_default_template` makes them.

A template is a function that makes its variables when it is first called. That is done again, with an input of the size
that the variables were made for.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow.python.ops.template import EagerTemplate

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.model.equality import closed_over
from keras_probckpt.recipe.codec import Decoder, Encoder, Kind, Node, field, untrusted
from keras_probckpt.recipe.construction import call

__all__ = ["TEMPLATE_KINDS"]

_MAKERS: Mapping[str, Callable[..., Any]] = {
    "real_nvp_default_template": tfp.bijectors.real_nvp_default_template,
    "masked_autoregressive_default_template": tfp.bijectors.masked_autoregressive_default_template,
}
_MADE_FOR = "real_nvp_default_template"


def _is_template(value: Any) -> bool:
    return isinstance(value, EagerTemplate) and _maker_of(value) is not None and not closed_over(value._func)["args"]


def _maker_of(template: Any) -> str | None:
    """Name the function of TFP that made a template; None where another one did."""
    function = template._func
    is_tfp = isinstance(function, types.FunctionType) and function.__module__.startswith("tensorflow_probability.")
    name = function.__qualname__.partition(".")[0] if is_tfp else ""
    return name if name in _MAKERS else None


def _encode_template(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    closed = closed_over(value._func)
    arguments = {name: item for name, item in closed.items() if name not in ("args", "kwargs")}
    arguments.update(closed.get("kwargs") or {}, name=value._name)
    node: dict[str, Node] = {
        "maker": _maker_of(value),
        "arguments": {name: encoder.encode(item, f"{where}.{name}") for name, item in arguments.items()},
    }
    if value._variables_created:
        # The last of them is `dense_10/kernel` and not `dense_9/kernel`.
        kernels = sorted((item for item in value.variables if item.shape.rank > 1), key=lambda item: len(item.name))
        first, last = kernels[0].shape[0], kernels[-1].shape[-1]
        node["sizes"] = [first, last // (1 if closed["shift_only"] else 2)]
    return node


def _decode_template(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    if not decoder.is_trusted:
        problem = "the network of a flow is called to make its variables, which only a trusted checkpoint may do"
        raise untrusted(where, problem)
    name = field(node, "maker", str, where)
    if name not in _MAKERS:
        raise MalformedRecipeError(where=where, problem=f"{name!r:.80} makes no network of a flow")
    arguments = decoder.decode_mapping(field(node, "arguments", dict, where), where)
    template = call(_MAKERS[name], [], arguments, where)
    if "sizes" in node:
        inputs, outputs = field(node, "sizes", list, where)
        call(template, [tf.zeros((1, inputs)), *([outputs] if name == _MADE_FOR else [])], {}, where)
    return template


TEMPLATE_KINDS = (
    Kind(tag="template", matches=_is_template, encode=_encode_template, decode=_decode_template, is_shared=True),
)
