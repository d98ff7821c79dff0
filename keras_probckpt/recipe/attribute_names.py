"""The attributes of an object by who sets them: a library's code, the constructor of the user's class, its `build`.

It is read from the instructions of the methods, so no list of a library's private names has to be kept.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterable, Iterator, Mapping

from keras_probckpt.model.own_names import functions_of, nested_codes, stored_names

__all__ = ["is_bookkeeping", "mentions", "set_by", "shadows_method"]

# Set by name, in a way that no instruction shows.
_SET_BY_NAME = frozenset({"_trainable_weights", "_non_trainable_weights", "_obj_reference_counts_dict", "_call_result"})
_PREFIXES = ("_self_", "_keras_probckpt_", "__")


@functools.lru_cache(maxsize=1024)
def is_bookkeeping(name: str, base: type) -> bool:
    """Whether an attribute is one that the code of a library's class sets, or of those that it derives from.

    Args:
        name: Name of the attribute.
        base: The library's class.
    """
    return name in _SET_BY_NAME or name.startswith(_PREFIXES) or name in _set_by_library(base)


def shadows_method(name: str, cls: type) -> bool:
    """Whether a class has a method or property of this name, for which an attribute of an object would stand."""
    found = inspect.getattr_static(cls, name, None)
    return isinstance(found, (types.FunctionType, property, classmethod, staticmethod, functools.cached_property))


def set_by(methods: Iterable[str], cls: type, base: type) -> frozenset[str]:
    """Name the attributes that methods of a user's class set, and those methods of its that they call.

    Args:
        methods: Names of the methods.
        cls: The class.
        base: The library's class that it derives from; its code is not looked at.
    """
    functions = _functions_by_name(cls, base)
    found: set[str] = set()
    pending, seen = list(methods), set()
    while pending:
        name = pending.pop()
        if name in functions and name not in seen:
            seen.add(name)
            for code in functions[name]:
                found.update(stored_names(code))
                pending.extend(code.co_names)
    return frozenset(found)


def mentions(names: Iterable[str], cls: type, base: type) -> bool:
    """Whether the code of a user's class has one of these names: as an attribute, a variable or a keyword."""
    codes = (code for found in _functions_by_name(cls, base).values() for code in found)
    return not set(names).isdisjoint(name for code in codes for name in _names(code))


@functools.cache
def _set_by_library(base: type) -> frozenset[str]:
    return frozenset(name for cls in base.__mro__ for _, code in _codes(cls) for name in stored_names(code))


def _functions_by_name(cls: type, base: type) -> Mapping[str, list[types.CodeType]]:
    functions: dict[str, list[types.CodeType]] = {}
    for owner in cls.__mro__[: cls.__mro__.index(base)]:
        for name, code in _codes(owner):
            functions.setdefault(name, []).append(code)
    return functions


def _codes(cls: type) -> Iterator[tuple[str, types.CodeType]]:
    """Give the codes of what a class defines, each with the name of the method it is in."""
    for function in functions_of(cls):
        yield function.__name__, function.__code__
        yield from ((function.__name__, code) for code in nested_codes(function.__code__))


def _names(code: types.CodeType) -> Iterator[str]:
    yield from (*code.co_names, *code.co_varnames)
    for constant in code.co_consts:
        if isinstance(constant, tuple):  # The keywords of a call.
            yield from (item for item in constant if isinstance(item, str))
