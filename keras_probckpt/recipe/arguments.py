"""The arguments an object of user code was made with, as recorded when it was made."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["CallArguments", "bound_arguments", "recorded_arguments", "remember_arguments"]

_ATTRIBUTE = "_keras_probckpt_arguments"


@dataclasses.dataclass(frozen=True)
class CallArguments:
    """Arguments of one call.

    Attributes:
        positional: What went to a `*args` parameter and what precedes it; empty where there is none.
        keywords: Everything else, by name.
    """

    positional: Sequence[Any]
    keywords: Mapping[str, Any]


def bound_arguments(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> CallArguments | None:
    """Name the arguments of a call, by keyword as far as the signature allows.

    Lists, dicts, sets and arrays are copied: what the caller does to them later is not what the call was made with.

    Returns:
        `None` if the arguments do not fit the signature; the call itself will say how.
    """
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    parameters = signature.parameters
    needs_position = any(
        item.kind is item.VAR_POSITIONAL and item.name in bound.arguments for item in parameters.values()
    )
    for name, value in bound.arguments.items():
        kind = parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            positional.extend(value)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            keywords.update(value)
        elif kind is inspect.Parameter.POSITIONAL_ONLY or (
            needs_position and kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ):
            positional.append(value)
        else:
            keywords[name] = value
    return CallArguments([_kept(item) for item in positional], {key: _kept(item) for key, item in keywords.items()})


def remember_arguments(instance: Any, arguments: CallArguments) -> None:
    """Leave the arguments on an object, out of sight of Keras's attribute tracking."""
    object.__setattr__(instance, _ATTRIBUTE, arguments)


def recorded_arguments(instance: Any) -> CallArguments | None:
    """Return the arguments left on an object; `None` if there are none."""
    return vars(instance).get(_ATTRIBUTE) if hasattr(instance, "__dict__") else None


def _kept(value: Any) -> Any:
    if type(value) in (list, tuple):
        return type(value)(_kept(item) for item in value)
    if type(value) is dict:
        return {key: _kept(item) for key, item in value.items()}
    return copy.copy(value) if isinstance(value, (set, np.ndarray)) else value
