"""What a model's objects hold beside variables and constructor arguments, written as nodes and put back by path.

The node is a list of `{"path": [...], "values": [[name, form, node], ...], "attached": [[name, form, node], ...]}`: an
object by the names that lead to it, what it holds, and what was put on it that its class does not know. The form is
`"value"`, `"method"` for a function that is its method, `"table"` for what a lookup table holds.

Of a checkpoint nobody vouches for, only data is put back, only into a model that the checkpoint itself made, and only
where there is a value of the same type already.
"""

from __future__ import annotations

import reprlib
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.format import strict_json
from keras_probckpt.format.requirements import requirements_of
from keras_probckpt.model.attributes import (
    BoundFunction,
    attached_to,
    find_attributes,
    find_object,
    is_data,
    put_attribute,
    roots_of,
)
from keras_probckpt.model.equality import closed_over, is_same, is_same_code
from keras_probckpt.model.objects import Place, children_of, is_atom, is_tracked
from keras_probckpt.model.tables import TableContents
from keras_probckpt.recipe.code_uses import label_of
from keras_probckpt.recipe.codec import Decoder, Encoder, Node, field, untrusted
from keras_probckpt.recipe.strangers import may_put

__all__ = ["Only", "encode_attached", "find_recorded", "put_attached", "put_attributes", "record_attributes"]

# Each process makes up its own.
_MADE_UP = frozenset({"seed", "_seed"})
_FORMS = ("value", "method", "table")
_MOST_DEEP = 16

# Of a model that was not called yet: what is not there; that and what is None; what is a layer or a variable there.
Only = Literal["absent", "None", "tracked"]


def record_attributes(places: Sequence[Place], encoder: Encoder) -> list[Node]:
    """Write what the objects of a model hold; what cannot be written is left out.

    Args:
        places: The walk over the model.
        encoder: Has written the model already, so that what is an argument of a node is not written again.
    """
    found = find_attributes(places, told=lambda item: _told(item, encoder))
    entries = _Entries(encoder)
    for path, values in found.values.items():
        for name, value in values.items():
            entries.add("values", path, name, value)
    for path, values in found.attached.items():
        for name, value in values.items():
            entries.add("attached", path, name, value)
    return entries.written()


def _told(item: Any, encoder: Encoder) -> Iterable[str] | None:
    if not encoder.is_written(item):
        return None
    return attached_to(item)


