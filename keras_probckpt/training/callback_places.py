"""Where a callback keeps what it knows: attributes, closures of its functions, variables, and objects of the user's.

A place has a path from the callback, such as `count`, `schedule.<closure>.state` or `averages.2`. Paths and the objects
that values are put into are those of the live callback, never of a file.
"""

from __future__ import annotations

import collections
import dataclasses
import dis
import functools
import io
import itertools
import numbers
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import blake3
import numpy as np
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.training.snapshot import snapshot_of
from keras_probckpt.training.variables import OPTIMIZERS, find_variables

__all__ = ["Baseline", "Place", "assigned_names", "find_places", "is_data", "put_value"]

# What `fit` itself sets, or Keras on the callback's behalf.
_OF_FIT = frozenset({"model", "params", "validation_data", "_chief_worker_only", "_supports_tf_logs"})
_LIBRARIES = frozenset(
    {"tensorflow", "keras", "tf_keras", "tensorflow_probability", "numpy", "builtins", "keras_probckpt"}
)
_MOST_DEPTH = 4
_SCALARS = (bool, str, bytes, numbers.Number, np.generic, types.NoneType)
_ITERATORS: tuple[type, ...] = (
    types.GeneratorType,
    type(iter([])),
    type(iter(range(0))),
    itertools.count,
    itertools.cycle,
    itertools.chain,
)


@dataclasses.dataclass(frozen=True)
class Place:
    """One value that a callback keeps.

    Attributes:
        path: The way to it from the callback.
        value: The value, or the variable that holds it.
        put: Puts another value there.
    """

    path: str
    value: Any
    put: Callable[[Any], None]

    @property
    def data(self) -> Any:
        """The value as data; that of a variable by reference."""
        return snapshot_of({"": self.value})[""] if isinstance(self.value, tf.Variable) else self.value


def find_places(callback: tfk.callbacks.Callback, *, known: frozenset[int]) -> tuple[list[Place], list[str]]:
    """Find every value that a callback keeps of its own, but what Keras's own code assigns.

    Args:
        callback: The callback.
        known: Ids of the variables that are saved without this.

    Returns:
        The places; and what may change and cannot be written, by path and kind.
    """
    search = _Search(known)
    of_keras = frozenset().union(*(_assigned_by(cls) for cls in type(callback).__mro__ if not _is_users(cls)))
    for name, value in sorted(vars(callback).items()):
        if name in _OF_FIT:
            continue
        if name not in of_keras:
            search.visit(name, value, functools.partial(setattr, callback, name), depth=0)
        elif isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
            search.visit_function(name, value, depth=0)
    return search.places, search.unwritable


class _Search:
    def __init__(self, known: frozenset[int]) -> None:
        self.places: list[Place] = []
        self.unwritable: list[str] = []
        self._known = known
        self._seen: set[int] = set()

    def visit(self, path: str, value: Any, put: Callable[[Any], None], *, depth: int) -> None:
        if isinstance(value, tf.Variable):
            if id(value) not in self._known and value.dtype.is_numpy_compatible and value.dtype != tf.string:
                self.places.append(Place(path, value, value.assign))
        elif isinstance(value, tf.Module) and not isinstance(value, OPTIMIZERS):
            for number, variable in enumerate(_variables_of(value)):
                self.visit(f"{path}.{number}", variable, put, depth=depth)
        elif is_data(value):
            self.places.append(Place(path, value, put))
        elif isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
            self.visit_function(path, value, depth=depth)
        elif _is_users(type(value)) and depth < _MOST_DEPTH and not isinstance(value, type):
            self._visit_object(path, value, depth=depth)
        elif _may_change(value):
            self.unwritable.append(f"{path} ({type(value).__qualname__})")

    def visit_function(self, path: str, value: Any, *, depth: int) -> None:
        if isinstance(value, functools.partial):
            self.visit_function(path, value.func, depth=depth)
        elif isinstance(value, types.MethodType):
            if _is_users(type(value.__self__)) and not isinstance(value.__self__, tfk.callbacks.Callback):
                self._visit_object(f"{path}.<self>", value.__self__, depth=depth)
        elif isinstance(value, types.FunctionType) and depth < _MOST_DEPTH and _is_new(self._seen, value):
            for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
                if _is_new(self._seen, cell) and _has_contents(cell):
                    put = functools.partial(setattr, cell, "cell_contents")
                    self.visit(f"{path}.<closure>.{name}", cell.cell_contents, put, depth=depth + 1)

    def _visit_object(self, path: str, value: Any, *, depth: int) -> None:
        if isinstance(value, (tfk.callbacks.Callback, tf.Module, *OPTIMIZERS)) or not _is_new(self._seen, value):
            return
        if not hasattr(value, "__dict__"):
            self.unwritable.append(f"{path} ({type(value).__qualname__})")
            return
        for name, item in sorted(vars(value).items()):
            self.visit(f"{path}.{name}", item, functools.partial(setattr, value, name), depth=depth + 1)


