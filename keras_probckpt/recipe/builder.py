"""Builders: functions that build a model, whose name and arguments stand for the whole model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.arguments import CallArguments, bound_arguments
from keras_probckpt.recipe.codec import Decoder, Encoder, Kind, Node
from keras_probckpt.recipe.construction import call, decode_call, encode_call
from keras_probckpt.recipe.known import known_name
from keras_probckpt.recipe.registry import register_builder

__all__ = ["BUILDER_KINDS", "BuilderCall", "builder", "recorded_builder"]

F = TypeVar("F", bound=Callable[..., Any])

_ATTRIBUTE = "_keras_probckpt_builder"


@dataclasses.dataclass(frozen=True)
class BuilderCall:
    """The function a model was built by, and the arguments it was called with."""

    function: Callable[..., Any]
    arguments: CallArguments


def builder(function: F) -> F:
    """Mark a function that builds a model: its checkpoints record the function and its arguments, not the layers.

    Works for any model at all. On restore the function is called again with the same arguments, and the saved weights
    are put into what it returns; so it must build the same variables each time.

    Args:
        function: Returns a `tf_keras.Model`. Restored by its module and qualified name where it can be imported.

    Returns:
        The function, wrapped; it takes and returns what it did before.

    Example:
        >>> import keras_probckpt, tf_keras as tfk
        >>> @keras_probckpt.builder
        ... def build(units=8):
        ...     return tfk.Sequential([tfk.layers.Dense(units, input_shape=(3,))])
        >>> build(units=4).output_shape
        (None, 4)
    """

    @functools.wraps(function)
    def build(*args: Any, **kwargs: Any) -> Any:
        arguments = bound_arguments(function, args, kwargs)
        model = function(*args, **kwargs)
        if arguments is not None:
            object.__setattr__(model, _ATTRIBUTE, BuilderCall(build, arguments))
        return model

    return cast("F", register_builder(build))


def recorded_builder(model: Any) -> BuilderCall | None:
    """Return the builder call that made a model; `None` if no marked function did."""
    call_made: BuilderCall | None = vars(model).get(_ATTRIBUTE)
    return call_made


def _encode_builder_call(value: BuilderCall, encoder: Encoder, where: str) -> dict[str, Node]:
    return encode_call(value.function, value.arguments.keywords, encoder, where, positional=value.arguments.positional)


def _decode_builder_call(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    function, positional, arguments = decode_call(node, decoder, where)
    # The closed tables need no trust, because their own kinds of node know which arguments would run code.
    if known_name(function) is not None:
        raise MalformedRecipeError(where=where, problem=f"{function!r:.80} is not a user's function")
    return call(function, positional, arguments, where)


BUILDER_KINDS = (
    Kind(
        tag="build",
        matches=lambda value: isinstance(value, BuilderCall),
        encode=_encode_builder_call,
        decode=_decode_builder_call,
    ),
)
