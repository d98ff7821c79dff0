"""Two definitions of one name compared: do a live class and a recorded one do the same?

Their text decides nothing: it may be nowhere, and the same text may read other globals. Compared is what runs: the code
of each function, its default arguments, what it closes over and the globals it reads, and the attributes of a class.
"""

from __future__ import annotations

import dis
import enum
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_probckpt.recipe.importing import import_name
from keras_probckpt.recipe.stand_ins import without_data

__all__ = ["additions_alone", "differing_parts"]

# Where a class stands, what it says of itself, and what Python makes of its definition.
_OF_ITS_PLACE = frozenset(
    {"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__firstlineno__"}
    | {"__static_attributes__", "__abstractmethods__", "__annotate__", "__annotate_func__", "__orig_bases__"}
    | {"__type_params__", "__parameters__", "_abc_impl", "__slotnames__", "__annotations_cache__"}
)
_ABSENT = object()
_IN_DOUBT = frozenset({"tensorflow", "tf_keras", "tensorflow_probability", "keras"})
_GLOBAL_OPERATIONS = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"})
_HAS_DOCSTRING = 0x4000000  # From Python 3.13 on; before it, a docstring or None is always the first constant.


def differing_parts(live: Any, recorded: Any) -> dict[str, bool]:
    """Name the members of two classes, or what two functions use, that differ; empty where they do the same.

    Returns:
        By name whether it is certain to differ. Of layers, variables and the like that is not known.
    """
    return dict(sorted(_Comparison().parts(live, recorded)))


def additions_alone(live: Any, recorded: Any, parts: Iterable[str]) -> bool:
    """Whether a class differs from the recorded one only in members that the recorded one neither has nor inherits."""
    if not isinstance(live, type) or not isinstance(recorded, type):
        return False
    return all(not hasattr(recorded, name) and not _is_special(name) and name in vars(live) for name in parts)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


