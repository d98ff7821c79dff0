"""Names that user code registered itself: builders and mixin classes, and what Keras's own registry holds.

What is found here needs no trust in a file: the caller's own process defined it and said so.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from cloudpickle import cloudpickle
from tf_keras import saving
from tf_keras.src.saving import object_registration

__all__ = [
    "classes_unpickled_as",
    "find_registered",
    "pickled_classes",
    "register_builder",
    "register_class",
    "unchanged_registries",
]

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

_BUILDERS: dict[str, Callable[..., Any]] = {}


def register_class(cls: C) -> C:
    """Enter a class in Keras's registry under `module>qualified name`, which no two classes share."""
    saving.register_keras_serializable(package=cls.__module__, name=cls.__qualname__)(cls)
    return cls


def register_builder(function: F) -> F:
    """Enter a function that builds models under `module>qualified name`."""
    _BUILDERS[f"{function.__module__}>{function.__qualname__}"] = function
    return function


def find_registered(*names: str) -> Any:
    """Return what is registered under the first of the names that is; `None` if none is.

    Args:
        names: Names of the form `package>name`. Others are not looked up: Keras also finds a bare class name, and a
            bare name is too little to tell one user's class from another's.
    """
    for name in names:
        found = _BUILDERS.get(name) or (saving.get_registered_object(name) if ">" in name else None)
        if found is not None:
            return found
    return None


@contextlib.contextmanager
def unchanged_registries() -> Iterator[None]:
    """Take out again what is registered inside: what is made there is not for others to find."""
    registries: tuple[dict[Any, Any], ...] = (
        _BUILDERS,
        object_registration._GLOBAL_CUSTOM_OBJECTS,
        object_registration._GLOBAL_CUSTOM_NAMES,
    )
    kept = [dict(registry) for registry in registries]
    try:
        with classes_unpickled_as(weakref.WeakValueDictionary()):
            yield
    finally:
        for registry, entries in zip(registries, kept, strict=True):
            registry.clear()
            registry.update(entries)


@contextlib.contextmanager
def classes_unpickled_as(known: weakref.WeakValueDictionary[str, type]) -> Iterator[None]:
    """Let unpickling find no classes but those that it made itself, for the same `known`.

    cloudpickle would take a class of this process for the one that was pickled, and set each of its attributes anew.
    """
    kept = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID
    cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID = known
    try:
        yield
    finally:
        cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID = kept


def pickled_classes(module: str, name: str) -> Iterator[type]:
    """Find the classes of a qualified name that this process has pickled by value, the newest first."""
    for cls in reversed(list(cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.values())):
        if (cls.__module__, cls.__qualname__) == (module, name):
            yield cls
