"""Whether a model has changed since it was last looked at: by identity first, by value where that differs."""

from __future__ import annotations

import dataclasses
import operator
import random
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_probckpt.format.digest import digest_hex
from keras_probckpt.model.equality import is_same
from keras_probckpt.model.members import filled_cells, member
from keras_probckpt.model.objects import (
    Place,
    bookkeeping_of,
    children_of,
    class_data_of,
    is_atom,
    is_graph_network,
    is_of_library,
    is_tracked,
    walk,
)
from keras_probckpt.model.own_names import functions_of, global_names
from keras_probckpt.model.tables import TABLES, contents_of

__all__ = ["ModelWatch"]

_SMALL_BYTES = 1 << 12
_UNSEEN_PREFIXES = ("_self_", "_keras_probckpt")
_GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)


@dataclasses.dataclass(frozen=True, eq=False)
class _Look:
    """What was there when the model was looked at.

    Attributes:
        places: The walk over the model.
        globals: The walk over the data that its functions read from their modules.
        dicts: What objects and modules keep their attributes in, each with the names that count.
        others: What holds items and has no attributes.
        stateful: Arrays, tables and random generators, which change without any reference to them changing.
    """

    places: Sequence[Place]
    globals: Sequence[Place]
    dicts: Sequence[tuple[Mapping[str, Any], Sequence[str]]]
    others: Sequence[Any]
    stateful: Mapping[tuple[str, ...], Any]

    def sizes(self) -> list[int]:
        return [len(attributes) for attributes, _ in self.dicts]

    def items(self) -> list[Any]:
        items: list[Any] = []
        for attributes, names in self.dicts:
            items += map(attributes.get, names)
        for other in self.others:
            items.extend(_items_of(other))  # "+=" asks TensorFlow's wrapper of a tuple to add it.
        return items

    def states(self) -> dict[tuple[str, ...], Any]:
        return {path: _state_of(item) for path, item in self.stateful.items()}


class ModelWatch:
    """Tells whether the objects of a model hold anything else than at the last look.

    A look costs time by the number of objects, not by what they hold: an object's attributes are compared by identity,
    and by value only where that differs. An array that can be written to is compared by its bytes.
    """

    def __init__(self) -> None:
        self.changed: frozenset[str] = frozenset()
        """Names of the model's attributes in which the last change was; of the model itself and of globals, `""`."""
        self._look: _Look | None = None
        self._sizes: list[int] = []
        self._items: list[Any] = []
        self._states: Mapping[tuple[str, ...], Any] = {}

    @property
    def places(self) -> Sequence[Place]:
        """The walk over the model as of the last look."""
        return () if self._look is None else self._look.places

    def has_changed(self, roots: Mapping[str, Any]) -> bool:
        """Look at a model; whether anything in it is other than at the last look, as it is at the first.

        Args:
            roots: Where the walk over the model begins.
        """
        before = self._look
        if before is not None and self._is_as_it_was(before, roots):
            return False
        now = _look_at(roots)
        states, old_states = now.states(), self._states
        self._look, self._sizes, self._items, self._states = now, now.sizes(), now.items(), states
        if before is None or not _are_same_places(before.globals, now.globals) or states != old_states:
            self.changed = frozenset({""})
        else:
            self.changed = frozenset(path[0] if path else "" for path in _changed_paths(before.places, now.places))
        return bool(self.changed)

    def _is_as_it_was(self, look: _Look, roots: Mapping[str, Any]) -> bool:
        is_same_root = all(look.places[index].item is root for index, root in enumerate(roots.values()))
        items = look.items() if is_same_root and look.sizes() == self._sizes else []
        return (
            len(items) == len(self._items)
            and all(map(operator.is_, items, self._items))
            and all(_state_of(item) == self._states[path] for path, item in look.stateful.items())
        )


def _look_at(roots: Mapping[str, Any]) -> _Look:
    places = list(walk(roots))
    modules = list(_read_globals(list(_functions_in(places))))
    data = {str(index): {name: items[name] for name in names} for index, (items, names) in enumerate(modules)}
    global_places = list(walk(data))
    dicts: list[tuple[Mapping[str, Any], Sequence[str]]] = list(modules)
    others: list[Any] = []
    stateful: dict[tuple[str, ...], Any] = {}
    for place in (*places, *global_places):
        if _has_attributes(place.item):
            dicts.append((vars(place.item), _names_that_count(place.item)))
            others += [place.item] if is_graph_network(place.item) else []
            dicts += [(vars(base), names) for base, names in class_data_of(type(place.item))]
        elif not (place.path and place.item is data.get(place.path[0])):
            others.append(place.item)
        stateful.update({(*place.path, name): child for name, child in place.children.items() if _is_stateful(child)})
    return _Look(places, global_places, dicts, others, stateful)


