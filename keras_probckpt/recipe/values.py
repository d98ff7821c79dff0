"""Values of numpy and TensorFlow that stand as arguments: dtypes, shapes, specs, arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.recipe.codec import BUILDER_ADVICE, Decoder, Encoder, Kind, Node, field

__all__ = ["VALUE_KINDS"]

# Kinds of numpy dtype that have a place in the tensor file: bool, integers, floats, complex, and ml_dtypes' floats
# ("V").
_NUMERIC = "biufcV"

_FIRST_TOO_LONG_AXIS = 2**63


def _encode_array(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    array = np.asarray(value)
    if array.dtype.kind not in _NUMERIC or array.dtype.names is not None:
        raise UnrecordableError(
            where=where, problem=f"arrays of dtype {array.dtype} are not stored", advice=BUILDER_ADVICE
        )
    name = f"constant-{len(encoder.arrays)}"
    # A copy: the recipe is written once for a run, and the user may go on changing the array.
    encoder.arrays[name] = np.array(array, copy=True, order="C")
    return {"tensor": name}


def _array_of(node: dict[str, Node], decoder: Decoder, where: str) -> np.ndarray[Any, Any]:
    name = field(node, "tensor", str, where)
    if name not in decoder.arrays:
        raise MalformedRecipeError(where=where, problem=f"recipe.safetensors has no tensor {name!r:.80}")
    return decoder.arrays[name]


def _decode_array(node: dict[str, Node], decoder: Decoder, where: str) -> np.ndarray[Any, Any]:
    return np.array(_array_of(node, decoder, where), copy=True)


def _decode_scalar(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    array = _array_of(node, decoder, where)
    if array.shape != ():
        raise MalformedRecipeError(where=where, problem=f"a scalar has the shape (), this tensor has {array.shape}")
    return array[()]


def _decode_eager_tensor(node: dict[str, Node], decoder: Decoder, where: str) -> tf.Tensor:
    return tf.constant(_array_of(node, decoder, where))


def _decode_tf_dtype(node: dict[str, Node], _decoder: Decoder, where: str) -> tf.DType:
    name = field(node, "name", str, where)
    try:
        return tf.as_dtype(name)
    except TypeError as error:
        raise MalformedRecipeError(where=where, problem=f"TensorFlow has no dtype {name!r:.80}") from error


def _decode_numpy_dtype(node: dict[str, Node], _decoder: Decoder, where: str) -> Any:
    try:
        dtype = _decode_tf_dtype(node, _decoder, where).as_numpy_dtype
    except KeyError as error:
        raise MalformedRecipeError(where=where, problem=f"numpy has no dtype {node['name']!r:.80}") from error
    return dtype if node.get("is_class") is True else np.dtype(dtype)


def _encode_numpy_dtype(value: Any, _encoder: Encoder, where: str) -> dict[str, Node]:
    try:
        name = tf.as_dtype(value).name
    except TypeError as error:
        raise UnrecordableError(
            where=where, problem=f"TensorFlow has no dtype like {value!r}", advice=BUILDER_ADVICE
        ) from error
    return {"name": name, "is_class": isinstance(value, type)}


def _decode_shape(node: dict[str, Node], _decoder: Decoder, where: str) -> tf.TensorShape:
    return tf.TensorShape(_dimensions(node, where))


def _dimensions(node: dict[str, Node], where: str) -> list[int | None] | None:
    if node.get("dimensions") is None:
        return None
    dimensions = field(node, "dimensions", list, where)
    if not all(item is None or (type(item) is int and 0 <= item < _FIRST_TOO_LONG_AXIS) for item in dimensions):
        raise MalformedRecipeError(where=where, problem=f"{dimensions!r:.80} is not a shape")
    return dimensions


def _encode_shape(value: tf.TensorShape) -> dict[str, Node]:
    return {"dimensions": None if value.rank is None else value.as_list()}


def _encode_spec(value: tf.TensorSpec, _encoder: Encoder, _where: str) -> dict[str, Node]:
    return {**_encode_shape(value.shape), "dtype": value.dtype.name, "name": value.name}


def _decode_spec(node: dict[str, Node], decoder: Decoder, where: str) -> tf.TensorSpec:
    dtype = _decode_tf_dtype({"name": node.get("dtype")}, decoder, where)
    name = None if node.get("name") is None else field(node, "name", str, where)
    return tf.TensorSpec(_dimensions(node, where), dtype, name=name)


VALUE_KINDS = (
    Kind(
        tag="tf.DType",
        matches=lambda value: isinstance(value, tf.DType),
        encode=lambda value, _encoder, _where: {"name": value.name},
        decode=_decode_tf_dtype,
    ),
    Kind(
        tag="np.dtype",
        matches=lambda value: (
            isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic))
        ),
        encode=_encode_numpy_dtype,
        decode=_decode_numpy_dtype,
    ),
    Kind(
        tag="tf.TensorShape",
        matches=lambda value: isinstance(value, tf.TensorShape),
        encode=lambda value, _encoder, _where: _encode_shape(value),
        decode=_decode_shape,
    ),
    Kind(
        tag="tf.TensorSpec",
        matches=lambda value: type(value) is tf.TensorSpec,
        encode=_encode_spec,
        decode=_decode_spec,
    ),
    Kind(
        tag="np.ndarray",
        matches=lambda value: type(value) is np.ndarray,
        encode=_encode_array,
        decode=_decode_array,
        is_shared=True,
    ),
    Kind(
        tag="np.generic",
        matches=lambda value: isinstance(value, np.generic),
        encode=_encode_array,
        decode=_decode_scalar,
    ),
    Kind(
        tag="tf.Tensor",
        matches=lambda value: isinstance(value, tf.Tensor) and hasattr(value, "numpy"),
        encode=_encode_array,
        decode=_decode_eager_tensor,
        is_shared=True,
    ),
)
