"""The state of a model that is no variable: what its objects hold, by path.

A model is rebuilt by calling constructors, and a constructor makes what its arguments say. What was set afterwards,
drawn in a constructor, or attached from outside is found here, as the live object has it, and put back into the rebuilt
one.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt.model.equality import closed_over, is_same, is_same_code
from keras_probckpt.model.members import member
from keras_probckpt.model.objects import (
    FOLLOWED_OF_LIBRARIES,
    Place,
    child_of,
    children_of,
    is_atom,
    is_graph_network,
    is_of_library,
    is_tracked,
    walk,
)
from keras_probckpt.model.own_names import argument_names, is_made_by, names_set_by
from keras_probckpt.model.tables import TABLES, TableContents, contents_of, put_contents

__all__ = [
    "COMPILE",
    "Attributes",
    "BoundFunction",
    "attached_to",
    "closed_names",
    "find_attributes",
    "find_object",
    "holding_ids",
    "is_data",
    "is_foreign",
    "put_attribute",
    "roots_of",
]

# Below this name stand the arguments of `compile`; everything else is below the model.
COMPILE = "compile~"
# What a layer of Keras or TFP made for itself is stored up to this size; beyond that it is made again.
_LIMIT_MADE_BYTES = 1 << 16
# Each process makes up its own names.
_MADE_UP = frozenset({"name", "_name"})
_OPTIMIZERS = (tfk.optimizers.Optimizer, tfk.optimizers.legacy.Optimizer)
_LEFT_BY_COMPILE = frozenset({"loss", "optimizer", "loss_weights"})
_CONTAINERS = (list, tuple, dict, collections.deque)

PathNames = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class BoundFunction:
    """A function that was put on an object as its method.

    Attributes:
        function: The function; its first argument is the object.
    """

    function: Any


@dataclasses.dataclass(frozen=True)
class Attributes:
    """What a model's objects hold, by the path of the object.

    Attributes:
        values: Numbers, text, arrays, functions, and objects that hold no variable or layer.
        attached: What holds variables or layers, under names that the object's own class never sets.
    """

    values: Mapping[PathNames, Mapping[str, Any]]
    attached: Mapping[PathNames, Mapping[str, Any]]


def roots_of(model: tfk.Model) -> dict[str, Any]:
    """Give where the walk over a model begins: the model, and the arguments it was compiled with."""
    compiled = getattr(model, "_compile_config", None)
    return {"": model, **({} if compiled is None else {COMPILE: compiled.config})}


def find_attributes(places: Sequence[Place], *, told: Callable[[Any], Iterable[str] | None]) -> Attributes:
    """Find the state of a model's objects.

    Left out is what a layer of a library made for itself, for the rebuilt one makes it again.

    Args:
        places: The walk over the model.
        told: Gives the names under which it is recorded elsewhere what an object holds; None for an object that is not
            recorded by itself, but made by the constructor of another.
    """
    holding = holding_ids(places)
    values: dict[PathNames, dict[str, Any]] = {}
    attached: dict[PathNames, dict[str, Any]] = {}
    made: set[PathNames] = set()
    for place in places:
        names = told(place.item)
        if (names is None and place.path in made) or place.path == (COMPILE,):
            made.update((*place.path, name) for name in place.children if place.path in made)
            continue
        made.update((*place.path, name) for name in _made_by_layer(place, is_told=names is not None))
        if names is None and not _is_followed(place, holding):
            continue
        left_out = _recorded_elsewhere(place.item, names)
        for name, child in place.children.items():
            if name in left_out:
                continue
            if is_tracked(child) or (id(child) in holding and not is_atom(child)):
                if is_foreign(place.item, name):
                    attached.setdefault(place.path, {})[name] = _bound(place.item, child)
            elif _is_recorded(place.item, name, child):
                values.setdefault(place.path, {})[name] = _bound(place.item, child)
    return Attributes(values, attached)


def _made_by_layer(place: Place, *, is_told: bool) -> list[str]:
    """Name what a layer of a library made for itself, and not of an argument that its maker gave it."""
    item = place.item
    if not isinstance(item, tfk.layers.Layer) or not is_of_library(type(item)) or is_graph_network(item):
        return []
    given = frozenset() if is_told else argument_names(type(item))
    return [name for name in place.children if name not in given and not is_foreign(item, name)]


def closed_names(item: Any, names: Iterable[str]) -> list[str]:
    """Name what an object of a library made for itself; what it was given, and what a container holds, is the user's.

    Args:
        item: The object.
        names: The names of what it holds.
    """
    if not is_of_library(type(item)) or is_graph_network(item) or isinstance(item, _CONTAINERS):
        return []
    given = argument_names(type(item)) if isinstance(item, tfk.layers.Layer) else frozenset()
    return [name for name in names if name not in given]


def attached_to(item: Any) -> dict[str, Any]:
    """Find what was put on one object under names that its class never sets: layers, variables, methods."""
    children = children_of(item) or {}
    found = {name: child for name, child in children.items() if is_foreign(item, name)}
    return {name: _bound(item, child) for name, child in found.items() if not is_atom(child)}


def _recorded_elsewhere(item: Any, names: Iterable[str] | None) -> frozenset[str]:
    if names is None:
        return frozenset()
    arguments = argument_names(type(item)) if is_of_library(type(item)) else frozenset()
    return arguments.union(names)


def holding_ids(places: Sequence[Place]) -> set[int]:
    """Find the objects that hold a variable or a layer, near or far."""
    holders: dict[int, list[int]] = collections.defaultdict(list)
    pending: list[int] = []
    for place in places:
        for child in place.children.values():
            if is_tracked(child):
                pending.append(id(place.item))
            elif not is_atom(child):
                holders[id(child)].append(id(place.item))
    found: set[int] = set()
    while pending:
        key = pending.pop()
        if key not in found:
            found.add(key)
            pending.extend(holders[key])
    return found


def _is_followed(place: Place, holding: set[int]) -> bool:
    """Whether what an object holds is looked at one by one, and not the object as a whole."""
    if isinstance(place.item, types.FunctionType):
        return True  # What it closes over; itself it is recorded by who holds it.
    return id(place.item) in holding or len(place.path) < 1 or place.path[0] == COMPILE or is_tracked(place.item)


def is_foreign(item: Any, name: str) -> bool:
    """Whether a name is not among those that the class of an object sets itself."""
    is_plain = is_of_library(type(item)) and not isinstance(item, FOLLOWED_OF_LIBRARIES)
    if is_plain or isinstance(item, (*_CONTAINERS, types.FunctionType, types.MethodType, functools.partial)):
        return False
    if _is_users_method(item, name):
        return True
    names = names_set_by(type(item))
    return names is not None and name not in names and name in getattr(item, "__dict__", ())


def _is_users_method(item: Any, name: str) -> bool:
    """Whether an object holds a function of the user's in place of a method of its class."""
    held = (member(item, "__dict__") or {}).get(name)
    is_function = isinstance(held, (types.FunctionType, types.MethodType))
    return is_function and callable(member(type(item), name)) and not is_of_library(member(held, "__func__", held))


