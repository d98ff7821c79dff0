"""Values of numpy and TensorFlow that stand as arguments: dtypes, shapes, specs, arrays of numbers and of text."""

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
_TEXT = "US"
# Of an array of text, numpy keeps each item in the space of the longest, and more if it was told to.
_MOST_SPACE_PER_TEXT = 64


def _is_numeric(value: Any) -> bool:
    return value.dtype.kind in _NUMERIC and value.dtype.names is None


def _is_eager(value: Any) -> bool:
    return isinstance(value, tf.Tensor) and hasattr(value, "numpy")


def _encode_array(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    array = np.asarray(value)
    if not _is_numeric(array):
        raise UnrecordableError(
            where=where, problem=f"arrays of dtype {array.dtype} are not stored", advice=BUILDER_ADVICE
        )
    name = f"constant-{len(encoder.arrays)}"
    # A copy: the recipe is written once for a run, and the user may go on changing the array.
    encoder.arrays[name] = np.array(array, copy=True, order="C")
    return {"tensor": name}


def _decode_array(node: dict[str, Node], decoder: Decoder, where: str) -> np.ndarray[Any, Any]:
    return np.array(decoder.array(node, where), copy=True)


def _decode_scalar(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    array = decoder.array(node, where)
    if array.shape != ():
        raise MalformedRecipeError(where=where, problem=f"a scalar has the shape (), this tensor has {array.shape}")
    return array[()]


def _decode_eager_tensor(node: dict[str, Node], decoder: Decoder, where: str) -> tf.Tensor:
    return tf.constant(decoder.array(node, where))


def _is_text(value: Any) -> bool:
    if isinstance(value, (np.ndarray, np.generic)):
        return type(value) in (np.ndarray, np.str_, np.bytes_) and value.dtype.kind in _TEXT
    return _is_eager(value) and value.dtype == tf.string


def _encode_text(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    array = np.asarray(value)
    space, items = array.dtype.itemsize * array.size, array.ravel().tolist()
    is_tensor = isinstance(value, tf.Tensor)
    if not is_tensor and space > _most_space(items):
        problem = f"an array of {array.size} texts of dtype {array.dtype} takes {space} bytes for a fraction of text"
        raise UnrecordableError(where=where, problem=problem, advice=BUILDER_ADVICE)
    of = "tf.Tensor" if is_tensor else "np.generic" if isinstance(value, np.generic) else "np.ndarray"
    dtype = "string" if is_tensor else array.dtype.str
    return {"of": of, "dtype": dtype, "shape": list(array.shape), "items": encoder.encode_items(items, where)}


def _most_space(items: list[Any]) -> int:
    return 4 * len(items) * max(_MOST_SPACE_PER_TEXT, *map(len, items), 0)


def _decode_text(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    of, name = field(node, "of", str, where), field(node, "dtype", str, where)
    shape, items = field(node, "shape", list, where), decoder.decode(field(node, "items", list, where), where)
    is_tensor = of == "tf.Tensor"
    if not all(type(item) in (str, bytes) for item in items) or not all(type(length) is int for length in shape):
        raise MalformedRecipeError(where=where, problem="an array of text has a shape and texts")
    try:
        dtype = np.dtype(object if is_tensor else name)
        if not is_tensor and (dtype.kind not in _TEXT or dtype.itemsize * len(items) > _most_space(items)):
            raise MalformedRecipeError(where=where, problem=f"{name!r:.80} is no dtype of these texts")
        array = np.array(items, dtype).reshape(shape)
        return tf.constant(array, tf.string) if is_tensor else array[()] if of == "np.generic" else array
    except (TypeError, ValueError) as error:
        raise MalformedRecipeError(where=where, problem=f"they make no array of text ({error})") from error


def _encode_sparse(value: tf.SparseTensor, encoder: Encoder, where: str) -> dict[str, Node]:
    return {name: encoder.encode(getattr(value, name), where) for name in ("indices", "values", "dense_shape")}


def _decode_sparse(node: dict[str, Node], decoder: Decoder, where: str) -> tf.SparseTensor:
    parts = [decoder.decode(node.get(name), where) for name in ("indices", "values", "dense_shape")]
    if not all(_is_eager(part) for part in parts) or any(part.dtype != tf.int64 for part in (parts[0], parts[2])):
        raise MalformedRecipeError(where=where, problem="a sparse tensor is indices, values and a shape")
    indices, values, shape = (part.numpy() for part in parts)
    fits = indices.ndim == 2 and values.shape == indices.shape[:1] and shape.shape == indices.shape[1:]  # noqa: PLR2004
    # Kernels of TensorFlow read and write where indices say.
    if not fits or (shape < 0).any() or not ((indices >= 0) & (indices < shape)).all():
        raise MalformedRecipeError(where=where, problem="the indices of a sparse tensor lie outside of its shape")
    return tf.SparseTensor(*parts)


def _encode_ragged(value: tf.RaggedTensor, encoder: Encoder, where: str) -> dict[str, Node]:
    return {name: encoder.encode(getattr(value, name), where) for name in ("values", "row_splits")}


def _decode_ragged(node: dict[str, Node], decoder: Decoder, where: str) -> tf.RaggedTensor:
    values, splits = (decoder.decode(node.get(name), where) for name in ("values", "row_splits"))
    try:
        return tf.RaggedTensor.from_row_splits(values, splits, validate=True)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise MalformedRecipeError(where=where, problem=f"it is no ragged tensor ({error})") from error


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
    Kind(tag="text", matches=_is_text, encode=_encode_text, decode=_decode_text, is_shared=True),
    Kind(
        tag="tf.SparseTensor",
        matches=lambda value: type(value) is tf.SparseTensor and _is_eager(value.values),
        encode=_encode_sparse,
        decode=_decode_sparse,
        is_shared=True,
    ),
    Kind(
        tag="tf.RaggedTensor",
        matches=lambda value: type(value) is tf.RaggedTensor and _is_eager(value.flat_values),
        encode=_encode_ragged,
        decode=_decode_ragged,
        is_shared=True,
    ),
    Kind(
        tag="np.ndarray",
        matches=lambda value: type(value) is np.ndarray and _is_numeric(value),
        encode=_encode_array,
        decode=_decode_array,
        is_shared=True,
    ),
    Kind(
        tag="np.generic",
        matches=lambda value: isinstance(value, np.generic) and _is_numeric(value),
        encode=_encode_array,
        decode=_decode_scalar,
    ),
    Kind(
        tag="tf.Tensor",
        matches=_is_eager,
        encode=_encode_array,
        decode=_decode_eager_tensor,
        is_shared=True,
    ),
)
