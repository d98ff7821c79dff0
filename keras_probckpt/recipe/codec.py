"""The walk between constructor trees and plain JSON values.

A JSON object with the key `"$"` is a tagged node; the tag says which `Kind` reads it. Everything else stands for
itself. An object met twice is written once: the first node gets an `"id"`, later places say `{"$": "same", "id":
...}`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.model.members import member
from keras_probckpt.recipe.deferred import Deferred

__all__ = [
    "BUILDER_ADVICE",
    "KERAS_INSTRUCTION",
    "SAME",
    "TAG",
    "WORDS",
    "Decoder",
    "Encoder",
    "Kind",
    "Node",
    "definitions",
    "field",
    "is_plain",
    "untrusted",
]

TAG = "$"
SAME = "same"
# A plain dict with this key is what Keras's own loaders take as an instruction to import and call something.
KERAS_INSTRUCTION = "class_name"

# What JSON has a word for; for floats, if they are finite.
WORDS = frozenset({type(None), bool, int, float, str})

Node = Any
T = TypeVar("T")

BUILDER_ADVICE = "Write a function that builds the model and pass it as builder=: then only its arguments are recorded."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of value: how it is recognised, written and read.

    Attributes:
        tag: Value of the key `"$"` in its nodes.
        matches: Whether a live value is of this kind.
        encode: `(value, encoder, where) -> fields` of the node, without the tag; with it, where it is another kind's.
        decode: `(node, decoder, where) -> value`.
        is_shared: Whether identity matters, so that one object in two places stays one object.
    """

    tag: str
    matches: Callable[[Any], bool]
    encode: Callable[[Any, Encoder, str], dict[str, Node]]
    decode: Callable[[dict[str, Node], Decoder, str], Any]
    is_shared: bool = False