def _is_recorded(item: Any, name: str, child: Any) -> bool:
    if isinstance(child, types.FunctionType) and (is_made_by(type(item), child) or _is_made_by_library(child)):
        return False
    if isinstance(child, types.MethodType) and not is_foreign(item, name):
        return False
    # Nothing can be put into a tuple.
    if isinstance(item, tuple) or (isinstance(item, tfk.Model) and name in _LEFT_BY_COMPILE):
        return False
    if isinstance(item, types.FunctionType):
        return not is_of_library(item) and is_data(child)
    if is_of_library(type(item)) and not isinstance(item, _CONTAINERS):
        is_argument = name in argument_names(type(item)) and name not in _MADE_UP
        is_function = isinstance(child, types.FunctionType) and not isinstance(item, tfk.layers.Layer)
        is_count = isinstance(item, _OPTIMIZERS) and isinstance(child, int)  # As Nadam has one of its products.
        return is_argument or is_function or is_count or is_foreign(item, name) or _is_small_distribution(child)
    return True


def _is_made_by_library(function: types.FunctionType) -> bool:
    return is_of_library(function) and ("<locals>" in function.__qualname__ or "<lambda>" in function.__qualname__)


def _is_small_distribution(value: Any) -> bool:
    """Whether a value is a prior, which a layer made of a function that it was given or which was put in its place."""
    return isinstance(value, tfp.distributions.Distribution) and _size_bytes(value) <= _LIMIT_MADE_BYTES


