"""Stand-ins for data of which a function reads only how much there is.

A divergence such as `kl(q, p) / x_train.shape[0]` would take all of the training data into each checkpoint, for
everyone to read who gets it. Its code tells that only the shape is read: something of the same shape without the data
does as well.
"""

from __future__ import annotations

import builtins
import dis
import functools
import types
import warnings
from collections.abc import Iterator, Mapping, Sized
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["is_large_array", "is_without_data", "stand_in", "tell_of_large_values", "without_data"]

_ATTRIBUTES = frozenset({"shape", "ndim", "size", "dtype", "nbytes", "itemsize"})
_LEN = "len"
_NO_OPERATION = frozenset({"CACHE", "EXTENDED_ARG", "PRECALL", "PUSH_NULL", "NOP", "RESUME"})
_ALL_OF_IT = frozenset({"all of it"})


def without_data(function: types.FunctionType, module: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a function uses from elsewhere, by the attribute that holds it, with stand-ins where these do.

    Args:
        function: The function; nothing of it is changed.
        module: The globals that it reads.
    """
    cells = [
        (name, cell, _content(cell))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    ]
    closed = [(cell, value, stand_in(function, name, value)) for name, cell, value in cells]
    given = _by_argument(function, function.__defaults__)
    return {
        "__globals__": {name: stand_in(function, name, value) for name, value in module.items()},
        "__closure__": function.__closure__
        and tuple(cell if found is value else types.CellType(found) for cell, value, found in closed),
        "__defaults__": function.__defaults__ and tuple(stand_in(function, name, value) for name, value in given),
        "__kwdefaults__": function.__kwdefaults__
        and {name: stand_in(function, name, value) for name, value in function.__kwdefaults__.items()},
    }


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # Nothing was put in yet.
        return None


def stand_in(function: types.FunctionType, name: str, value: Any) -> Any:
    """Return what may take the place of one value that a function uses; the value itself if nothing may."""
    reads = _reads_in(function.__code__).get(name, _ALL_OF_IT)
    if _LEN in reads and function.__globals__.get(_LEN, builtins.len) is not builtins.len:
        return value
    if type(value) is np.ndarray and reads <= {*_ATTRIBUTES, _LEN}:
        return np.broadcast_to(np.zeros((), value.dtype), value.shape)
    if isinstance(value, tf.Tensor):
        return tf.TensorSpec(value.shape, value.dtype) if reads <= {"shape", "dtype"} else value
    shape = getattr(value, "shape", None) if type(value).__module__.startswith(_OF_TABLES) else None
    if isinstance(shape, tuple) and reads <= {"shape", "ndim", "size", _LEN}:
        return np.broadcast_to(np.zeros((), bool), shape)
    return _range_of(value) if reads == {_LEN} and isinstance(value, Sized) else value


_OF_TABLES = ("pandas.", "scipy.sparse.")


def is_large_array(value: Any) -> bool:
    """Whether a value is an array or tensor of numbers that is worth to be written once for all that use it."""
    is_array = type(value) is np.ndarray or (isinstance(value, tf.Tensor) and hasattr(value, "numpy"))
    return (
        is_array
        and np.dtype(value.dtype.as_numpy_dtype if isinstance(value, tf.Tensor) else value.dtype).kind in "biufc"
        and _size_bytes(value) > _LARGE_BYTES
    )


def _by_argument(function: types.FunctionType, defaults: tuple[Any, ...] | None) -> list[tuple[str, Any]]:
    """Name default values by their arguments; a wrapper that has those of what it wraps may have more of them."""
    values = defaults or ()
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    unnamed = [f"default {number}" for number in range(len(values) - len(names))]
    return list(zip([*unnamed, *names][-len(values) :] if values else [], values, strict=True))


def tell_of_large_values(function: types.FunctionType, used: Mapping[str, Any]) -> None:
    """Warn, once for each, of data that a function takes into every checkpoint.

    Args:
        function: The function.
        used: What it takes along, as `without_data` returns it.
    """
    values = {
        **used["__globals__"],
        **dict(zip(function.__code__.co_freevars, map(_content, used["__closure__"] or ()), strict=True)),
        **dict(_by_argument(function, used["__defaults__"])),
        **(used["__kwdefaults__"] or {}),
    }
    large = {name: size for name, value in values.items() if (size := _size_bytes(value)) > _LARGE_BYTES}
    new = {name: size for name, size in large.items() if (function.__code__, name) not in _TOLD}
    _TOLD.update((function.__code__, name) for name in new)
    if new:
        code = function.__code__
        listed = ", ".join(f"{name} ({size / 2**20:.0f} MB)" for name, size in new.items())
        warnings.warn(
            f"{function.__qualname__} ({code.co_filename}:{code.co_firstlineno}) reads {listed}: it is written into "
            "every checkpoint, and whoever gets one can read it. Let the function read what it needs, such as a "
            "number that was computed before.",
            stacklevel=2,
        )


_LARGE_BYTES = 2**20
_TOLD: set[tuple[types.CodeType, str]] = set()


def _size_bytes(value: Any) -> int:
    """Return how many bytes of data a value has, as far as it says so."""
    if is_without_data(value):
        return 0
    if isinstance(value, tf.Tensor):
        return int(value.shape.num_elements() or 0) * int(value.dtype.size)
    try:
        size = value.memory_usage().sum() if type(value).__name__ == "DataFrame" else getattr(value, "nbytes", 0)
    except Exception:  # noqa: BLE001 - users' objects may do anything when they are asked; this one is not measured
        return 0
    return int(size) if isinstance(size, (int, np.integer)) else 0


def is_without_data(value: Any) -> bool:
    """Whether an array is one number, however large its shape."""
    return type(value) is np.ndarray and value.size > 1 and not any(value.strides)


def _range_of(value: Sized) -> Any:
    try:
        return range(len(value))
    except Exception:  # noqa: BLE001 - a data set may not know its length, and says so in ways of its own
        return value


@functools.lru_cache(maxsize=256)
def _reads_in(code: types.CodeType) -> dict[str, frozenset[str]]:
    """Return what code, and code in it, reads of each name that it does not only make itself."""
    found: dict[str, frozenset[str]] = {}
    for name, read in _uses_in(code):
        found[name] = found.get(name, frozenset()) | read
    return found


def _uses_in(code: types.CodeType) -> Iterator[tuple[str, frozenset[str]]]:
    operations = [item for item in dis.get_instructions(code) if item.opname not in _NO_OPERATION]
    for before, item, after in zip([None, *operations], operations, [*operations[1:], None], strict=False):
        if not item.opname.startswith(("LOAD_", "STORE_", "DELETE_")) or item.opname == "LOAD_CLOSURE":
            continue
        if not any(part in item.opname for part in ("GLOBAL", "DEREF", "FAST", "NAME")):
            continue
        for name in item.argval if isinstance(item.argval, tuple) else (item.argval,):
            yield str(name), _read(before, item, after)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _uses_in(constant)


def _read(before: Any, item: dis.Instruction, after: Any) -> frozenset[str]:
    if not item.opname.startswith("LOAD_") or isinstance(item.argval, tuple) or after is None:
        return _ALL_OF_IT
    if after.opname == "LOAD_ATTR" and after.argval in _ATTRIBUTES:
        return frozenset({after.argval})
    is_len = before is not None and before.opname == "LOAD_GLOBAL" and before.argval == _LEN
    is_called = after.opname in ("CALL", "CALL_FUNCTION") and after.arg == 1
    return frozenset({_LEN}) if is_len and is_called else _ALL_OF_IT