class Encoder:
    """Writes live values as nodes.

    Attributes:
        arrays: Arrays the nodes refer to, by the name they refer by.
        by_value: Functions and classes that have no importable name, in the order the nodes count them.
        code: Each of them, pickled.
        externals: Nodes for the objects that pickled functions reach, in the order the pickles count them.
        variables: Variables that nodes stand for, in the order the nodes count them.
    """

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.by_value: list[Any] = []
        self.code: list[bytes] = []
        self.externals: list[Node] = []
        self.variables: list[Any] = []
        self._kinds = kinds
        self._written: dict[int, Node] = {}
        self._open: set[int] = set()
        self._open_ids: dict[int, int] = {}
        self._external_numbers: dict[int, int] = {}
        self._kept_alive: list[Any] = []
        self._shared_count = 0

    def encode(self, value: Any, where: str) -> Node:
        """Write one value.

        Args:
            value: The live value.
            where: Its place, for error messages, such as `"model.layers[1].activation"`.

        Raises:
            UnrecordableError: If it is of no known kind, contains itself, or is nested too deeply.
        """
        try:
            return self._encoded(_unwrapped(value), where)
        except RecursionError as error:
            raise UnrecordableError(where=where, problem="it is nested too deeply", advice=BUILDER_ADVICE) from error

    def _encoded(self, value: Any, where: str) -> Node:
        if type(value) in WORDS and (type(value) is not float or math.isfinite(value)):
            return value
        if type(value) is list:
            return self.encode_items(value, where)
        for kind in self._kinds:
            if kind.matches(value):
                return self._encode_shared(kind, value, where) if kind.is_shared else self._node(kind, value, where)
        if type(value) is dict and is_plain(value):
            with self._no_cycle(value, where):
                return {key: self.encode(item, f"{where}[{key!r}]") for key, item in value.items()}
        raise UnrecordableError(
            where=where,
            problem=f"a {type(value).__module__}.{type(value).__qualname__} is of no kind that can be rebuilt",
            advice=BUILDER_ADVICE,
        )

    def is_shared(self, value: Any) -> bool:
        """Whether a value is of a kind whose identity matters."""
        kind = next((kind for kind in self._kinds if kind.matches(value)), None)
        return kind is not None and kind.is_shared

    def add_external(self, value: Any, where: str) -> int:
        """Write a value beside the document proper, for pickled functions to refer to; returns its number."""
        if id(value) not in self._external_numbers:
            is_cycle = id(value) in self._open and self.is_shared(value)
            node = self._open_one(value) if is_cycle else self.encode(value, where)
            self._external_numbers[id(value)] = len(self.externals)
            self.externals.append(node)
        return self._external_numbers[id(value)]

    @contextlib.contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Forget what was written inside if that ends with an error: nothing then refers to it."""
        lists: tuple[list[Any], ...] = (self.by_value, self.code, self.externals, self.variables, self._kept_alive)
        dicts: tuple[dict[Any, Any], ...] = (self.arrays, self._written, self._external_numbers)
        lengths = [len(kept) for kept in (*lists, *dicts)]
        try:
            yield
        except BaseException:
            for kept, length in zip(lists, lengths, strict=False):
                del kept[length:]
            for entries, length in zip(dicts, lengths[len(lists) :], strict=True):
                for key in list(entries)[length:]:
                    del entries[key]
            raise

    def is_written(self, value: Any) -> bool:
        """Whether an object whose identity matters has been written."""
        return id(value) in self._written

    def tag_of(self, value: Any) -> str | None:
        """Return the tag of the node that was written of an object whose identity matters; None where there is none."""
        node = self._written.get(id(value))
        return None if node is None else node[TAG]

    @property
    def size_bytes(self) -> int:
        """Memory of the arrays and pickles that were written."""
        return sum(array.nbytes for array in self.arrays.values()) + sum(map(len, self.code))

    def announce(self, value: Any, node: Node) -> None:
        """Let a node stand for a value before it is complete: what is in the value may lead back to it.

        Args:
            value: The value that is being written, of a kind whose identity matters.
            node: Its node, which the kind completes and returns.
        """
        self._written[id(value)] = node
        self._kept_alive.append(value)

    def encode_items(self, values: Sequence[Any], where: str) -> list[Node]:
        """Write each item of a sequence."""
        if set(map(type, values)) <= WORDS and all(math.isfinite(item) for item in values if type(item) is float):
            return list(values)  # As the history of a long training is, which each save writes down.
        with self._no_cycle(values, where):
            return [self.encode(item, f"{where}[{index}]") for index, item in enumerate(values)]

    def _node(self, kind: Kind, value: Any, where: str) -> Node:
        with self._no_cycle(value, where):
            fields = kind.encode(value, self, where)
        return fields if TAG in fields else {TAG: kind.tag, **fields}

    def _encode_shared(self, kind: Kind, value: Any, where: str) -> Node:
        if id(value) in self._written:
            first = self._written[id(value)]
            if "id" not in first:
                first["id"] = self._new_id()
            return {TAG: SAME, "id": first["id"]}
        node = self._node(kind, value, where)
        if id(value) in self._open_ids:
            node["id"] = self._open_ids.pop(id(value))
        self._written[id(value)] = node
        self._kept_alive.append(value)  # Its id() must not be given to another object while this encoder lives.
        return node

    def _open_one(self, value: Any) -> dict[str, Node]:
        """Refer to an object whose node is being written: a pickled function or object in it leads back to it."""
        if id(value) not in self._open_ids:
            self._open_ids[id(value)] = self._new_id()
        return {TAG: SAME, "id": self._open_ids[id(value)]}

    def _new_id(self) -> int:
        self._shared_count += 1
        return self._shared_count - 1

    @contextlib.contextmanager
    def _no_cycle(self, value: Any, where: str) -> Iterator[None]:
        if id(value) in self._open:
            raise UnrecordableError(where=where, problem="it contains itself", advice=BUILDER_ADVICE)
        self._open.add(id(value))
        try:
            yield
        finally:
            self._open.discard(id(value))


class Decoder:
    """Reads nodes as live values.

    Attributes:
        arrays: Arrays that nodes refer to, by name.
        variables: Variables made for nodes that stand for one, by the number the node gives.
        resolve: Finds the class or function that a reference node names, or refuses it.
        is_trusted: Whether all that the nodes ask for may be done: their author is trusted.
    """

    def __init__(
        self,
        kinds: Sequence[Kind],
        *,
        arrays: Mapping[str, np.ndarray[Any, Any]],
        resolve: Callable[[dict[str, Node], Decoder, str], Any],
        document: Node,
        is_trusted: bool = False,
    ) -> None:
        self.is_trusted = is_trusted
        self.arrays = arrays
        self.variables: dict[int, Any] = {}
        self.resolve = resolve
        self._kinds = {kind.tag: kind for kind in kinds}
        self._externals = document.get("externals") if isinstance(document, dict) else None
        self._decoded_externals: dict[int, Any] = {}
        self._definitions = dict(definitions(document))
        self._values: dict[int, Any] = {}
        self._open: set[int] = set()
        self._claimed: dict[str, int] = {}
        self._deferred: dict[int, Deferred] = {}

    def decode(self, node: Node, where: str) -> Any:
        """Read one node.

        Args:
            node: A JSON value.
            where: Its place, for error messages.

        Raises:
            MalformedRecipeError: If the node is not one that an `Encoder` writes.
        """
        try:
            return self._decoded(node, where)
        except RecursionError as error:
            raise MalformedRecipeError(where=where, problem="it is nested too deeply") from error

    def _decoded(self, node: Node, where: str) -> Any:
        if isinstance(node, list):
            return [self.decode(item, f"{where}[{index}]") for index, item in enumerate(node)]
        if not isinstance(node, dict):
            return node
        if TAG not in node:
            return self.decode_mapping(node, where)
        if node[TAG] == SAME:
            return self._shared(field(node, "id", int, where), where)
        if type(node.get("id")) is int:
            return self._shared(node["id"], where)
        return self._decode_tagged(node, where)

    def array(self, node: dict[str, Node], where: str) -> np.ndarray[Any, Any]:
        """Return the array that a node refers to. Each has one node: many that refer to one would be many copies."""
        name = field(node, "tensor", str, where)
        if name not in self.arrays:
            raise MalformedRecipeError(where=where, problem=f"recipe.safetensors has no tensor {name!r:.80}")
        if self._claimed.setdefault(name, id(node)) != id(node) and not self.is_trusted:
            raise MalformedRecipeError(where=where, problem=f"the tensor {name!r:.80} belongs to another node")
        return self.arrays[name]

    def announce(self, node: dict[str, Node], value: Any) -> None:
        """Let a value stand for a node before all of the node is read: what is in it may lead back to it."""
        if type(node.get("id")) is int:
            self._values[node["id"]] = value

    def adopt(self, node: Node, variable: Any) -> None:
        """Let a variable that is there already be the one that a node stands for."""
        index = node.get("index") if isinstance(node, dict) and node.get(TAG) == "variable" else None
        if type(index) is int:
            self.variables.setdefault(index, variable)

    def new_encoder(self) -> Encoder:
        """Return an encoder that writes what this reads."""
        return Encoder(list(self._kinds.values()))

    def definition_of(self, node: dict[str, Node]) -> dict[str, Node]:
        """Return the node that a node refers to; any that refers to none is itself."""
        return self._definitions.get(node.get("id", -1), node) if node.get(TAG) == SAME else node

    def known_value(self, node: Node) -> Any:
        """Return the value that was made for a node; None where there is none yet."""
        number = node.get("id") if isinstance(node, dict) else None
        return self._values.get(number) if type(number) is int else None

    def adopt_value(self, node: Node, value: Any) -> None:
        """Let a value that is there already be the one that a node stands for."""
        node = self.definition_of(node) if isinstance(node, dict) else node
        if isinstance(node, dict):
            self.announce(node, value)
            self.adopt(node, value)

    def external(self, number: int, where: str) -> Any:
        """Read what a pickled function refers to by number."""
        if number not in self._decoded_externals:
            if not isinstance(self._externals, list) or not 0 <= number < len(self._externals):
                raise MalformedRecipeError(where=where, problem=f"the recipe has no external object {number!r:.40}")
            node = self._externals[number]
            if isinstance(node, dict) and node.get(TAG) == SAME and node.get("id") in self._open:
                return self._deferred.setdefault(node["id"], Deferred(where))
            self._decoded_externals[number] = self.decode(self._externals[number], f"externals[{number}]")
        return self._decoded_externals[number]

    def decode_mapping(self, node: dict[str, Node], where: str) -> dict[str, Any]:
        """Read each value of a plain JSON object."""
        if KERAS_INSTRUCTION in node:
            raise MalformedRecipeError(
                where=where,
                problem=f"an object with the key {KERAS_INSTRUCTION!r} would make Keras import what it names",
            )
        return {key: self.decode(item, f"{where}[{key!r}]") for key, item in node.items()}

    def _decode_tagged(self, node: dict[str, Node], where: str) -> Any:
        kind = self._kinds.get(field(node, TAG, str, where))
        if kind is None:
            raise MalformedRecipeError(where=where, problem=f"the tag {node[TAG]!r:.80} is unknown")
        # Plain values are never shared: a few dozen tuples, each of the next one twice, would be 2**dozens of values.
        if "id" in node and not kind.is_shared:
            raise MalformedRecipeError(where=where, problem=f"a {kind.tag} has no id")
        return kind.decode(node, self, where)

    def _shared(self, number: int, where: str) -> Any:
        if number in self._values:
            return self._values[number]
        if number not in self._definitions:
            raise MalformedRecipeError(where=where, problem=f"no object has the id {number}")
        if number in self._open:
            raise MalformedRecipeError(where=where, problem=f"the object with the id {number} contains itself")
        self._open.add(number)
        self._values[number] = self._decode_tagged(self._definitions[number], where)
        self._open.discard(number)
        if number in self._deferred:
            self._deferred.pop(number).give_way(self._values[number])
        return self._values[number]


def field(node: dict[str, Node], name: str, kind: type[T], where: str) -> T:
    """Return a field of a node, which must be of the given type.

    Raises:
        MalformedRecipeError: If it is absent or of another type.
    """
    value = node.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise MalformedRecipeError(where=where, problem=f"{name!r} should be a {kind.__name__}, but is {value!r:.80}")
    return value


def untrusted(where: str, problem: str) -> MalformedRecipeError:
    """Make the error for what a recipe may only ask for whose author is trusted."""
    return MalformedRecipeError(where=where, problem=problem, advice="If you know who made it, pass trusted=True.")


def definitions(document: Node) -> Iterator[tuple[int, dict[str, Node]]]:
    """Find the nodes that have a number, each with it."""
    pending = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            pending.extend(node.values())
            if TAG in node and node[TAG] != SAME and type(node.get("id")) is int:
                yield node["id"], node


def _unwrapped(value: Any) -> Any:
    """Take off the wrapper that TensorFlow puts around a list, dict or tuple that is an attribute of a layer."""
    if type(value).__module__.startswith("tensorflow."):
        if isinstance(value, list):
            return list(value)
        if isinstance(value, (dict, tuple)):
            return member(value, "__wrapped__", value)
    return value


def is_plain(value: dict[Any, Any]) -> bool:
    """Whether a dict may stand for itself: its keys are strings, and none means something to us or to Keras."""
    return all(type(key) is str for key in value) and TAG not in value and KERAS_INSTRUCTION not in value
