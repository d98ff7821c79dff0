"""The values of variables at one moment, by reference: no bytes are copied.

TensorFlow's buffers are reference-counted and copied on write: what refers to a value keeps it when the variable is
assigned anew or updated by an optimizer. So the time of a snapshot is proportional to the number of variables, not to
their bytes.

2026-11-25: a snapshot refers to TensorFlow's values, and makes arrays of them when it is asked for one. That is done by
whoever writes them, so a value on an accelerator comes to the host in the writer's time, not in that of the training.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf

from keras_probckpt.errors import UnrecordableError

__all__ = ["Snapshot", "snapshot_of"]

# Neither a name in the buffer protocol nor a bitcast: these are copied.
_WITHOUT_BUFFER = (tf.dtypes.experimental.float8_e4m3fn, tf.dtypes.experimental.float8_e5m2)


class Snapshot(Mapping[str, "np.ndarray[Any, Any]"]):
    """Values of variables by path, as read-only arrays of the variables' shapes and dtypes.

    Args:
        values: The values, as TensorFlow has them.
    """

    def __init__(self, values: Mapping[str, tf.Tensor]) -> None:
        self._values = values
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}

    @property
    def size_bytes(self) -> int:
        """Memory of the values, told without looking at one."""
        return sum(value._num_elements() * (value.dtype.size or 0) for value in self._values.values())

    def __getitem__(self, path: str) -> np.ndarray[Any, Any]:
        if path not in self._arrays:
            value = self._values[path]
            view = _view_for(value.dtype)
            assert view is not None  # noqa: S101 - snapshot_of takes no other
            self._arrays[path] = view(value)
        return self._arrays[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def snapshot_of(variables: Mapping[str, tf.Variable]) -> Snapshot:
    """Take the values of variables as they are now.

    Args:
        variables: Variables by path.

    Returns:
        The values by path. They stay as they are whatever training does next.

    Raises:
        UnrecordableError: If a variable is of a dtype that is not numeric.
    """
    return Snapshot({path: _value_of(variable, path) for path, variable in variables.items()})


def _value_of(variable: tf.Variable, path: str) -> tf.Tensor:
    # As `read_value` does, at a third of its time: there may be tens of thousands. Mixed precision shows another dtype.
    dtype = getattr(variable, "true_dtype", variable.dtype)
    if _view_for(dtype) is None:
        raise UnrecordableError(
            where=f"the variable {path!r}",
            problem=f"its dtype {dtype.name} is not numeric",
            advice="Keep it outside of variables, for example as an argument of the constructor.",
        )
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=dtype)


@functools.cache
def _view_for(dtype: tf.DType) -> Callable[[tf.Tensor], np.ndarray[Any, Any]] | None:
    """Tell how to see the buffer of a tensor; `None` if its elements are no numbers."""
    if dtype == tf.bfloat16:  # Python's buffer protocol has no name for it; its bits travel as integers.
        return lambda value: np.asarray(memoryview(tf.bitcast(value, tf.uint16))).view(ml_dtypes.bfloat16)
    if dtype == tf.string or not dtype.is_numpy_compatible:
        return None
    if dtype in _WITHOUT_BUFFER:
        return lambda value: np.asarray(value.numpy())
    return lambda value: np.asarray(memoryview(value))
