"""Values that are data and nothing else, such as the state of a training: written as nodes, read without any code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import WORDS, Decoder, Encoder, Node
from keras_probckpt.recipe.plain import PLAIN_KINDS, decode_items, decode_range
from keras_probckpt.recipe.standard import STANDARD_KINDS
from keras_probckpt.recipe.values import VALUE_KINDS

__all__ = ["copy_data", "decode_data", "encode_data"]

_FREELY = {"dict": decode_items, "range": decode_range}
# Without the kinds for classes and functions, what would need one is an error on both sides.
_DATA_KINDS = tuple(
    # Nobody hands what is read here to Keras: a callback may keep a configuration of Keras's.
    dataclasses.replace(kind, decode=_FREELY[kind.tag]) if kind.tag in _FREELY else kind
    for kind in (*VALUE_KINDS, *PLAIN_KINDS, *STANDARD_KINDS)
)


def encode_data(values: Mapping[str, Any], *, where: str) -> tuple[dict[str, Node], dict[str, np.ndarray[Any, Any]]]:
    """Write values as nodes.

    Args:
        values: Python's own values, numpy's and TensorFlow's, by name.
        where: What they are, for messages.

    Returns:
        Nodes by name, and the arrays they refer to.

    Raises:
        UnrecordableError: If one is not of these kinds. Names its place.
    """
    encoder = Encoder(_DATA_KINDS)
    return {name: encoder.encode(value, f"{where}[{name!r}]") for name, value in values.items()}, encoder.arrays


def decode_data(nodes: Mapping[str, Node], arrays: Mapping[str, np.ndarray[Any, Any]], *, where: str) -> dict[str, Any]:
    """Read what `encode_data` wrote.

    Raises:
        MalformedRecipeError: If it is not what `encode_data` writes. Nothing is run.
    """
    document = dict(nodes)
    decoder = Decoder(_DATA_KINDS, arrays=arrays, resolve=_refuse, document=document)
    return {name: decoder.decode(node, f"{where}[{name!r}]") for name, node in document.items()}


def copy_data(value: Any, *, where: str) -> Any:
    """Copy a value, so that whoever it is from may go on changing it, and refuse now what `encode_data` would.

    Raises:
        UnrecordableError: If it is not of the kinds that can be written. Names its place.
    """
    try:
        return _copied(value)
    except (TypeError, RecursionError):
        nodes, arrays = encode_data({"value": value}, where=where)
        return decode_data(nodes, arrays, where=where)["value"]


def _copied(value: Any) -> Any:
    """Copy what JSON has words for, as most of what a callback knows is, at a tenth of the time."""
    kind = type(value)
    if kind in WORDS:
        return value
    if kind is list:
        return [_copied(item) for item in value]
    if kind is not dict or not set(map(type, value)) <= WORDS:
        raise TypeError(kind)
    return {key: _copied(item) for key, item in value.items()}


def _refuse(_node: dict[str, Node], _decoder: Decoder, where: str) -> Any:
    raise MalformedRecipeError(where=where, problem="it names a class or a function, and this is a place for data only")
