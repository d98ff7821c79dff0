"""Making an object by its class and arguments, as every kind of object node says it.

The node is `{"$": ..., "class": <class>, "arguments": {...}}`, with `"positional": [...]` where the class takes
`*args`.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_probckpt.errors import CheckpointError, MalformedRecipeError
from keras_probckpt.recipe.codec import TAG, Decoder, Encoder, Node, field
from keras_probckpt.recipe.named import decode_callee
from keras_probckpt.recipe.strangers import check_arguments

__all__ = ["accepted_arguments", "call", "decode_call", "decode_keywords_call", "encode_call"]

# Reading a signature takes longer than all else that is done for a layer.
_ACCEPTED: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()

# tfp.layers.DistributionLambda, and so every subclass of it, unpickles a string given as this argument.
_UNPICKLED_ARGUMENTS = frozenset({"make_distribution_fn"})


def encode_call(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    encoder: Encoder,
    where: str,
    *,
    positional: Sequence[Any] = (),
) -> dict[str, Node]:
    """Write the fields of a node that says: call this with these arguments."""
    node: dict[str, Node] = {"class": encoder.encode(function, f"{where}.class")}
    if positional:
        node["positional"] = encoder.encode_items(list(positional), f"{where}[*]")
    node["arguments"] = {key: encoder.encode(value, f"{where}.{key}") for key, value in arguments.items()}
    return node


def decode_call(node: dict[str, Node], decoder: Decoder, where: str) -> tuple[Any, list[Any], dict[str, Any]]:
    """Read what `encode_call` wrote: what to call, positional arguments, keyword arguments."""
    is_latent = node.get(TAG) == "partial"  # Called later, by whom nobody knows.
    written = field(node, "class", dict, where)
    function = decode_callee(written, decoder, f"{where}.class", use="value" if is_latent else "made")
    if not callable(function):
        raise MalformedRecipeError(where=where, problem=f"a {type(function).__name__} cannot be called")
    positional = decoder.decode(field(node, "positional", list, where), where) if "positional" in node else []
    arguments = {
        key: decoder.decode(value, f"{where}.{key}") for key, value in field(node, "arguments", dict, where).items()
    }
    if not decoder.is_trusted and written.get(TAG) == "known":
        check_arguments(function, positional, arguments, where, is_latent=is_latent)
    return function, positional, arguments


def decode_keywords_call(node: dict[str, Node], decoder: Decoder, where: str) -> tuple[Any, dict[str, Any]]:
    """Read a call without positional arguments: the checks of arguments go by their names."""
    function, positional, arguments = decode_call(node, decoder, where)
    if positional:
        raise MalformedRecipeError(where=where, problem="an object of tf_keras or TFP is made by keyword arguments")
    return function, arguments


def call(function: Callable[..., Any], positional: Sequence[Any], arguments: Mapping[str, Any], where: str) -> Any:
    """Call with arguments that a recipe gave.

    Raises:
        MalformedRecipeError: If the call fails; its cause is the failure.
    """
    for name in _UNPICKLED_ARGUMENTS.intersection(arguments):
        if isinstance(arguments[name], (str, bytes)):
            raise MalformedRecipeError(
                where=f"{where}.{name}", problem="text in place of a function would be unpickled"
            )
    try:
        return function(*positional, **arguments)
    except CheckpointError:
        raise
    except Exception as error:
        name = getattr(function, "__qualname__", repr(function))
        given = ", ".join(arguments)
        problem = f"{name}({given}) fails with {type(error).__name__}: {error}"
        raise MalformedRecipeError(where=where, problem=problem) from error


def accepted_arguments(cls: type) -> frozenset[str]:
    """Names of the keyword arguments that a constructor takes, those it passes on with `**kwargs` included."""
    if cls not in _ACCEPTED:
        _ACCEPTED[cls] = _accepted_arguments(cls)
    return _ACCEPTED[cls]


def _accepted_arguments(cls: type) -> frozenset[str]:
    names: set[str] = set()
    for owner in cls.__mro__:
        if "__init__" not in vars(owner):
            continue
        parameters = inspect.signature(vars(owner)["__init__"]).parameters.values()
        names.update(item.name for item in parameters if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY))
        if not any(item.kind is item.VAR_KEYWORD for item in parameters):
            break
    return frozenset(names - {"self"})
