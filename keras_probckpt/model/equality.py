"""Whether two values are the same: by what they hold, not by where they are kept."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_probckpt.model.objects import bookkeeping_of, is_tracked

__all__ = ["closed_over", "is_same", "is_same_code"]

_PLAIN = (bool, int, str, bytes, types.NoneType)
_NUMBERS = (float, complex)


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are the same to whoever reads them: NaN is NaN, 1 is not 1.0, a list is not a tuple.

    Objects are the same if their classes are and all that they hold is; functions if their code is and all that they
    close over. Variables and layers are the same only as one object.
    """
    return _is_same(one, other, set())


def _is_same(one: Any, other: Any, met: set[tuple[int, int]]) -> bool:
    if one is other or (id(one), id(other)) in met:  # Met: they are being compared further out.
        return True
    key = id(one), id(other)
    one, other = _unwrapped(one), _unwrapped(other)
    if isinstance(one, type) and isinstance(other, type):
        return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)
    if type(one) is not type(other) and not (_is_eager(one) and _is_eager(other)):
        return _is_same_class(one, other) and _is_same_object(one, other, met)
    if isinstance(one, _PLAIN):
        return bool(one == other)
    if isinstance(one, _NUMBERS):
        return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN
    met.add(key)
    return _is_same_object(one, other, met)


def _is_same_class(one: Any, other: Any) -> bool:
    # A class that was unpickled twice.
    return hasattr(one, "__dict__") and _is_same(type(one), type(other), set())


def _is_same_object(one: Any, other: Any, met: set[tuple[int, int]]) -> bool:  # noqa: PLR0911 - one for each kind
    if isinstance(one, (np.ndarray, np.generic)):
        return _is_same_array(one, other)
    if _is_eager(one) or isinstance(one, (tf.SparseTensor, tf.RaggedTensor)):
        return _is_same_tensor(one, other, met)
    if isinstance(one, Mapping) and not hasattr(one, "__dict__"):
        return _is_same_mapping(one, other, met)
    if isinstance(one, (list, tuple)):
        return _are_same(one, other, met)
    if isinstance(one, types.FunctionType):
        return _is_same_function(one, other, met)
    if isinstance(one, types.MethodType):
        return _are_same((one.__func__, one.__self__), (other.__func__, other.__self__), met)
    if isinstance(one, functools.partial):
        return _are_same((one.func, one.args, one.keywords), (other.func, other.args, other.keywords), met)
    if is_tracked(one) or isinstance(one, tf.Tensor):
        return False
    is_same_mapping = not isinstance(one, Mapping) or _is_same_mapping(one, other, met)
    return is_same_mapping and _has_same_attributes(one, other, met)


def _is_same_tensor(one: Any, other: Any, met: set[tuple[int, int]]) -> bool:
    if one.dtype != other.dtype or one.shape.as_list() != other.shape.as_list():
        return False
    if _is_eager(one):
        return one.dtype not in (tf.resource, tf.variant) and _is_same_array(one.numpy(), other.numpy())
    ones, others = (tf.nest.flatten(item, expand_composites=True) for item in (one, other))
    return _are_same(ones, others, met)


def _has_same_attributes(one: Any, other: Any, met: set[tuple[int, int]]) -> bool:
    if hasattr(one, "__dict__"):
        return _is_same_mapping(_attributes(one), _attributes(other), met)
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - what a user's class does when it is compared is up to it
        return False


def _attributes(value: Any) -> dict[str, Any]:
    left_out = bookkeeping_of(type(value))
    hidden = ("_self_", "_keras_probckpt")
    return {name: item for name, item in vars(value).items() if name not in left_out and not name.startswith(hidden)}


def _are_same(ones: Iterable[Any], others: Iterable[Any], met: set[tuple[int, int]]) -> bool:
    ones, others = list(ones), list(others)
    return len(ones) == len(others) and all(_is_same(*pair, met) for pair in zip(ones, others, strict=True))


def _is_same_mapping(one: Mapping[Any, Any], other: Mapping[Any, Any], met: set[tuple[int, int]]) -> bool:
    return one.keys() == other.keys() and all(_is_same(one[key], other[key], met) for key in one)


def _is_same_array(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(np.array_equal(one, other)) if one.dtype.hasobject else one.tobytes() == other.tobytes()


def _is_same_function(one: types.FunctionType, other: types.FunctionType, met: set[tuple[int, int]]) -> bool:
    if not is_same_code(one.__code__, other.__code__):
        return False
    ones, others = ((item.__defaults__, item.__kwdefaults__) for item in (one, other))
    return _are_same(ones, others, met) and _is_same_mapping(closed_over(one), closed_over(other), met)


def is_same_code(one: types.CodeType, other: types.CodeType) -> bool:
    """Whether two codes do the same, wherever they stand."""
    if (one.co_code, one.co_names, one.co_varnames) != (other.co_code, other.co_names, other.co_varnames):
        return False
    pairs = zip(one.co_consts, other.co_consts, strict=False)
    return len(one.co_consts) == len(other.co_consts) and all(
        is_same_code(*pair)
        if isinstance(pair[0], types.CodeType) and isinstance(pair[1], types.CodeType)
        else _is_same(*pair, set())
        for pair in pairs
    )


def closed_over(function: types.FunctionType) -> dict[str, Any]:
    """Give what a function closes over, by name; None where that is not set yet."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: _content(cell) for name, cell in cells}


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # Not filled yet.
        return None


def _is_eager(value: Any) -> bool:
    return isinstance(value, tf.Tensor) and hasattr(value, "numpy")


def _unwrapped(value: Any) -> Any:
    """Take off the wrapper that TensorFlow puts around a list, dict or tuple that is an attribute of a layer."""
    if type(value).__module__.startswith("tensorflow."):
        if isinstance(value, list):
            return list(value)
        if isinstance(value, (dict, tuple)):
            return getattr(value, "__wrapped__", value)
    return value
