"""The values of variables at one moment, by reference: no bytes are copied.

TensorFlow's buffers are reference-counted and copied on write: a view taken here keeps the old value when the variable
is assigned anew or updated by an optimizer. So the time of a snapshot is proportional to the number of variables, not
to their bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf

from keras_probckpt.errors import UnrecordableError

__all__ = ["snapshot_of"]

# Neither a name in the buffer protocol nor a bitcast: these are copied.
_WITHOUT_BUFFER = (tf.dtypes.experimental.float8_e4m3fn, tf.dtypes.experimental.float8_e5m2)


def snapshot_of(variables: Mapping[str, tf.Variable]) -> dict[str, np.ndarray[Any, Any]]:
    """Take the values of variables as they are now.

    Args:
        variables: Variables by path.

    Returns:
        Read-only arrays by path, of the variables' shapes and dtypes. They stay as they are whatever training does
        next.

    Raises:
        UnrecordableError: If a variable is of a dtype that is not numeric.
    """
    return {path: _value_of(variable, path) for path, variable in variables.items()}


def _value_of(variable: tf.Variable, path: str) -> np.ndarray[Any, Any]:
    # As `read_value` does, at a third of its time: there may be tens of thousands. Mixed precision shows another dtype.
    dtype = getattr(variable, "true_dtype", variable.dtype)
    view = _view_for(dtype)
    if view is None:
        raise UnrecordableError(
            where=f"the variable {path!r}",
            problem=f"its dtype {dtype.name} is not numeric",
            advice="Keep it outside of variables, for example as an argument of the constructor.",
        )
    return view(tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=dtype))


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