class _Comparison:
    """Compares what two definitions reach; two that are being compared are taken to be alike meanwhile."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], bool] = {}
        self._kept_alive: list[Any] = []
        self._is_certain = True

    def parts(self, one: Any, other: Any) -> Iterator[tuple[str, bool]]:
        """Name what differs of two classes or of two functions."""
        self._known[id(one), id(other)] = True
        if isinstance(one, type) and isinstance(other, type):
            pairs = self._members(one), self._members(other)
        elif isinstance(one, types.FunctionType) and isinstance(other, types.FunctionType):
            pairs = _function_parts(one), _function_parts(other)
        else:
            pairs = {"kind": type(one)}, {"kind": type(other)}
        for name in pairs[0].keys() | pairs[1].keys():
            self._is_certain = True
            if not self._is_alike(pairs[0].get(name, _ABSENT), pairs[1].get(name, _ABSENT)):
                yield name, self._is_certain

    def _members(self, cls: type) -> dict[str, Any]:
        members = {name: value for name, value in vars(cls).items() if name not in _OF_ITS_PLACE}
        own = {name: value for name, value in members.items() if not _is_inherited(cls, name, value)}
        return {"__bases__": cls.__bases__, **own}

    def _is_alike(self, one: Any, other: Any) -> bool:
        if one is other:
            return True
        pair = id(one), id(other)
        if pair not in self._known:
            self._kept_alive += [one, other]  # Nothing else is to get these ids meanwhile.
            self._known[pair] = True
            self._known[pair] = self._is_found_alike(one, other)
        return self._known[pair]

    def _is_found_alike(self, one: Any, other: Any) -> bool:
        if type(one) is not type(other) and not self._is_alike(type(one), type(other)):
            return False
        if isinstance(one, (type, types.FunctionType)):
            # Of what can be imported there is one; two of it would be the same object.
            return import_name(one) is None and next(self.parts(one, other), None) is None
        return self._is_alike_value(one, other)

    def _is_alike_value(self, one: Any, other: Any) -> bool:
        if isinstance(one, (list, tuple)):
            return len(one) == len(other) and all(map(self._is_alike, one, other))
        if isinstance(one, (np.ndarray, np.generic, tf.Tensor)):
            return _has_same_bytes(one, other)
        inner = _inner_parts(one)
        if inner is not None:
            return self._is_alike(inner, _inner_parts(other))
        return _is_equal(one, other) or self._is_alike_object(one, other)

    def _is_alike_object(self, one: Any, other: Any) -> bool:
        if type(one).__module__.partition(".")[0] in _IN_DOUBT:
            self._is_certain = False
            return False
        state = _state_of(one)
        return state is not None and self._is_alike(state, _state_of(other))


def _is_inherited(cls: type, name: str, value: Any) -> bool:
    """Whether a member is that of a base class, or made for `__slots__`: a pickled class does not have it again."""
    is_slot = isinstance(value, types.MemberDescriptorType)
    return is_slot or any(vars(base).get(name, _ABSENT) is value for base in cls.__mro__[1:])


def _function_parts(function: types.FunctionType) -> dict[str, Any]:
    """Take a function apart: what it uses by name, and its code."""
    code = function.__code__
    names = {name for name in _globals_in(code) if name in function.__globals__ and not _is_special(name)}
    # As they are recorded: of some data only the shape.
    used = without_data(function, {name: function.__globals__[name] for name in names})
    cells = zip(code.co_freevars, used["__closure__"] or (), strict=True)
    return {
        "code": code,
        "defaults": (used["__defaults__"], used["__kwdefaults__"]),
        "attributes": {key: item for key, item in vars(function).items() if key != "__wrapped__"},
        **used["__globals__"],
        **{name: _content(cell) for name, cell in cells},
    }


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # Nothing was put in yet.
        return _ABSENT


def _globals_in(code: types.CodeType) -> Iterator[str]:
    yield from (item.argval for item in dis.get_instructions(code) if item.opname in _GLOBAL_OPERATIONS)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_in(constant)


def _code_parts(code: types.CodeType) -> list[Any]:
    has_docstring = sys.version_info < (3, 13) or bool(code.co_flags & _HAS_DOCSTRING)
    is_first_text = has_docstring and isinstance(next(iter(code.co_consts), ...), (str, types.NoneType))
    constants = code.co_consts[1:] if is_first_text else code.co_consts
    variables = (code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return [code.co_name, code.co_code, code.co_names, variables, counts, constants]


def _inner_parts(value: Any) -> list[Any] | None:
    """Take apart what consists of other values; `None` for what does not."""
    for kind, parts in _PARTS:
        if isinstance(value, kind):
            return parts(value)
    wrapped = getattr(value, "python_function", None) or inspect.getattr_static(value, "__wrapped__", None)
    return None if wrapped is None else [wrapped]


_PARTS: tuple[tuple[type, Callable[[Any], list[Any]]], ...] = (
    (Mapping, lambda value: [list(value.keys()), list(value.values())]),
    (types.CodeType, _code_parts),
    (property, lambda value: [value.fget, value.fset, value.fdel]),
    (staticmethod, lambda value: [value.__func__]),
    (classmethod, lambda value: [value.__func__]),
    (types.MethodType, lambda value: [value.__func__, value.__self__]),
    (functools.partial, lambda value: [value.func, value.args, value.keywords]),
    (functools.cached_property, lambda value: [value.func]),
    (enum.Enum, lambda value: [value.name, value.value]),
)


def _has_same_bytes(one: Any, other: Any) -> bool:
    if not all(hasattr(item, "numpy") or not isinstance(item, tf.Tensor) for item in (one, other)):
        return False
    first, second = np.asarray(one), np.asarray(other)
    if (first.shape, first.dtype) != (second.shape, second.dtype):
        return False
    return bool(np.array_equal(first, second, equal_nan=first.dtype.kind in "fc"))


def _is_equal(one: Any, other: Any) -> bool:
    try:
        # As text: the two zeros are equal, and what is not a number is not.
        return repr(one) == repr(other) if isinstance(one, (float, complex)) else bool(one == other)
    except Exception:  # noqa: BLE001 - users' objects may do anything when they are asked; what is in doubt is not equal
        return False


def _state_of(value: Any) -> dict[str, Any] | None:
    """Return the attributes of an object that is nothing but these; `None` where it may be more."""
    if type(value).__reduce_ex__ is not object.__reduce_ex__ or type(value).__reduce__ is not object.__reduce__:
        return None
    slots = [name for base in type(value).__mro__ for name in _names_of_slots(base)]
    if not slots and not hasattr(value, "__dict__"):
        return None
    return {**{name: getattr(value, name, None) for name in slots}, **getattr(value, "__dict__", {})}


def _names_of_slots(cls: type) -> tuple[str, ...]:
    slots = vars(cls).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
