"""Layers, models and other Keras objects of user classes.

Their constructor's arguments are known in one of four ways, asked in this order: the mixin recorded them; the class has
a `get_config` of its own that fits its constructor; Keras recorded them, which it does when all are numbers, strings,
booleans or None; the class has no other arguments than the class of Keras it derives from. Where none of them knows
the arguments, or they cannot be written, the object is recorded by its state.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.recipe.arguments import CallArguments, recorded_arguments
from keras_probckpt.recipe.codec import TAG, Decoder, Encoder, Kind, Node
from keras_probckpt.recipe.construction import call, decode_call, encode_call
from keras_probckpt.recipe.inherited import inherited_arguments
from keras_probckpt.recipe.known import known_name
from keras_probckpt.recipe.states import encode_state

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
    # TensorFlow's own initializers describe themselves as those of Keras do.
    tf.constant_initializer.__base__,
)

_LIBRARIES = ("tf_keras.", "tensorflow_probability.", "keras_probckpt.")

_Way = Callable[[Any, Encoder, str], dict[str, Node]]

_WAYS_OUT = (
    "Three ways out: put ProbModelMixin first among the bases of {name}; or give it get_config and from_config; or "
    "write a function that builds the whole model and pass it as builder=."
)


def _encode_user_object(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    """Write an object in the first of the ways that can tell all of it."""
    problems = []
    for way in _WAYS:
        written = _tried(way, value, encoder, where)
        if isinstance(written, dict):
            return written
        problems.append(written)
    name = type(value).__qualname__
    problem = f"the constructor arguments of {name} were not recorded, and its state cannot be either"
    known = problems[0] if recorded_arguments(value) is not None else problems[-1]
    raise UnrecordableError(where=where, problem=f"{problem}: {known}", advice=_WAYS_OUT.format(name=name))


def _tried(way: _Way, value: Any, encoder: Encoder, where: str) -> dict[str, Node] | str:
    """Write an object in one way; say in words why not, where it cannot be."""
    try:
        with encoder.undone_on_error():
            return way(value, encoder, where)
    except UnrecordableError as error:
        return f"{error.where}: {error.problem}"


def _by_arguments(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    recorded = recorded_arguments(value)
    if recorded is None:
        raise _not_so(value, where, "ProbModelMixin did not record its arguments")
    return _object(value, recorded, encoder, where)


def _by_configuration(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    cls = type(value)
    if not _describes_itself(value) or _is_made_of_text(cls):
        raise _not_so(value, where, "it has no get_config and from_config of its own")
    try:
        config = value.get_config()
        fits = isinstance(config, Mapping) and (_has_own_from_config(cls) or _takes(cls, config))
    except Exception as error:
        raise _not_so(value, where, f"its get_config fails with {type(error).__name__}: {error}") from error
    if not fits:
        raise _not_so(value, where, "what its get_config returns are not arguments of its constructor")
    return {TAG: "configured", **encode_call(cls, config, encoder, where)}


def _by_what_keras_knows(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    # To the `__new__` of a layer that of a metric passes no arguments on.
    if getattr(value, "_auto_get_config", False) and not isinstance(value, tfk.metrics.Metric):
        return _object(value, CallArguments([], dict(value._auto_config.config)), encoder, where)
    try:
        inherited = inherited_arguments(value)
    except Exception as error:
        raise _not_so(value, where, f"its get_config fails with {type(error).__name__}: {error}") from error
    if inherited is None:
        raise _not_so(value, where, "Keras did not record its arguments")
    return _object(value, CallArguments([], inherited), encoder, where)


def _object(value: Any, arguments: CallArguments, encoder: Encoder, where: str) -> dict[str, Node]:
    fields = encode_call(type(value), arguments.keywords, encoder, where, positional=arguments.positional)
    return {TAG: "object", **fields}


def _not_so(value: Any, where: str, problem: str) -> UnrecordableError:
    return UnrecordableError(where=where, problem=problem, advice=_WAYS_OUT.format(name=type(value).__qualname__))


_WAYS = (_by_arguments, _by_configuration, _by_what_keras_knows, encode_state)


def _has_own_from_config(cls: type) -> bool:
    owner = next(base for base in cls.__mro__ if "from_config" in vars(base))
    return not owner.__module__.startswith(_LIBRARIES)


def _takes(cls: type, config: Mapping[str, Any]) -> bool:
    """Whether a constructor takes these arguments by name; where it cannot be told, it is taken for granted."""
    try:
        inspect.signature(cls.__init__).bind(None, **config)  # type: ignore[misc] # as `cls` itself will
    except TypeError:
        return False
    except ValueError:  # It has no signature.
        return True
    return True


def _decode_user_object(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    cls, positional, arguments = decode_call(node, decoder, where)
    _check_user_class(cls, where)
    _check_text(cls, positional, arguments, where)
    return call(cls, positional, arguments, where)


def _describes_itself(value: Any) -> bool:
    """Whether the class of an object, and not only a library's, has a `get_config`."""
    owner = next(cls for cls in type(value).__mro__ if "get_config" in vars(cls))
    return not owner.__module__.startswith(_LIBRARIES)


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
    # Which of the two it is to be, the other decides.
    Kind(
        tag="configured",
        matches=lambda _value: False,
        encode=_encode_user_object,
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
