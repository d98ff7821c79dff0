"""Distributions, bijectors and kernels of TFP, and the variables and deferred tensors that are their parameters.

TFP's objects carry the arguments they were made with in `.parameters`. A variable among them is written as its shape
and
dtype: its value is saved and put back with the other variables, so that it can go on being trained.
"""

from __future__ import annotations

import inspect
import types
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from tf_keras.src.mixed_precision import autocast_variable

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.model.members import member
from keras_probckpt.recipe.attribute_names import mentions
from keras_probckpt.recipe.bases import base_of
from keras_probckpt.recipe.codec import BUILDER_ADVICE, Decoder, Encoder, Kind, Node, field
from keras_probckpt.recipe.construction import accepted_arguments, call, decode_call, encode_call
from keras_probckpt.recipe.states import encode_state
from keras_probckpt.recipe.strangers import PARAMETRIZED, check_argument

__all__ = ["PARAMETRIZED", "TFP_KINDS"]

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

_ROOTS = PARAMETRIZED


def _encode_parametrized(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    if not _tells_arguments(value):
        with encoder.undone_on_error():
            return encode_state(value, encoder, where)
    defaults = inspect.signature(type(value).__init__).parameters
    accepted = accepted_arguments(type(value))
    arguments = {
        name: item
        for name, item in _parameters(value).items()
        if name in accepted and not (name in defaults and defaults[name].default is item)
    }
    return encode_call(type(value), arguments, encoder, where)


def _parameters(value: Any) -> dict[str, Any]:
    """Return the arguments that TFP recorded, those that the constructor takes as `**kwargs` by their own names."""
    parameters = dict(member(value, "parameters") or {})
    for parameter in inspect.signature(type(value).__init__).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            parameters.update(parameters.pop(parameter.name, {}))
    return parameters


def _tells_arguments(value: Any) -> bool:
    """Whether what TFP recorded are the arguments of the constructor of the object's class.

    A user's class that does not say which they are has none, or those of the class of TFP that it derives from.
    """
    if member(value, "parameters") is None:  # A kernel without any raises.
        return False
    cls, base = type(value), base_of(type(value))
    owner = next(owner for owner in cls.__mro__ if "__init__" in vars(owner))
    parameters = inspect.signature(cls.__init__).parameters
    required = {name for name, item in parameters.items() if item.default is item.empty and item.kind in _NAMED}
    if not required - {"self"} <= _parameters(value).keys():
        return False
    if base is None or owner in base.__mro__ or base in _ROOTS:
        return True
    return mentions(("parameters", "_parameters"), cls, base)


def _decode_parametrized(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    cls, positional, arguments = decode_call(node, decoder, where)
    if not isinstance(cls, type) or not issubclass(cls, PARAMETRIZED):
        raise MalformedRecipeError(
            where=where, problem=f"{cls!r:.80} is not a distribution, bijector, kernel or linear operator"
        )
    return call(cls, positional, arguments, where)


def _encode_variable(value: tf.Variable, encoder: Encoder, where: str) -> dict[str, Node]:
    if not value.shape.is_fully_defined():
        problem = f"it is a variable of the shape {value.shape}, which is not fixed"
        raise UnrecordableError(where=where, problem=problem, advice=BUILDER_ADVICE)
    encoder.variables.append(value)
    node: dict[str, Node] = {
        "index": len(encoder.variables) - 1,
        "shape": value.shape.as_list(),
        "dtype": getattr(value, "true_dtype", value.dtype).name,  # Mixed precision shows the dtype it casts to.
        "trainable": bool(value.trainable),
        "name": value.name.partition(":")[0],
    }
    constraint = member(value, "constraint")
    if constraint is not None:
        node["constraint"] = encoder.encode(constraint, f"{where}.constraint")
    if isinstance(value, autocast_variable.AutoCastVariable):
        node["is_autocast"] = True
    return node


def _decode_variable(node: dict[str, Node], decoder: Decoder, where: str) -> tf.Variable:
    arguments = {
        "shape": field(node, "shape", list, where),
        "dtype": field(node, "dtype", str, where),
        "trainable": field(node, "trainable", bool, where),
        "name": field(node, "name", str, where),
    }
    if "constraint" in node:
        arguments["constraint"] = decoder.decode(node["constraint"], f"{where}.constraint")
        if not isinstance(arguments["constraint"], (tfk.constraints.Constraint, types.FunctionType)):
            raise MalformedRecipeError(where=where, problem="the constraint of a variable is a function")
    variable = call(_new_variable, [], arguments, where)
    if node.get("is_autocast") is True:
        variable = autocast_variable.create_autocast_variable(variable)
    decoder.variables[field(node, "index", int, where)] = variable
    return variable


def _new_variable(*, shape: list[int], dtype: str, **arguments: Any) -> tf.Variable:
    # By a function: whoever counts what variables take does so before there is any value.
    return tf.Variable(lambda: tf.zeros(shape, dtype), shape=shape, dtype=dtype, **arguments)


def _encode_transformed(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    return {
        "variable": encoder.encode(value.pretransformed_input, f"{where}.pretransformed_input"),
        "bijector": encoder.encode(value.bijector, f"{where}.bijector"),
        "dtype": value.dtype.name,
    }


def _decode_transformed(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    variable = decoder.decode(node.get("variable"), f"{where}.pretransformed_input")
    bijector = decoder.decode(node.get("bijector"), f"{where}.bijector")
    if not isinstance(variable, tf.Variable) or not isinstance(bijector, tfp.bijectors.Bijector):
        raise MalformedRecipeError(where=where, problem="a transformed variable is a variable and a bijector")
    return call(_transformed_variable, [variable, bijector], {"dtype": field(node, "dtype", str, where)}, where)


def _transformed_variable(variable: tf.Variable, bijector: Any, *, dtype: str) -> Any:
    made = tfp.util.TransformedVariable(bijector.forward(variable), bijector, dtype=tf.as_dtype(dtype))
    made._pretransformed_input = variable  # Made anew by the constructor; this one may be shared.
    return made


def _encode_deferred(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    arguments = {
        "pretransformed_input": value.pretransformed_input,
        "transform_fn": value.transform_fn,
        "dtype": value._dtype,
        "shape": value._shape,
        "also_track": value.also_track,
    }
    return {"arguments": {key: encoder.encode(item, f"{where}.{key}") for key, item in arguments.items()}}


def _decode_deferred(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    arguments = decoder.decode_mapping(field(node, "arguments", dict, where), where)
    if not decoder.is_trusted:
        check_argument(tfp.util.DeferredTensor, "transform_fn", arguments.get("transform_fn"), where)
    if not callable(arguments.get("transform_fn")):
        raise MalformedRecipeError(where=where, problem="a deferred tensor needs a function")
    return call(tfp.util.DeferredTensor, [], arguments, where)


TFP_KINDS = (
    Kind(
        tag="variable",
        matches=lambda value: isinstance(value, tf.Variable),
        encode=_encode_variable,
        decode=_decode_variable,
        is_shared=True,
    ),
    Kind(
        tag="transformed_variable",
        matches=lambda value: type(value) is tfp.util.TransformedVariable,
        encode=_encode_transformed,
        decode=_decode_transformed,
        is_shared=True,
    ),
    Kind(
        tag="deferred_tensor",
        matches=lambda value: type(value) is tfp.util.DeferredTensor,
        encode=_encode_deferred,
        decode=_decode_deferred,
        is_shared=True,
    ),
    Kind(
        tag="parametrized",
        matches=lambda value: isinstance(value, PARAMETRIZED),
        encode=_encode_parametrized,
        decode=_decode_parametrized,
        is_shared=True,
    ),
)
