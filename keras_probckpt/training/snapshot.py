"""The values of variables at one moment, by reference: no bytes are copied.

TensorFlow's buffers are reference-counted and copied on write: what refers to a value keeps it when the variable is
assigned anew or updated by an optimizer. So the time of a snapshot is proportional to the number of variables, not to
their bytes.

2026-11-25: a snapshot refers to TensorFlow's values, and makes arrays of them when it is asked for one. That is done by
whoever writes them, so a value on an accelerator comes to the host in the writer's time, not in that of the training.

2026-11-26: all variables of a device are read by one operation. One for each took most of the time of a save: what
TensorFlow does around an operation takes ten times as long as to take a reference.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context, execute

from keras_probckpt.errors import UnrecordableError
from keras_probckpt.format.tensor_dtypes import code_of, supported_names

__all__ = ["Snapshot", "VariableReader", "snapshot_of"]

# Neither a name in the buffer protocol nor a bitcast: these are copied.
_WITHOUT_BUFFER = (tf.dtypes.experimental.float8_e4m3fn, tf.dtypes.experimental.float8_e5m2)


class Snapshot(Mapping[str, "np.ndarray[Any, Any]"]):
    """Values of variables by path, as read-only arrays of the variables' shapes and dtypes.

    Args:
        values: The values, as TensorFlow has them.
        size_bytes: Memory of the values.
    """

    def __init__(self, values: Mapping[str, tf.Tensor], *, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._values = values
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}

    def __getitem__(self, path: str) -> np.ndarray[Any, Any]:
        if path not in self._arrays:
            value = self._values[path]
            view = _view_for(value.dtype)
            assert view is not None  # noqa: S101 - a reader takes no other
            self._arrays[path] = view(value)
        return self._arrays[path]

    @property
    def tensors(self) -> Mapping[str, tf.Tensor]:
        """The values as TensorFlow has them, by path."""
        return self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class VariableReader:
    """Reads variables, time and again; what is the same each time is done once.

    Args:
        groups: Variables by path, in groups that become a snapshot each.

    Raises:
        UnrecordableError: If a variable is of a dtype that is not numeric.

    Source: TensorFlow's kernel of `_ReadVariablesOp`, which takes references as that of `ReadVariableOp` does, and
    copies likewise what sparse updates change in place.
    """

    def __init__(self, *groups: Mapping[str, tf.Variable]) -> None:
        by_device = collections.defaultdict(list)
        for number, group in enumerate(groups):
            for path, variable in group.items():
                by_device[variable.handle.device].append((number, path, variable.handle, _dtype_of(variable, path)))
        # 0 where a variable may have values of several shapes: then it is looked up each time.
        self._sizes_bytes = [
            _size_bytes(group.values()) if all(item.shape.is_fully_defined() for item in group.values()) else 0
            for group in groups
        ]
        self._reads = []
        for items in by_device.values():
            numbers, paths, handles, dtypes = zip(*items, strict=True)
            attributes = ("N", len(items), "dtypes", [dtype.as_datatype_enum for dtype in dtypes])
            self._reads.append((tuple(zip(numbers, paths, strict=True)), list(handles), attributes))

    def read(self) -> Sequence[Snapshot]:
        """Take the values as they are now: a snapshot of each group, which stays as it is whatever training does."""
        found: list[dict[str, tf.Tensor]] = [{} for _ in self._sizes_bytes]
        for places, handles, attributes in self._reads:
            values = execute.execute(b"_ReadVariablesOp", len(handles), handles, attributes, context.context())
            for (number, path), value in zip(places, values, strict=True):
                found[number][path] = value
        return [
            Snapshot(values, size_bytes=size_bytes or _size_bytes(values.values()))
            for values, size_bytes in zip(found, self._sizes_bytes, strict=True)
        ]


def snapshot_of(variables: Mapping[str, tf.Variable]) -> Snapshot:
    """Take the values of variables as they are now, once.

    Args:
        variables: Variables by path.

    Returns:
        The values by path. They stay as they are whatever training does next.

    Raises:
        UnrecordableError: If a variable is of a dtype that is not numeric.
    """
    return VariableReader(variables).read()[0]


def _size_bytes(values: Iterable[tf.Variable | tf.Tensor]) -> int:
    """Sum the memory of values, without looking at one."""
    return sum(value.shape.num_elements() * (value.dtype.size or 0) for value in values)


def _dtype_of(variable: tf.Variable, path: str) -> tf.DType:
    dtype = getattr(variable, "true_dtype", variable.dtype)  # Mixed precision shows another one.
    if _view_for(dtype) is None:
        raise UnrecordableError(
            where=f"the variable {path!r}",
            problem=f"its dtype {dtype.name} is none of those that are stored: {supported_names()}",
            advice="Keep it outside of variables, for example as an argument of the constructor.",
        )
    return dtype


@functools.cache
def _view_for(dtype: tf.DType) -> Callable[[tf.Tensor], np.ndarray[Any, Any]] | None:
    """Tell how to see the buffer of a tensor; `None` if its elements are no numbers that can be stored."""
    if dtype == tf.bfloat16:  # Python's buffer protocol has no name for it; its bits travel as integers.
        return lambda value: np.asarray(memoryview(tf.bitcast(value, tf.uint16))).view(ml_dtypes.bfloat16)
    if dtype == tf.string or not dtype.is_numpy_compatible:
        return None
    stored = np.dtype(dtype.as_numpy_dtype)
    if code_of(stored) is None and stored != np.complex128:  # Of integers those of four bits, which fill half a byte.
        return None
    if dtype in _WITHOUT_BUFFER:
        return lambda value: np.asarray(value.numpy())
    return lambda value: np.asarray(memoryview(value))
