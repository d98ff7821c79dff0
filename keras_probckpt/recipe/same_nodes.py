"""A live object compared with a recorded node: would the node make one like it?

Names, seeds and the places of functions do not count, for each process makes up its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_probckpt.errors import UnrecordableError
from keras_probckpt.recipe.codec import SAME, TAG, Decoder, Node, definitions

__all__ = ["NodeComparison"]

_REFERENCES = frozenset({"import", "pickle", "known"})
_NAMED = frozenset({"sequential", "functional", "variable"})
_MADE_UP = frozenset({"name", "seed", "batch_input_shape", "batch_shape", "trainable"})
_ARGUMENTS = ("arguments", "config")


class NodeComparison:
    """Compares live objects with nodes.

    Args:
        decoder: Knows the recorded nodes.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._encoder = decoder.new_encoder()
        self._local: Mapping[int, Node] = {}
        self._met: set[tuple[int, int]] = set()

    def adopts(self, node: Node, value: Any) -> bool:
        """Whether an object is like a node; the node then stands for that object."""
        if isinstance(node, list) or (isinstance(node, dict) and TAG not in node):
            return type(node) is (list if isinstance(value, list) else dict if isinstance(value, dict) else None)
        known = self._decoder.known_value(node)
        if known is not None:
            return known is value
        try:
            written = self._encoder.encode(value, "spare")
        except UnrecordableError:
            return False
        self._local = dict(definitions(written))
        if not self._are_like(node, written):
            return False
        self._decoder.adopt_value(node, value)
        return True

    def _are_like(self, one: Node, other: Node) -> bool:
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(map(self._are_like, one, other))
        if not isinstance(one, dict) or not isinstance(other, dict):
            return type(one) is type(other) and bool(one == other)
        one, other = self._decoder.definition_of(one), self._definition_of(other)
        if (id(one), id(other)) in self._met:
            return True
        self._met.add((id(one), id(other)))
        return self._are_like_nodes(one, other)

    def _are_like_nodes(self, one: dict[str, Node], other: dict[str, Node]) -> bool:
        tags = one.get(TAG), other.get(TAG)
        if _REFERENCES.issuperset(tags):
            return _last(one) == _last(other) and one.get("source") == other.get("source", one.get("source"))
        if tags[0] != tags[1]:
            return False
        if "tensor" in one and "tensor" in other:
            return self._are_same_arrays(one["tensor"], other["tensor"])
        left_out = {"id", "index", *(_MADE_UP if tags[0] in _NAMED else ())} - {"trainable"}
        return self._are_like_mappings(one, other, left_out)

    def _are_like_mappings(self, one: dict[str, Node], other: dict[str, Node], left_out: set[str]) -> bool:
        keys = one.keys() - left_out
        if keys != other.keys() - left_out:
            return False
        plain = [key for key in keys if key not in _ARGUMENTS]
        nested = [key for key in keys if key in _ARGUMENTS]
        return all(self._are_like(one[key], other[key]) for key in plain) and all(
            self._are_like_mappings(one[key], other[key], set(_MADE_UP)) for key in nested
        )

    def _definition_of(self, node: dict[str, Node]) -> dict[str, Node]:
        found: dict[str, Node] = self._local.get(node.get("id", -1), node) if node.get(TAG) == SAME else node
        return found

    def _are_same_arrays(self, one: str, other: str) -> bool:
        recorded, written = self._decoder.arrays.get(one), self._encoder.arrays[other]
        if recorded is None or recorded.dtype != written.dtype:
            return False
        return bool(np.array_equal(recorded, written))


def _last(node: dict[str, Node]) -> str:
    return str(node.get("name")).rpartition(".")[2]
