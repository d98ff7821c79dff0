"""tf_keras's own objects: layers, initializers, regularizers, constraints, losses, metrics, optimizers, schedules.

They describe themselves well with `get_config`, except that it writes each object and function in them as an
instruction to import. Here the live object is taken instead, so that the recipe holds no such instruction and a lambda
stays a function.
"""

from __future__ import annotations

import contextlib
import itertools
import types
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.recipe.codec import BUILDER_ADVICE, KERAS_INSTRUCTION, Decoder, Encoder, Kind, Node, field
from keras_probckpt.recipe.construction import accepted_arguments, call, decode_keywords_call, encode_call
from keras_probckpt.recipe.known import known_name
from keras_probckpt.recipe.strangers import require_no_lambda

__all__ = ["KERAS_KINDS", "LAYER_KEYWORDS", "accepted_of", "base_arguments", "keras_arguments"]

LAYER_KEYWORDS = frozenset({"name", "trainable", "dtype", "batch_input_shape", "activity_regularizer"})
_LEGACY_OPTIMIZER_KEYWORDS = frozenset({"clipnorm", "clipvalue", "global_clipnorm", "decay"})
_LAMBDA = "<lambda>"
_DESCRIBED = (
    tfk.layers.Layer,
    tfk.initializers.Initializer,
    tfk.regularizers.Regularizer,
    tfk.constraints.Constraint,
    tfk.optimizers.schedules.LearningRateSchedule,
)
_ABSENT = object()


def _is_keras_object(value: Any) -> bool:
    name = known_name(_class_of(value))
    return name is not None and name.startswith("tf_keras.") and hasattr(value, "get_config")


def _class_of(value: Any) -> type:
    # What its constructor returns is of a hidden class, one for each of the two families of optimizers.
    is_scaled = isinstance(value, tfk.mixed_precision.LossScaleOptimizer)
    return tfk.mixed_precision.LossScaleOptimizer if is_scaled else type(value)