def _is_new(seen: set[int], item: Any) -> bool:
    is_new = id(item) not in seen
    seen.add(id(item))
    return is_new


def _has_contents(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _is_users(cls: type) -> bool:
    root = cls.__module__.partition(".")[0]
    return root not in _LIBRARIES and (root == "__main__" or root not in sys.stdlib_module_names)


def _may_change(value: Any) -> bool:
    """Whether what cannot be written may change in a training: not models, locks, loggers, classes and the like."""
    if isinstance(value, (list, tuple, set, frozenset, Mapping, collections.deque)):
        items = [*value.keys(), *value.values()] if isinstance(value, Mapping) else list(value)
        return any(_may_change(item) or (_is_users(type(item)) and not callable(item)) for item in items)
    if isinstance(value, io.IOBase):
        return value.writable()
    return isinstance(value, _ITERATORS)


def is_data(value: Any, depth: int = 0) -> bool:
    """Whether a value is data: numbers, texts, arrays, tensors that have a value, and containers of these."""
    if isinstance(value, _SCALARS):
        return True
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufcUS" or not value.dtype.hasobject
    if tf.is_tensor(value):
        return isinstance(value, tf.Tensor) and not tf.is_symbolic_tensor(value)
    if depth > _MOST_DEPTH or type(value) not in {dict, list, tuple, set, frozenset}:
        return False
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return all(is_data(item, depth + 1) for item in items)


def put_value(place: Place, value: Any) -> bool:
    """Put a value back: into what is there, where others may hold it too.

    Returns:
        Whether it is of the kind of what is there; if not, nothing is put.
    """
    now = place.value
    if isinstance(now, tf.Variable):
        if not isinstance(value, np.ndarray) or not now.shape.is_compatible_with(value.shape):
            return False
        if now.dtype.name != value.dtype.name:
            return False
        now.assign(value)
        return True
    if not _is_of_kind(now, value):
        return False
    if type(now) is dict:
        now.clear()
        now.update(value)
    elif type(now) is list:
        now[:] = value
    elif type(now) is set:
        now.clear()
        now.update(value)
    elif isinstance(now, np.ndarray) and now.flags.writeable and (now.shape, now.dtype) == (value.shape, value.dtype):
        np.copyto(now, value)
    else:
        place.put(value)
    return True


def _is_of_kind(now: Any, value: Any) -> bool:
    if now is None or value is None:
        return not isinstance(now, os.PathLike)
    if isinstance(now, numbers.Real) and not _is_scalar(value):
        return False
    for kinds in ((numbers.Number, np.generic, np.ndarray, tf.Tensor), (str,), (bytes,), (dict,)):
        if isinstance(now, kinds):
            return isinstance(value, kinds)
    return isinstance(value, type(now)) or (isinstance(now, (list, tuple)) and isinstance(value, (list, tuple)))


def _is_scalar(value: Any) -> bool:
    """Whether a value may take the place of a number, with which others compare it."""
    return isinstance(value, numbers.Real) or (
        isinstance(value, (np.ndarray, np.generic, tf.Tensor)) and value.ndim == 0
    )


class Baseline:
    """What callbacks kept as a training began: what is still the same need not be saved.

    Args:
        callbacks: Callbacks whose `on_train_begin` is over.
        model: The model that they watch.
    """

    def __init__(self, callbacks: Sequence[tfk.callbacks.Callback], model: tfk.Model) -> None:
        found = find_variables(model)
        self.known = frozenset(id(variable) for variable in (*found.model.values(), *found.optimizers.values()))
        self._prints: dict[tuple[int, str], Any] = {}
        for callback in callbacks:
            for place in find_places(callback, known=self.known)[0]:
                self._prints[id(callback), place.path] = place.value, _fingerprint(place.value)

    def changed(self, callback: tfk.callbacks.Callback) -> tuple[list[Place], list[str]]:
        """Find what a callback keeps that is not what it kept as the training began; see `find_places`."""
        places, unwritable = find_places(callback, known=self.known)
        return [place for place in places if self._has_changed(callback, place)], unwritable

    def _has_changed(self, callback: tfk.callbacks.Callback, place: Place) -> bool:
        key = id(callback), place.path
        if key not in self._prints:
            return True
        value, fingerprint = self._prints[key]
        if value is place.value and _is_same(fingerprint, _fingerprint(place.value)):
            return False
        if not isinstance(value, (np.ndarray, tf.Variable, list, dict)):
            return not (type(value) is type(place.value) and isinstance(value, _SCALARS) and value == place.value)
        self._prints[key] = None, None  # Once it has changed, it is saved each time: its memory is let go.
        return True


def _is_same(before: Any, now: Any) -> bool:
    return bool((before[0] if isinstance(before, tuple) else before) == (now[0] if isinstance(now, tuple) else now))


def _fingerprint(value: Any) -> Any:
    if isinstance(value, tf.Variable):
        # TensorFlow copies what it writes to while this refers to it: another value is at another address.
        array = snapshot_of({"": value})[""]
        return array.__array_interface__["data"][0], array
    if isinstance(value, (str, bytes, tf.Tensor, np.generic, int, float, types.NoneType)):
        return None  # Nobody can change it: another value is another object.
    digest = blake3.blake3()
    for part in _parts(value):
        digest.update(part)
    return digest.digest()


def _parts(value: Any) -> Iterator[bytes | memoryview]:
    if isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode()
        yield np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
    elif isinstance(value, tf.Tensor):
        yield str(id(value)).encode()
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _parts(key)
            yield from _parts(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield f"{type(value).__name__}{len(value)}".encode()
        for item in value:
            yield from _parts(item)
    else:
        yield f"{type(value).__name__}{value!r}".encode("utf-8", "surrogatepass")


def assigned_names(cls: type) -> frozenset[str]:
    """Name the attributes that the code of a class and of its bases assigns, where it is not Keras's."""
    return frozenset().union(*(_assigned_by(base) for base in cls.__mro__ if _is_users(base))) - _OF_FIT


@functools.cache
def _assigned_by(cls: type) -> frozenset[str]:
    functions = [item for item in vars(cls).values() if isinstance(item, types.FunctionType)]
    return frozenset(name for function in functions for name in _stored(function.__code__))


def _stored(code: types.CodeType) -> Iterator[str]:
    yield from (item.argval for item in dis.get_instructions(code) if item.opname == "STORE_ATTR")
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _stored(constant)


def _variables_of(module: tf.Module) -> Sequence[tf.Variable]:
    try:
        return tuple(module.variables)
    except ValueError:  # A model that was never called has none yet.
        return ()
