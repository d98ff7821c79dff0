"""The attributes that a class's own code sets, and the functions it makes: what is not among them came from outside.

Read off the bytecode of its methods, for the source of a class may be gone.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

from keras_probckpt.model.members import filled_cells, member
from keras_probckpt.model.objects import cached_by_class, is_of_library

__all__ = [
    "argument_names",
    "functions_of",
    "global_names",
    "is_made_by",
    "names_set_by",
    "nested_codes",
    "stored_names",
]

_STORE_ATTR, _LOAD_GLOBAL, _EXTENDED_ARG = (dis.opmap[name] for name in ("STORE_ATTR", "LOAD_GLOBAL", "EXTENDED_ARG"))
# A class that sets attributes by these sets names that cannot be read off its code.
_SETS_ANY_NAME = frozenset({"setattr", "__setattr__", "__dict__", "vars", "make_dataclass", "__attrs_init__"})
_MOST_DECORATORS = 16
_KNOWN: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()


def names_set_by(cls: type) -> frozenset[str] | None:
    """Name the attributes that the methods of a class set on some object, those of its bases included.

    Returns:
        The names; None where the class sets some by other means, so that any name may be its own.
    """
    if cls not in _KNOWN:
        codes = [code for base in cls.__mro__[:-1] for code in _codes_of(base)]
        stored = frozenset(name for code in codes for name in stored_names(code))
        annotated = frozenset(name for base in cls.__mro__[:-1] for name in _annotated(base))
        slots = frozenset(name for base in cls.__mro__[:-1] for name in _slots_of(base))
        _KNOWN[cls] = stored | annotated | slots
    names = _KNOWN[cls]
    return None if _sets_any_name(cls) else names


@cached_by_class
def argument_names(cls: type) -> frozenset[str]:
    """Name the arguments of the constructors of a class and its bases, each also as the attribute `_<name>`."""
    names: set[str] = set()
    for base in cls.__mro__[:-1]:
        if "__init__" in vars(base):
            names.update(inspect.signature(vars(base)["__init__"]).parameters)
    return frozenset(names | {f"_{name}" for name in names})


def is_made_by(cls: type, function: types.FunctionType) -> bool:
    """Whether a function is defined inside a method of a class or of one of its bases, as a lambda in a constructor."""
    return any(function.__code__ in _inner_codes(base) for base in cls.__mro__[:-1])


def _sets_any_name(cls: type) -> bool:
    # What the classes of Keras and TensorFlow set so is bookkeeping, which nobody looks at.
    own = [base for base in cls.__mro__[:-1] if not is_of_library(base)]
    return any(not _SETS_ANY_NAME.isdisjoint(code.co_names) for base in own for code in _codes_of(base))


def _annotated(cls: type) -> tuple[str, ...]:
    annotations = vars(cls).get("__annotations__")
    return tuple(annotations) if isinstance(annotations, dict) else ()


def _slots_of(cls: type) -> tuple[str, ...]:
    slots = vars(cls).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _codes_of(cls: type) -> tuple[types.CodeType, ...]:
    return tuple(_all_codes(cls))


@cached_by_class
def _all_codes(cls: type) -> tuple[types.CodeType, ...]:
    methods = [function.__code__ for function in functions_of(cls)]
    return tuple(inner for code in methods for inner in (code, *nested_codes(code)))


@cached_by_class
def _inner_codes(cls: type) -> frozenset[types.CodeType]:
    methods = [function.__code__ for function in functions_of(cls)]
    return frozenset(inner for code in methods for inner in nested_codes(code))


def functions_of(cls: type) -> list[types.FunctionType]:
    """Return the functions that a class defines itself, without what wraps them."""
    return [function for item in list(vars(cls).values()) for function in _functions_in(item)]


def _functions_in(item: Any) -> Iterator[types.FunctionType]:
    parts = (item.fget, item.fset, item.fdel) if isinstance(item, property) else (item,)
    for part in map(_bare, parts):
        if isinstance(part, types.FunctionType):
            yield part
            yield from _wrapped(part)


def _bare(item: Any) -> Any:
    """Take a method out of what decorators made of it: class methods, cached properties, `tf.function`s."""
    for _ in range(_MOST_DECORATORS):
        if isinstance(item, (types.FunctionType, type)):
            break
        is_holder = isinstance(item, (functools.cached_property, functools.partialmethod))
        inner = item.func if is_holder else member(item, "__func__") or member(item, "__wrapped__")
        if inner is None:
            break
        item = inner
    return item


def _wrapped(function: types.FunctionType) -> Iterator[types.FunctionType]:
    """Give the functions that a decorator wrapped, which its own function closes over."""
    for cell in filled_cells(function).values():
        inner = cell.cell_contents
        if isinstance(inner, types.FunctionType) and inner is not function:
            yield inner
            yield from _wrapped(inner)


def nested_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Give the codes of the functions that a code defines, and of those in them."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from nested_codes(constant)


@functools.lru_cache(maxsize=65536)
def stored_names(code: types.CodeType) -> frozenset[str]:
    """Name the attributes that a code sets."""
    return frozenset(code.co_names[argument] for operation, argument in _instructions(code) if operation == _STORE_ATTR)


@functools.lru_cache(maxsize=65536)
def global_names(code: types.CodeType) -> tuple[str, ...]:
    """Name the globals that a code, and the functions that it defines, read."""
    shift = 1 if sys.version_info >= (3, 11) else 0  # The last bit says whether what is read is going to be called.
    own = [code.co_names[argument >> shift] for operation, argument in _instructions(code) if operation == _LOAD_GLOBAL]
    inner = [name for constant in nested_codes(code) for name in global_names(constant)]
    return tuple(dict.fromkeys((*own, *inner)))


def _instructions(code: types.CodeType) -> Iterator[tuple[int, int]]:
    """Give the operations of a code and their arguments; bytecode is pairs of the two."""
    high, content = 0, code.co_code
    for position in range(0, len(content), 2):
        operation, argument = content[position], content[position + 1]
        if operation == _EXTENDED_ARG:
            high = (high | argument) << 8
        else:
            yield operation, high | argument
            high = 0