class _Entries:
    """Gathers what is written, by the path of the object."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._entries: dict[tuple[str, ...], dict[str, list[Node]]] = {}

    def add(self, part: Literal["values", "attached"], path: tuple[str, ...], name: str, value: Any) -> None:
        node = _encoded(value, self._encoder, "/".join((*path, name)))
        if node is not None:
            self._entries.setdefault(path, {}).setdefault(part, []).append([name, *node])
        elif part == "values" and not is_atom(value) and len(path) < _MOST_DEEP:
            # Of an object that cannot be written whole, such as one that holds a logger, all else can.
            for inner, item in (children_of(value) or {}).items():
                self.add(part, (*path, name), inner, item)

    def written(self) -> list[Node]:
        return [{"path": list(path), **parts} for path, parts in self._entries.items()]


def _encoded(value: Any, encoder: Encoder, where: str) -> list[Node] | None:
    """Write a value as its form and its node; None where it cannot be written."""
    try:
        with encoder.undone_on_error():
            if isinstance(value, BoundFunction):
                return ["method", encoder.encode(value.function, where)]
            if isinstance(value, TableContents):
                return ["table", encoder.encode([value.keys, value.values], where)]
            return ["value", encoder.encode(value, where)]
    except UnrecordableError:
        return None


def encode_attached(item: Any, encoder: Encoder, where: str) -> list[Node]:
    """Write what was put on an object from outside, to be there before the object is called."""
    found = {name: _encoded(value, encoder, f"{where}.{name}") for name, value in attached_to(item).items()}
    return [[name, *node] for name, node in found.items() if node is not None]


def put_attached(item: Any, recorded: Node, decoder: Decoder, where: str) -> None:
    """Put on an object what `encode_attached` wrote.

    Raises:
        MalformedRecipeError: If the checkpoint's author is not trusted: what is put on an object may replace its code.
    """
    if not decoder.is_trusted:
        problem = f"{type(item).__name__} had attributes put on it, which only a trusted checkpoint may do"
        raise untrusted(where, problem)
    for name, form, node in _checked(recorded, where):
        _put(item, name, _value(form, node, decoder, f"{where}.{name}"), where)


def put_attributes(
    model: tfk.Model,
    entries: Sequence[Node],
    decoder: Decoder,
    *,
    only: Only | None = None,
    kept: Mapping[int, Collection[str]],
) -> tuple[list[str], list[Node]]:
    """Put back what the objects of a model held.

    Args:
        model: The model.
        entries: What `record_attributes` wrote.
        decoder: Reads the nodes.
        only: For a model that was not called yet: what of it to put back.
        kept: Names of arguments that the objects of these ids were given otherwise than before, on purpose: attributes
            of these names stay as they are.

    Returns:
        What was other than recorded, each as a line with both values; and the entries of objects that are not there.

    Raises:
        MalformedRecipeError: If the entries are not of the form that `record_attributes` gives them.
    """
    changed, absent = [], []
    for where, entry, item in find_recorded(model, entries, "attributes"):
        if item is None:
            absent.append(entry)
            continue
        changed += _put_entry(item, _without(entry, kept.get(id(item), ()), where), decoder, where, only=only)
    return changed, absent


def find_recorded(
    model: tfk.Model, entries: Sequence[Node], part: str
) -> Iterator[tuple[str, dict[str, Node], Any | None]]:
    """Find the objects of a model that a recipe says something of, each when it is asked for.

    Args:
        model: The model.
        entries: What the recipe says of each, with its `path`.
        part: Where in the recipe that is.

    Returns:
        For each the place in the recipe, the entry, and the object; None where there is none at the path.

    Raises:
        MalformedRecipeError: If an entry has no path.
    """
    roots = roots_of(model)
    for index, entry in enumerate(entries):
        where = f"{part}[{index}]"
        if not isinstance(entry, dict):
            raise MalformedRecipeError(where=where, problem=f"an object is needed, not {entry!r:.80}")
        path = tuple(map(str, field(entry, "path", list, where)))
        try:
            item = find_object(roots, path)
        except KeyError:
            item = None
        yield where, entry, item


def _place_of(item: Any, path: Sequence[str]) -> str:
    if isinstance(item, types.FunctionType):
        return f"{label_of(item)}: "
    return "".join(f"{name}." for name in path)


def _lines(place: str, name: str, saved: Any, rebuilt: Any) -> list[str]:
    """Say how two values differ, where that can be said in a line."""
    if name in _MADE_UP:
        return []
    are_functions = isinstance(saved, types.FunctionType) and isinstance(rebuilt, types.FunctionType)
    # Keras wraps its activations in functions of one code, which are told apart by their names.
    if are_functions and label_of(saved) == label_of(rebuilt) and is_same_code(saved.__code__, rebuilt.__code__):
        before, after = closed_over(saved), closed_over(rebuilt)
        pairs = [(key, before[key], after[key]) for key in before if key in after]
        other = [(key, one, two) for key, one, two in pairs if is_data(one) and is_data(two) and not is_same(one, two)]
        return [f"{label_of(rebuilt)}: {key}: saved {_shown(one)}, rebuilt {_shown(two)}" for key, one, two in other]
    if not are_functions and not (is_data(saved) and is_data(rebuilt)):
        return []
    return [f"{place}{name.removeprefix('_')}: saved {_shown(saved)}, rebuilt {_shown(rebuilt)}"]


def _without(entry: dict[str, Node], names: Collection[str], where: str) -> dict[str, Node]:
    values = _checked(entry.get("values", []), where)
    return {**entry, "values": [one for one in values if one[0].removeprefix("_") not in names]}


def _put_entry(item: Any, entry: dict[str, Node], decoder: Decoder, where: str, *, only: Only | None) -> list[str]:
    present = children_of(item) or {}
    values = _checked(entry.get("values", []), where)
    if only is not None:
        values = [one for one in values if _is_due(only, one[0], present)]
    attached = []
    for one in _checked(entry.get("attached", []), where):
        if one[0] not in present:
            attached.append(one)
        elif isinstance(
            present[one[0]], tf.Variable
        ):  # The constructor made it: it is the one that the node stands for.
            decoder.adopt(one[2], present[one[0]])
    changed = []
    for name, form, node in (*values, *attached):
        found = present.get(name)
        if not decoder.is_trusted and not (_is_harmless(form, node, found) and may_put(item, name, found)):
            continue
        value = _value(form, node, decoder, f"{where}.{name}")
        lines = _lines(_place_of(item, entry["path"]), name, value, found)
        if (decoder.is_trusted or type(value) is type(found)) and _put(item, name, value, where):
            changed += lines
    return changed


def _is_due(only: Only, name: str, present: Mapping[str, Any]) -> bool:
    if only == "tracked":
        return name in present and is_tracked(present[name])
    return name not in present or (only == "None" and present[name] is None)


def _checked(recorded: Node, where: str) -> list[Any]:
    is_list = isinstance(recorded, list) and all(
        isinstance(item, list) and len(item) == 3 and isinstance(item[0], str) and item[1] in _FORMS  # noqa: PLR2004
        for item in recorded
    )
    if not is_list:
        raise MalformedRecipeError(where=where, problem=f"a list of names, forms and nodes is needed: {recorded!r:.80}")
    return list(recorded)


def _is_harmless(form: str, node: Node, present: Any) -> bool:
    """Whether a stranger's file may put a value there: data, where there is data."""
    return form == "value" and not requirements_of(node) and is_atom(present) and not isinstance(present, type)


def _value(form: str, node: Node, decoder: Decoder, where: str) -> Any:
    value = decoder.decode(node, where)
    if form == "method":
        return BoundFunction(value)
    if form == "table":
        return TableContents(*value)
    return value


def _put(item: Any, name: str, value: Any, where: str) -> bool:
    try:
        return put_attribute(item, name, value)
    except Exception as error:
        problem = f"{type(item).__name__} does not take it ({type(error).__name__}: {error})"
        raise MalformedRecipeError(where=f"{where}.{name}", problem=problem) from error


def _shown(value: Any) -> str:
    if isinstance(value, (type, types.FunctionType)):
        return repr(label_of(value).rpartition(".")[2])
    return strict_json.preview(value) if isinstance(value, (str, int, float, type(None))) else reprlib.repr(value)
