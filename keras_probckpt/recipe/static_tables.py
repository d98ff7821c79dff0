"""Static lookup tables of TensorFlow, such as a `tf.lookup.StaticVocabularyTable`: made of what they hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.recipe.codec import BUILDER_ADVICE, Decoder, Encoder, Kind, Node, untrusted
from keras_probckpt.recipe.construction import call

__all__ = ["STATIC_TABLE_KINDS"]

# One that its constructor makes need not be written: a vocabulary beyond this is left to that.
_MOST_ENTRIES = 100_000
_CLASSES = (tf.lookup.StaticHashTable, tf.lookup.StaticVocabularyTable)


def _encode_table(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    is_vocabulary = type(value) is tf.lookup.StaticVocabularyTable
    inner = value._table if is_vocabulary else value
    if inner is None:
        raise UnrecordableError(where=where, problem="it is a table without words", advice=BUILDER_ADVICE)
    if int(inner.size()) > _MOST_ENTRIES:
        raise UnrecordableError(where=where, problem="it is a table of very many entries", advice=BUILDER_ADVICE)
    keys, values = (item.numpy() for item in inner.export())
    order = np.argsort(keys, kind="stable")  # A table has none, and gives them as they come.
    held: dict[str, Any] = {
        "keys": keys[order],
        "values": values[order],
        "key_dtype": inner.key_dtype,
        "value_dtype": inner.value_dtype,
    }
    if is_vocabulary:
        held.update(buckets=int(value._num_oov_buckets), lookup_dtype=value.key_dtype)
    else:
        held.update(default=inner.default_value.numpy())
    return {name: encoder.encode(item, f"{where}.{name}") for name, item in held.items()}


def _decode_table(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    if not decoder.is_trusted:
        raise untrusted(where, "a static table is made for a trusted checkpoint alone")
    held = {name: decoder.decode(item, f"{where}.{name}") for name, item in node.items() if name not in ("$", "id")}
    if not {"keys", "values", "key_dtype", "value_dtype"} <= held.keys():
        raise MalformedRecipeError(where=where, problem="a table has keys, values and their dtypes")
    return call(_made_vocabulary if "buckets" in held else _made_table, [], held, where)


def _initializer(*, keys: Any, values: Any, key_dtype: tf.DType, value_dtype: tf.DType) -> Any:
    return tf.lookup.KeyValueTensorInitializer(keys, values, key_dtype, value_dtype)


def _made_table(*, default: Any, **held: Any) -> Any:
    return tf.lookup.StaticHashTable(_initializer(**held), default)


def _made_vocabulary(*, buckets: int, lookup_dtype: tf.DType, **held: Any) -> Any:
    return tf.lookup.StaticVocabularyTable(_initializer(**held), buckets, lookup_dtype)


STATIC_TABLE_KINDS = (
    Kind(
        tag="static_table",
        matches=lambda value: type(value) in _CLASSES,
        encode=_encode_table,
        decode=_decode_table,
        is_shared=True,
    ),
)
