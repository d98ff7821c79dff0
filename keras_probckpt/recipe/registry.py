"""Names that user code registered itself: builders and mixin classes, and what Keras's own registry holds.

What is found here needs no trust in a file: the caller's own process defined it and said so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tf_keras import saving

__all__ = ["find_registered", "register_builder", "register_class"]

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