def is_data(value: Any) -> bool:
    """Whether a value is a number, text, an array or the like, or a container of these."""
    if isinstance(value, _CONTAINERS):
        items = value.values() if isinstance(value, dict) else value
        return all(map(is_data, items))
    return is_atom(value) and not isinstance(value, type)


def _bound(item: Any, child: Any) -> Any:
    if isinstance(child, types.MethodType) and child.__self__ is item:
        return BoundFunction(child.__func__)
    return contents_of(child) if isinstance(child, TABLES) else child


def _size_bytes(value: Any) -> int:
    """Sum the memory of the arrays and tensors in a value."""
    return sum(_own_size_bytes(item) for place in walk({"": value}) for item in place.children.values()) or (
        _own_size_bytes(value)
    )


def _own_size_bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, tf.Tensor):
        return (value.shape.num_elements() or 0) * (value.dtype.size or 1)
    return 0


def find_object(roots: Mapping[str, Any], path: PathNames) -> Any:
    """Follow a path.

    Raises:
        KeyError: If no object is there.
    """
    root, names = (roots[path[0]], path[1:]) if path and path[0] in roots else (roots[""], path)
    found = functools.reduce(child_of, names, root)
    if is_atom(found):
        raise KeyError(path)
    return found


def put_attribute(item: Any, name: str, value: Any) -> bool:
    """Let an object hold a value under a name, if it does not hold the same already.

    Returns:
        Whether it was put there.

    Raises:
        AttributeError, TypeError, KeyError, IndexError: If the object cannot hold it.
    """
    if isinstance(value, BoundFunction):
        value = types.MethodType(value.function, item)
    found = (children_of(item) or {}).get(name, _ABSENT)
    if isinstance(value, TableContents):
        return put_contents(found, value)
    if found is not _ABSENT and is_same(found, value):
        return False
    if (
        isinstance(found, types.FunctionType)
        and isinstance(value, types.FunctionType)
        and _is_other_closure(found, value)
    ):
        for cell_name, content in closed_over(value).items():
            put_attribute(found, cell_name, content)
    elif _takes_state_of(found, value):
        vars(found).clear()
        vars(found).update(vars(value))
    else:
        _set_child(item, name, value)
    return True


_ABSENT = object()


def _is_other_closure(one: types.FunctionType, other: types.FunctionType) -> bool:
    """Whether two functions differ in nothing but the data that they close over."""
    is_one = is_same_code(one.__code__, other.__code__) and one.__defaults__ == other.__defaults__
    return is_one and all(map(is_data, (*closed_over(one).values(), *closed_over(other).values())))


def _takes_state_of(found: Any, value: Any) -> bool:
    """Whether an object can become another one and stay the object that others refer to."""
    is_plain = not isinstance(found, (type, types.FunctionType, types.MethodType, functools.partial, *_CONTAINERS))
    return is_plain and not is_atom(found) and type(found) is type(value) and hasattr(found, "__dict__")


def _set_child(item: Any, name: str, value: Any) -> None:
    if isinstance(item, dict):
        key = next((key for key in item if str(key) == name), name)
        item[key] = value
    elif isinstance(item, (list, collections.deque)):
        item[int(name)] = value
    elif isinstance(item, types.FunctionType):
        place = item.__code__.co_freevars.index(name)
        (item.__closure__ or ())[place].cell_contents = value
    else:
        try:
            setattr(item, name, value)
        except AttributeError:  # A frozen dataclass, or a property that nobody may set.
            object.__setattr__(item, name, value)


def paths_of(attributes: Attributes) -> Iterator[PathNames]:
    """Give the paths of all objects whose state was found."""
    yield from dict.fromkeys((*attributes.values, *attributes.attached))