def _functions_in(places: Sequence[Place]) -> Iterator[types.FunctionType]:
    for cls in dict.fromkeys(base for place in places for base in type(place.item).__mro__ if not is_of_library(base)):
        yield from functions_of(cls)
    yield from (place.item for place in places if isinstance(place.item, types.FunctionType))


def _read_globals(functions: Sequence[types.FunctionType]) -> Iterator[tuple[Mapping[str, Any], Sequence[str]]]:
    read: dict[int, tuple[Mapping[str, Any], dict[str, None]]] = {}
    for function in functions:
        if is_of_library(function):
            continue
        namespace = function.__globals__
        _, names = read.setdefault(id(namespace), (namespace, {}))
        names.update({name: None for name in global_names(function.__code__) if _is_data(namespace.get(name))})
    yield from ((namespace, tuple(names)) for namespace, names in read.values() if names)


def _is_data(value: Any) -> bool:
    is_code = isinstance(value, (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType))
    return value is not None and not is_code and not is_tracked(value)


def _has_attributes(item: Any) -> bool:
    is_container = isinstance(item, (list, tuple, dict, types.FunctionType, types.MethodType))
    return not is_container and hasattr(item, "__dict__")


def _names_that_count(item: Any) -> Sequence[str]:
    left_out = bookkeeping_of(type(item))
    return [name for name in vars(item) if name not in left_out and not name.startswith(_UNSEEN_PREFIXES)]


def _items_of(item: Any) -> Sequence[Any]:
    if is_graph_network(item):
        layers: Sequence[Any] = item._self_tracked_trackables
        return layers
    items = member(item, "__wrapped__", item)
    if isinstance(items, Mapping):
        return list(items.values())
    if isinstance(items, (list, tuple)):
        return getattr(items, "_storage", items)
    if isinstance(item, types.FunctionType):
        return [cell.cell_contents for cell in filled_cells(item).values()]
    return list(item) if hasattr(item, "__iter__") and hasattr(item, "__len__") else ()


def _is_stateful(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.flags.writeable
    return isinstance(value, (*_GENERATORS, *TABLES, set))


def _state_of(item: Any) -> Any:
    if isinstance(item, np.ndarray):
        content = item.tobytes() if item.nbytes <= _SMALL_BYTES or item.dtype.hasobject else None
        return (
            item.shape,
            item.dtype,
            digest_hex(np.ascontiguousarray(item).view(np.uint8).data) if content is None else content,
        )
    if isinstance(item, TABLES):
        return contents_of(item).key()
    if isinstance(item, set):
        return frozenset(item)
    if isinstance(item, random.Random):
        return item.getstate()
    state = item.bit_generator.state if isinstance(item, np.random.Generator) else item.get_state(legacy=False)
    return repr(state)


def _are_same_places(before: Sequence[Place], now: Sequence[Place]) -> bool:
    return not any(True for _ in _changed_paths(before, now))


def _changed_paths(before: Sequence[Place], now: Sequence[Place]) -> Iterator[tuple[str, ...]]:
    # By path: an attribute that is set anew comes last among those of its object.
    known, found = ({place.path: place for place in places} for places in (before, now))
    yield from (path for path in found if path not in known)
    yield from (path for path, place in known.items() if path not in found or not _is_same_place(place, found[path]))


def _is_same_place(before: Place, now: Place) -> bool:
    return before.children.keys() == now.children.keys() and all(
        _is_same_child(child, now.children[name]) for name, child in before.children.items()
    )


def _is_same_child(before: Any, now: Any) -> bool:
    if before is now or is_tracked(before) or is_tracked(now):
        return before is now
    if is_atom(before) or isinstance(before, types.FunctionType):
        return is_same(before, now)
    if children_of(now) is None:
        return is_same(before, now)
    return type(before) is type(now)  # What it holds is a place of its own.
