"""The arguments an object of user code was made with, as recorded when it was made."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_probckpt.recipe.copies import Copies, exchanged, is_alike

__all__ = ["CallArguments", "bound_arguments", "recorded_arguments", "remember_arguments"]

_ATTRIBUTE = "_keras_probckpt_arguments"


@dataclasses.dataclass(frozen=True)
class CallArguments:
    """Arguments of one call.

    Attributes:
        positional: What went to a `*args` parameter and what precedes it; empty where there is none.
        keywords: Everything else, by name.
        copied: What of these is a copy, such as a settings object that the caller may go on changing, and of what.
    """

    positional: Sequence[Any]
    keywords: Mapping[str, Any]
    copied: Sequence[tuple[Any, Any]] = ()

    def uncopied(self) -> CallArguments:
        """Take the object itself in place of each copy that it still equals: what it is shared with has it too."""
        originals = {id(copied): original for copied, original in self.copied if is_alike(copied, original)}
        if not originals:
            return self
        keywords = {name: exchanged(item, originals) for name, item in self.keywords.items()}
        return CallArguments([exchanged(item, originals) for item in self.positional], keywords)


def bound_arguments(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> CallArguments | None:
    """Name the arguments of a call, by keyword as far as the signature allows.

    Containers, arrays and settings objects are copied: what the caller does to them later is not what the call was made
    with.

    Returns:
        `None` if the arguments do not fit the signature, of which the call itself will say how, or there is none.
    """
    try:
        signature = inspect.signature(function)
        bound = signature.bind(*args, **kwargs)
    except (TypeError, ValueError):
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
    copies = Copies()
    kept = {key: copies.copy(item) for key, item in keywords.items()}
    return CallArguments([copies.copy(item) for item in positional], kept, copies.pairs)


def remember_arguments(instance: Any, arguments: CallArguments) -> None:
    """Leave the arguments on an object, out of sight of Keras's attribute tracking."""
    object.__setattr__(instance, _ATTRIBUTE, arguments)


def recorded_arguments(instance: Any) -> CallArguments | None:
    """Return the arguments left on an object; `None` if there are none."""
    recorded: CallArguments | None = vars(instance).get(_ATTRIBUTE) if hasattr(instance, "__dict__") else None
    return None if recorded is None else recorded.uncopied()
