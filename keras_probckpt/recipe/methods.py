"""Bound methods of users' classes: the object, and the name of the method.

The node is `{"$": "method", "module": ..., "name": "Net.make", "object": <object>}`. As its arguments may come from a
file too, it needs trust, whether or not its class is registered; and it is a method that a user's class defines, never
one it has from Keras, which may write files.
"""

from __future__ import annotations

import dataclasses
import types
from typing import Any

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.model.objects import is_of_library
from keras_probckpt.recipe.codec import Decoder, Encoder, Kind, Node, field
from keras_probckpt.recipe.tfp_objects import PARAMETRIZED
from keras_probckpt.recipe.user_classes import USER_BASES

__all__ = ["METHOD_KINDS", "bind_method"]


def _is_users_method(value: Any) -> bool:
    if not isinstance(value, types.MethodType) or _owner(value.__self__, value.__name__) is None:
        return False
    bound_to = value.__self__
    is_recordable = isinstance(bound_to, (type, *USER_BASES, *PARAMETRIZED)) or dataclasses.is_dataclass(bound_to)
    return is_recordable and getattr(bound_to, value.__name__, None) == value


def _owner(bound_to: Any, name: str) -> type | None:
    """Return the user's class that defines a method; `None` if none does."""
    cls = bound_to if isinstance(bound_to, type) else type(bound_to)
    owner = next((base for base in cls.__mro__ if name in vars(base)), None)
    kinds = classmethod if isinstance(bound_to, type) else (classmethod, types.FunctionType)
    return owner if owner is not None and isinstance(vars(owner)[name], kinds) and not is_of_library(owner) else None


def _encode_method(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    owner = _owner(value.__self__, value.__name__)
    return {
        "module": getattr(owner, "__module__", ""),
        "name": f"{getattr(owner, '__qualname__', '')}.{value.__name__}",
        "object": encoder.encode(value.__self__, f"{where}.__self__"),
    }


def bind_method(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    """Return the method that a node stands for, once it is allowed.

    Raises:
        MalformedRecipeError: If the class of the object does not define it.
    """
    module, name = field(node, "module", str, where), field(node, "name", str, where)
    bound_to = decoder.decode(field(node, "object", dict, where), f"{where}.__self__")
    last = name.rpartition(".")[2]
    owner = _owner(bound_to, last)
    if owner is None or (owner.__module__, f"{owner.__qualname__}.{last}") != (module, name):
        raise MalformedRecipeError(where=where, problem=f"{name!r:.80} is no method that {bound_to!r:.80} defines")
    instance, cls = (None, bound_to) if isinstance(bound_to, type) else (bound_to, type(bound_to))
    return vars(owner)[last].__get__(instance, cls)


METHOD_KINDS = (
    Kind(
        tag="method",
        matches=_is_users_method,
        encode=_encode_method,
        decode=lambda node, decoder, where: decoder.resolve(node, decoder, where),
    ),
)
