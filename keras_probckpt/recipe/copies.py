"""Copies of what a constructor was given, as far as others may change it: containers, arrays, settings objects.

A layer, a tensor, a function or any other object is not copied: it is the same one that the constructor was given.
"""

from __future__ import annotations

import argparse
import collections
import copy
import dataclasses
import functools
import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["Copies", "exchanged", "is_alike"]

_NAMESPACES = (types.SimpleNamespace, argparse.Namespace)
_CONTAINERS = (list, dict, set, collections.deque, collections.UserDict)


class Copies:
    """Copies values, each object once.

    Attributes:
        pairs: Each copy of an object whose identity may matter, and the object.
    """

    def __init__(self) -> None:
        self.pairs: list[tuple[Any, Any]] = []
        self._made: dict[int, Any] = {}

    def copy(self, value: Any) -> Any:
        """Copy a value and what it contains; what cannot be copied is taken as it is."""
        try:
            return self._copied(value)
        except Exception:  # noqa: BLE001 - a user's class may do anything when it is copied; the model is made all the same
            return value

    def _copied(self, value: Any) -> Any:
        if type(value) in (list, tuple):
            return type(value)(self._copied(item) for item in value)
        if type(value) is dict:
            return {key: self._copied(item) for key, item in value.items()}
        if not _is_changeable(value):
            return value
        if id(value) not in self._made:
            # Before its contents are, as it may contain itself.
            self._made[id(value)] = made = _blank(value)
            self.pairs.append((made, value))
            _put(made, ((key, self._copied(item)) for key, item in _contents(value).items()))
        return self._made[id(value)]


def exchanged(value: Any, objects: Mapping[int, Any]) -> Any:
    """Put other objects in the place of some, in a value and the lists, tuples and dicts that it contains.

    Args:
        value: A value.
        objects: The others, by the identity of those whose place they take.
    """
    if id(value) in objects:
        return objects[id(value)]
    if type(value) in (list, tuple):
        return type(value)(exchanged(item, objects) for item in value)
    if type(value) is dict:
        return {key: exchanged(item, objects) for key, item in value.items()}
    return value


def is_alike(one: Any, other: Any) -> bool:
    """Whether a copy holds the same as what it is a copy of holds now."""
    try:
        return _is_alike(one, other)
    except Exception:  # noqa: BLE001 - what cannot be compared, or contains itself, is left as it was
        return False


def _is_alike(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    if isinstance(one, (list, tuple)) and type(one) in (list, tuple):
        return len(one) == len(other) and all(map(_is_alike, one, other))
    if type(one) is dict or _is_changeable(one):
        mine, others = _contents(one), _contents(other)
        return list(mine) == list(others) and all(_is_alike(item, others[key]) for key, item in mine.items())
    return bool(one == other) if isinstance(one, (bool, int, float, complex, str, bytes)) else False


def _is_changeable(value: Any) -> bool:
    if isinstance(value, (*_NAMESPACES, *_CONTAINERS, functools.partial, np.ndarray)):
        return True
    return (
        dataclasses.is_dataclass(value)
        and not isinstance(value, type)
        and not isinstance(value, tf.__internal__.tracking.Trackable)
    )


def _blank(value: Any) -> Any:
    if isinstance(value, functools.partial):
        return functools.partial(value.func, *value.args, **value.keywords)
    return copy.copy(value)


def _contents(value: Any) -> Mapping[Any, Any]:
    """Return what may be changed of it, by the name, key or place that it has."""
    if isinstance(value, (list, set, collections.deque, np.ndarray)):
        return _items(value)
    if isinstance(value, functools.partial):
        return dict(value.keywords)
    if isinstance(value, dict):
        return {**dict(dict.items(value)), **getattr(value, "__dict__", {})}
    if isinstance(value, collections.UserDict):
        return dict(value.data)
    fields = [item.name for item in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else vars(value)
    return {name: getattr(value, name) for name in fields if hasattr(value, name)}


def _items(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, np.ndarray):  # Compared whole.
        return {}
    return dict.fromkeys(sorted(value, key=repr)) if isinstance(value, set) else dict(enumerate(value))


def _put(made: Any, contents: Iterable[tuple[Any, Any]]) -> None:
    for key, item in contents:
        if isinstance(made, functools.partial):
            made.keywords[key] = item
        elif isinstance(made, dict):
            if key in dict.keys(made):
                dict.__setitem__(made, key, item)
        elif isinstance(made, (list, collections.deque)):
            made[key] = item
        elif isinstance(made, collections.UserDict):
            made.data[key] = item
        elif not isinstance(made, set):
            object.__setattr__(made, key, item)
