"""What a recipe that nobody vouches for may cost: work and memory are bounded before they are spent.

A recipe of a few kilobytes can say of a model that it calls another twice, and of that one the same, thirty times; or
of a layer that it repeats what it is given 2**33 times, one by one, in Python. What is one's own is not bound by this.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tf_keras as tfk
from tf_keras.src.engine import keras_tensor
from tf_keras.src.layers.core import tf_op_layer

from keras_probckpt.recipe.codec import SAME, TAG, Node, untrusted

__all__ = ["check_loops", "check_number", "check_size"]

_FREE_NODES = 10_000
_FACTOR = 32
_FIRST_TOO_LARGE = 2**31
_MOST_TURNS = 10_000
# They go through their input piece by piece, in Python.
_LOOPS = (
    tfk.layers.UpSampling1D,
    tfk.layers.UpSampling3D,
    tfk.layers.LocallyConnected1D,
    tfk.layers.LocallyConnected2D,
)
_SPLITS = frozenset({"unstack", "split"})


def check_size(document: Mapping[str, Node]) -> None:
    """Refuse a recipe that is many times as large once what is shared in it is written out.

    Args:
        document: The recipe.

    Raises:
        MalformedRecipeError: If it is; or if an object in it contains itself, which takes code to make.
    """
    parts = [value for name, value in document.items() if name not in ("description", "variables")]
    own, references = _regions(parts)
    limit = _FREE_NODES + _FACTOR * sum(own.values())
    total = _written_out(own, references)
    if total > limit:
        problem = f"written out it has {total:,} parts, where {limit:,} are many for a file of its size"
        raise untrusted("recipe", problem)


_ROOT = None
_Key = int | None


def _regions(parts: Node) -> tuple[dict[_Key, int], dict[_Key, list[int]]]:
    """Count the nodes of each shared object, and of the rest, without those of the shared objects in it."""
    own: dict[_Key, int] = collections.Counter({_ROOT: 0})
    references: dict[_Key, list[int]] = collections.defaultdict(list)
    pending: list[tuple[Node, _Key]] = [(parts, _ROOT)]
    while pending:
        node, region = pending.pop()
        own[region] += 1
        if isinstance(node, list):
            pending.extend((item, region) for item in node)
        elif isinstance(node, dict):
            number = node.get("id")
            if TAG in node and type(number) is int:
                references[region].append(number)
                if node[TAG] == SAME:
                    continue
                region = number
            pending.extend((item, region) for item in node.values())
    return own, references


def _written_out(own: Mapping[_Key, int], references: Mapping[_Key, Sequence[int]]) -> int:
    totals: dict[_Key, int] = {}
    open_ones: set[_Key] = set()
    pending: list[_Key] = [_ROOT]
    while pending:
        key = pending[-1]
        missing = [number for number in references.get(key, ()) if number not in totals]
        if missing and key not in open_ones:
            open_ones.add(key)
            if not open_ones.isdisjoint(missing):
                raise untrusted("recipe", "an object in it contains itself")
            pending.extend(dict.fromkeys(missing))
            continue
        if missing:
            raise untrusted("recipe", "an object in it contains itself")
        pending.pop()
        open_ones.discard(key)
        totals[key] = own.get(key, 0) + sum(totals[number] for number in references.get(key, ()))
    return totals[_ROOT]


def check_number(value: Any, where: str) -> None:
    """Refuse a whole number beyond what Keras and TensorFlow count with.

    Raises:
        MalformedRecipeError: If it is one.
    """
    if isinstance(value, int) and not -_FIRST_TOO_LARGE < value < _FIRST_TOO_LARGE:
        raise untrusted(where, f"{value:,} is more than anything is made of"[:200])


def check_loops(layer: tfk.layers.Layer, given: Any, where: str) -> None:
    """Refuse a call in which a layer would go through a long input piece by piece.

    Args:
        layer: The layer.
        given: What it is called on.
        where: Place of the call.

    Raises:
        MalformedRecipeError: If it would.
    """
    turns = max((_turns(part) for part in layer._flatten_layers()), default=0)
    if turns:
        turns *= max((_pieces(item) for item in _tensors(given)), default=1)
    if turns > _MOST_TURNS:
        raise untrusted(where, f"a {type(layer).__name__} would go through it in {turns:,} turns")


def _turns(layer: tfk.layers.Layer) -> int:
    if isinstance(layer, _LOOPS):
        size = getattr(layer, "size", 1)
        return int(max((size,) if isinstance(size, int) else tuple(size)))
    if isinstance(layer, tfk.layers.RNN):
        return int(bool(layer.unroll))
    is_split = isinstance(layer, tf_op_layer.TFOpLambda) and getattr(layer.function, "__name__", "") in _SPLITS
    return int(is_split)


def _pieces(tensor: Any) -> int:
    return math.prod(length or 1 for length in tensor.shape[1:]) if tensor.shape.rank is not None else _MOST_TURNS + 1


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, keras_tensor.KerasTensor):
        yield value
