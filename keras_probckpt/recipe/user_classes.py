"""Layers, models and other Keras objects of user classes.

Their constructor's arguments are known in one of four ways, asked in this order: the class has a `get_config` of its
own; the mixin recorded them; Keras recorded them, which it does when all are numbers, strings, booleans or None; the
class has no other arguments than the class of Keras it derives from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.recipe.arguments import CallArguments, recorded_arguments
from keras_probckpt.recipe.codec import Decoder, Encoder, Kind, Node
from keras_probckpt.recipe.construction import call, decode_call, encode_call
from keras_probckpt.recipe.inherited import inherited_arguments
from keras_probckpt.recipe.known import known_name

__all__ = ["USER_BASES", "USER_KINDS"]

USER_BASES = (
    tfk.layers.Layer,
    tfk.initializers.Initializer,
    tfk.regularizers.Regularizer,
    tfk.constraints.Constraint,
    tfk.losses.Loss,
    tfk.optimizers.Optimizer,
    tfk.optimizers.legacy.Optimizer,
    tfk.optimizers.schedules.LearningRateSchedule,
)

_OWN_AND_KERAS = ("tf_keras.", "keras_probckpt.")

_WAYS_OUT = (
    "Three ways out: put ProbModelMixin first among the bases of {name}; or give it get_config and from_config; or "
    "write a function that builds the whole model and pass it as builder=."
)


def _encode_user_object(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    arguments = _arguments_of(value, where)
    return encode_call(type(value), arguments.keywords, encoder, where, positional=arguments.positional)


def _arguments_of(value: Any, where: str) -> CallArguments:
    recorded = recorded_arguments(value)
    if recorded is not None:
        return recorded
    # To the `__new__` of a layer that of a metric passes no arguments on.
    if getattr(value, "_auto_get_config", False) and not isinstance(value, tfk.metrics.Metric):
        return CallArguments([], dict(value._auto_config.config))
    inherited = inherited_arguments(value)
    if inherited is not None:
        return CallArguments([], inherited)
    name = type(value).__qualname__
    raise UnrecordableError(
        where=where,
        problem=f"nobody knows the arguments that this {name} was made with",
        advice=_WAYS_OUT.format(name=name),
    )


def _decode_user_object(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    cls, positional, arguments = decode_call(node, decoder, where)
    _check_user_class(cls, where)
    _check_text(cls, positional, arguments, where)
    return call(cls, positional, arguments, where)


def _describes_itself(value: Any) -> bool:
    """Whether the class of an object, and not only one of Keras's, has a `get_config`."""
    owner = next(cls for cls in type(value).__mro__ if "get_config" in vars(cls))
    return not owner.__module__.startswith(_OWN_AND_KERAS)


def _encode_configured(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    if _is_made_of_text(type(value)):
        name = type(value).__qualname__
        problem = f"{name}.from_config is that of Keras's Lambda, which makes functions of text"
        raise UnrecordableError(where=where, problem=problem, advice=_WAYS_OUT.format(name=name))
    return encode_call(type(value), value.get_config(), encoder, where)


def _decode_configured(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    cls, _, config = decode_call(node, decoder, where)
    _check_user_class(cls, where)
    if _is_made_of_text(cls):
        raise MalformedRecipeError(where=where, problem=f"{cls!r:.80} would make functions of text")
    _check_text(cls, [], config, where)
    return call(cls.from_config, [config], {}, where)


def _check_user_class(cls: Any, where: str) -> None:
    # A class of Keras or TFP must come as their own kinds of node, which know which of its arguments would run code.
    if not isinstance(cls, type) or not issubclass(cls, USER_BASES) or known_name(cls) is not None:
        raise MalformedRecipeError(where=where, problem=f"{cls!r:.80} is not a user's class of Keras objects")


def _is_made_of_text(cls: type) -> bool:
    """Whether the `from_config` of a class is that of `Lambda`, which unmarshals functions."""
    keras_own = vars(tfk.layers.Lambda)["from_config"]
    return next(vars(base)["from_config"] for base in cls.__mro__ if "from_config" in vars(base)) is keras_own


def _check_text(cls: type, positional: Sequence[Any], arguments: Mapping[str, Any], where: str) -> None:
    # A class in a registry needs no trust, and tfp.layers.DistributionLambda unpickles text in place of its function.
    given = [*positional, arguments.get("make_distribution_fn")]
    if issubclass(cls, tfk.layers.Lambda) and any(isinstance(item, (str, bytes)) for item in given):
        raise MalformedRecipeError(where=where, problem="text in place of a function would be unpickled")


USER_KINDS = (
    Kind(
        tag="configured",
        matches=lambda value: isinstance(value, USER_BASES) and _describes_itself(value),
        encode=_encode_configured,
        decode=_decode_configured,
        is_shared=True,
    ),
    Kind(
        tag="object",
        matches=lambda value: isinstance(value, USER_BASES),
        encode=_encode_user_object,
        decode=_decode_user_object,
        is_shared=True,
    ),
)
