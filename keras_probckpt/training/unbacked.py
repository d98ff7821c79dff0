"""Variables that take no memory: for a model that is built only to see whether it can be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["unbacked_variables"]

_FuncGraph = tf.__internal__.FuncGraph

# A value of this size costs as little as an unbacked one does.
_SMALL_BYTES = 4096
# TensorFlow takes over the memory of an array that is aligned so, and copies any other.
_ALIGNMENT_BYTES = 64


@contextlib.contextmanager
def unbacked_variables() -> Iterator[None]:
    """Let variables that are made here hold zeros that take no memory, and run no initializer.

    The operating system gives pages to memory that was only ever zero when somebody writes to it, and nobody does.
    Small values that are there already, such as a counter's 0, are taken as they are. Everything is on the CPU.
    """
    with tf.device("CPU"), tf.variable_creator_scope(_new_variable):
        yield


def _new_variable(make: Callable[..., tf.Variable], **arguments: Any) -> tf.Variable:
    initial = arguments.get("initial_value")
    spec = _spec_of(initial, shape=arguments.get("shape"), dtype=arguments.get("dtype"))
    if spec is None or (_is_there(initial) and spec.shape.num_elements() * spec.dtype.size <= _SMALL_BYTES):
        return make(**arguments)
    with tf.init_scope():
        return make(**{**arguments, "initial_value": _zeros(spec)})


def _is_there(initial: Any) -> bool:
    return not callable(initial) and not (tf.is_tensor(initial) and tf.is_symbolic_tensor(initial))


def _spec_of(initial: Any, *, shape: Any, dtype: Any) -> tf.TensorSpec | None:
    """Find shape and dtype of a variable without running its initializer; None where that is not possible."""
    shape = getattr(initial, "shape", None) if shape is None else shape
    dtype = getattr(initial, "dtype", None) if dtype is None else dtype
    if shape is None or dtype is None:
        try:
            with _FuncGraph("initial_value").as_default():
                value = tf.convert_to_tensor(initial() if callable(initial) else initial, dtype)
        except Exception:  # noqa: BLE001 - a user's initializer may do anything; then it is left to it
            return None
        shape, dtype = value.shape if shape is None else shape, value.dtype
    spec = tf.TensorSpec(shape, dtype)
    is_numeric = spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype.is_bool or spec.dtype.is_complex
    return spec if spec.shape.is_fully_defined() and is_numeric else None


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    if spec.dtype.name == "bfloat16":  # It has no name in the protocol by which memory is taken over.
        return tf.bitcast(_zeros(tf.TensorSpec(spec.shape, tf.uint16)), tf.bfloat16)
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    if dtype.isbuiltin != 1 or spec.shape.num_elements() == 0:
        return tf.constant(np.zeros(spec.shape, dtype))
    size_bytes = spec.shape.num_elements() * dtype.itemsize
    memory = np.zeros(size_bytes + _ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT_BYTES
    array = memory[start : start + size_bytes].view(dtype).reshape(spec.shape.as_list())
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
