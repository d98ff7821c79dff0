"""What decides, beside its own text, what a function or class of the user's does."""

from __future__ import annotations

import inspect
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_probckpt.model.members import filled_cells, member
from keras_probckpt.model.objects import is_of_library
from keras_probckpt.recipe.known import known_name
from keras_probckpt.recipe.sources import functions_of
from keras_probckpt.recipe.stand_ins import stand_in
from keras_probckpt.recipe.tfp_objects import PARAMETRIZED

__all__ = ["label_of", "used_by"]

_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_PLAIN = (bool, int, float, complex, str, bytes, types.NoneType)


def label_of(value: Any) -> str:
    """Name a function or class: as the closed tables do, or by its module; of a library's module only the first part.

    Where in a library something is defined differs from version to version.
    """
    known = known_name(value)
    if known is not None:
        return known
    name = member(value, "__qualname__", type(value).__qualname__)
    return f"{_package(value) if is_of_library(value) else _module(value)}.{name}"


def used_by(value: Any) -> Iterator[tuple[str, Any]]:
    """Find what a function or class of the user's takes from elsewhere, by name.

    That is what it closes over and its default arguments; and of the global names in it plain values, arrays,
    distributions, and functions and classes that are part of the same program. What is installed beside it is not.
    """
    if isinstance(value, type):
        yield from ((base.__qualname__, base) for base in value.__bases__ if _is_of_program(base, value))
    for function in functions_of(value):
        if function.__module__ != _module(value) and isinstance(value, type):
            continue  # Such as what `dataclass` writes.
        yield from _bound(function)
        if not is_of_library(value):
            yield from _global(function, value)


def _bound(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in filled_cells(function).items():
        if name != "__class__":
            yield name, stand_in(function, name, cell.cell_contents)
    for parameter in inspect.signature(function, follow_wrapped=False).parameters.values():
        if parameter.default is not parameter.empty:
            yield parameter.name, stand_in(function, parameter.name, parameter.default)


def _global(function: types.FunctionType, user: Any) -> Iterator[tuple[str, Any]]:
    # What a class in it asks of its module, `__name__`, is where it stands, not what it does.
    names = sorted(name for name in set(_names_in(function.__code__)) if not name.startswith("__"))
    for name in names:
        item = function.__globals__.get(name)
        if isinstance(item, types.ModuleType):
            members = ((member, vars(item).get(member)) for member in names)
            found = [(f"{name}.{member}", inner) for member, inner in members if callable(inner)]
        else:
            found = [(name, stand_in(function, name, item))] if name in function.__globals__ else []
        yield from ((path, inner) for path, inner in found if _is_told(inner, user))


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _is_told(value: Any, user: Any) -> bool:
    if isinstance(value, (type, types.FunctionType)):
        return _is_of_program(value, user)
    if type(value) is tuple:
        return all(type(item) in _PLAIN for item in value)
    return type(value) in _PLAIN or isinstance(value, (np.ndarray, np.generic, *PARAMETRIZED))


def _is_of_program(value: Any, user: Any) -> bool:
    """Whether a function or class is part of the program that one is of which uses it."""
    if is_of_library(value):
        return False
    file = getattr(sys.modules.get(_module(value)), "__file__", None) or ""
    return _package(value) == _package(user) or not any(part in file for part in _INSTALLED)


def _module(value: Any) -> str:
    return str(member(value, "__module__") or type(value).__module__)


def _package(value: Any) -> str:
    return _module(value).partition(".")[0]