def _encode_object(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    try:
        arguments = keras_arguments(value, accepted_of(type(value)))
    except Exception as error:  # Whatever an object of a user's class in it raises.
        problem = f"the get_config of {type(value).__qualname__} fails with {type(error).__name__}: {error}"
        raise UnrecordableError(where=where, problem=problem, advice=BUILDER_ADVICE) from error
    return encode_call(_class_of(value), arguments, encoder, where)


def keras_arguments(value: Any, accepted: frozenset[str] | None, *, base: type | None = None) -> dict[str, Any]:
    """Return the arguments that a `get_config` of tf_keras tells, as they are.

    Args:
        value: An object.
        accepted: Names of the arguments its constructor takes; None is any.
        base: The class of tf_keras whose `get_config` is asked, where that is not the object's own.
    """
    config = _config_of(value, base or type(value))
    return {
        key: _live_argument(value, key, written)
        for key, written in config.items()
        if accepted is None or key in accepted
    }


def accepted_of(cls: type) -> frozenset[str] | None:
    """Names of the arguments that a class of tf_keras takes; None is any."""
    if cls is tfk.metrics.MeanMetricWrapper:  # It passes what it does not know on to its function.
        return None
    accepted = accepted_arguments(cls)
    if issubclass(cls, tfk.layers.Layer):
        return accepted | LAYER_KEYWORDS
    return accepted | _LEGACY_OPTIMIZER_KEYWORDS if issubclass(cls, tfk.optimizers.legacy.Optimizer) else accepted


def _decode_object(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    cls, arguments = decode_keywords_call(node, decoder, where)
    if not isinstance(cls, type) or not (known_name(cls) or "").startswith("tf_keras."):
        raise MalformedRecipeError(where=where, problem=f"{cls!r:.80} is not a class of tf_keras")
    if cls is tfk.layers.Lambda and not callable(arguments.get("function")):
        raise MalformedRecipeError(where=where, problem="the function of a Lambda layer is not a function")
    backward = arguments.get("backward_layer")
    if cls is tfk.layers.Bidirectional and not decoder.is_trusted:
        require_no_lambda([arguments.get("layer"), backward], where)  # It makes its layer anew, by `from_config`.
    name = getattr(backward, "name", None)
    made = call(cls, [], arguments, where)
    if cls is tfk.layers.Bidirectional and backward is not None:
        made.backward_layer._name = name  # Its constructor puts "backward_" before the name, which had it already.
    return made


def _config_of(value: Any, base: type) -> dict[str, Any]:
    if base is tfk.layers.Lambda:  # Its get_config marshals the function.
        names = {"function": "function", "output_shape": "_output_shape", "mask": "mask", "arguments": "arguments"}
        return {**base_arguments(value), **{key: getattr(value, name) for key, name in names.items()}}
    with warnings.catch_warnings(), _under_a_name(_lambdas_in(value)), _described(_users_objects_in(value)):
        warnings.simplefilter("ignore")
        config = dict(base.get_config(value))  # type: ignore[attr-defined] # the callers see to it
    if config.get("optional") is False:  # Unknown to the oldest releases, which need not be told of its absence.
        del config["optional"]
    return config


def _lambdas_in(value: Any) -> Iterator[types.FunctionType]:
    return (item for item in _held_by(value) if isinstance(item, types.FunctionType) and item.__name__ == _LAMBDA)


def _users_objects_in(value: Any) -> Iterator[Any]:
    """Find the objects of users' classes, whose `get_config` may be anyone's or only raise."""
    held = (item for item in _held_by(value) if isinstance(item, _DESCRIBED))
    return (item for item in held if known_name(type(item)) is None and item is not value)


def _held_by(value: Any) -> Iterator[Any]:
    holders = list(value._flatten_layers()) if isinstance(value, tfk.layers.Layer) else [value]
    items = itertools.chain.from_iterable(list(vars(holder).values()) for holder in holders)
    return itertools.chain.from_iterable(map(_items_of, items))


def _items_of(value: Any) -> Iterable[Any]:
    if isinstance(value, (list, tuple)):
        return value
    return value.values() if type(value) is dict else (value,)


@contextlib.contextmanager
def _described(objects: Iterator[Any]) -> Iterator[None]:
    """Let objects have a `get_config` of nothing: they are taken themselves, but their layer's asks for theirs."""
    held = list(objects)
    for item in held:
        object.__setattr__(item, "get_config", dict)
    try:
        yield
    finally:
        for item in held:
            vars(item).pop("get_config", None)  # One that two layers share is there twice.


@contextlib.contextmanager
def _under_a_name(lambdas: Iterator[types.FunctionType]) -> Iterator[None]:
    """Let lambdas pass for named functions: `get_config` would marshal them, and fails where their source is gone."""
    named = list(lambdas)
    for function in named:
        function.__name__ = "named"
    try:
        yield
    finally:
        for function in named:
            function.__name__ = _LAMBDA


def base_arguments(layer: tfk.layers.Layer) -> dict[str, Any]:
    """Return the arguments that every layer takes, for classes whose own `get_config` is of no use."""
    arguments = {"name": layer.name, "trainable": layer.trainable, "dtype": layer.dtype_policy.name}
    if hasattr(layer, "_batch_input_shape"):
        arguments["batch_input_shape"] = layer._batch_input_shape
    if layer.activity_regularizer is not None:
        arguments["activity_regularizer"] = layer.activity_regularizer
    return arguments


def _live_argument(value: Any, key: str, written: Any) -> Any:
    """Return the argument itself where `get_config` wrote an instruction to import it."""
    if key == "dtype":
        return _dtype_name(value, written)
    if key == "learning_rate":
        schedule = _learning_rate_schedule(value)
        return written if schedule is None else schedule
    if isinstance(written, (bool, int, float, type(None))):
        return written  # Nothing is asked of the object: a legacy optimizer would make variables to answer.
    live = getattr(value, key, getattr(value, f"_{key}", _ABSENT))
    if callable(live):
        return live
    if not _holds_instruction(written):
        return written
    return tfk.saving.deserialize_keras_object(written) if live is _ABSENT else live


def _dtype_name(value: Any, written: Any) -> Any:
    policy = getattr(value, "dtype_policy", None)
    return policy.name if policy is not None and isinstance(value, tfk.layers.Layer) else written


def _learning_rate_schedule(optimizer: Any) -> Any:
    schedule = getattr(optimizer, "_learning_rate", None)
    if schedule is None and hasattr(optimizer, "_hyper"):
        schedule = optimizer._hyper.get("learning_rate")
    return schedule if isinstance(schedule, tfk.optimizers.schedules.LearningRateSchedule) else None


def _holds_instruction(written: Any) -> bool:
    if isinstance(written, dict):
        return KERAS_INSTRUCTION in written or any(_holds_instruction(item) for item in written.values())
    return isinstance(written, (list, tuple)) and any(_holds_instruction(item) for item in written)


def _encode_policy(value: tfk.mixed_precision.Policy, _encoder: Encoder, _where: str) -> dict[str, Node]:
    return {"name": value.name}


def _decode_policy(node: dict[str, Node], _decoder: Decoder, where: str) -> tfk.mixed_precision.Policy:
    return call(tfk.mixed_precision.Policy, [field(node, "name", str, where)], {}, where)


def _is_instruction(value: Any) -> bool:
    return type(value) is dict and KERAS_INSTRUCTION in value and "config" in value


def _encode_instruction(value: dict[str, Any], encoder: Encoder, where: str) -> dict[str, Node]:
    """Write what a user's `get_config` serialized as the object it stands for: no file is to give the instruction."""
    try:
        live = tfk.saving.deserialize_keras_object(value)
    except Exception as error:
        problem = f"Keras cannot deserialize the {value[KERAS_INSTRUCTION]!r:.80} in this configuration ({error})"
        raise UnrecordableError(where=where, problem=problem, advice=BUILDER_ADVICE) from error
    return {"object": encoder.encode(live, where)}


def _decode_instruction(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    made = decoder.decode(field(node, "object", dict, where), where)
    if not decoder.is_trusted:
        require_no_lambda([made], where)
    return call(tfk.saving.serialize_keras_object, [made], {}, where)


KERAS_KINDS = (
    Kind(tag="instruction", matches=_is_instruction, encode=_encode_instruction, decode=_decode_instruction),
    Kind(
        tag="policy",
        matches=lambda value: isinstance(value, tfk.mixed_precision.Policy),
        encode=_encode_policy,
        decode=_decode_policy,
    ),
    Kind(tag="keras", matches=_is_keras_object, encode=_encode_object, decode=_decode_object, is_shared=True),
)
