"""The names under which another process finds a class or function.

A module counts only if a fresh interpreter finds the same file under its name: the main script, a module made in memory
and one that was loaded from a path of its own are in `sys.modules` of this process alone.

What a library defines is named as its users name it: `tensorflow.broadcast_dynamic_shape`. The module that defines it
is private and moves from release to release.
"""

from __future__ import annotations

import functools
import importlib.machinery
import inspect
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_probckpt.model.members import member

__all__ = ["SCRIPTS", "find_attribute", "import_name", "import_names", "is_importable"]

# The main script, here and in a process that `multiprocessing` spawned: each process has its own.
SCRIPTS = ("__main__", "__mp_main__")

# By name: the module that was looked for, and whether it was found. Another may come to stand under the name.
_FOUND: dict[str, tuple[types.ModuleType, bool]] = {}


def import_name(value: Any) -> tuple[str, str] | None:
    """Return `(module, qualified name)` under which a fresh process can import a value; `None` if there is none."""
    return next(import_names(value), None)


def import_names(value: Any) -> Iterator[tuple[str, str]]:
    """Find each `(module, qualified name)` by which a value can be imported, that of its users first."""
    for module, name in _candidates(value):
        if find_attribute(sys.modules.get(module), name) is value and is_importable(module):
            yield module, name


def find_attribute(holder: Any, name: str) -> Any:
    """Return what stands under a qualified name in a module; `None` if nothing does."""
    try:
        return functools.reduce(getattr, name.split("."), holder)
    except AttributeError:  # A local function, a lambda, or a name since rebound.
        return None


def is_importable(name: str) -> bool:
    """Whether a fresh process that imports a module of this name gets the one that has it in this process."""
    module = sys.modules.get(name)
    if module is None or name in SCRIPTS:
        return False
    if name not in _FOUND or _FOUND[name][0] is not module:
        _FOUND[name] = module, _is_found(name, module)
    return _FOUND[name][1]


def _is_found(name: str, module: types.ModuleType) -> bool:
    parent = name.rpartition(".")[0]
    if parent and not is_importable(parent):
        return False
    spec = _find_spec(name, getattr(sys.modules[parent], "__path__", None) if parent else None)
    if spec is None:
        # A package of a library makes some of its modules in memory whenever it is imported.
        return bool(parent) and _is_installed(sys.modules[name.partition(".")[0]])
    here = getattr(module, "__file__", None)
    return not spec.has_location or spec.origin is None or here is None or _is_same_file(spec.origin, here)


def _find_spec(name: str, path: Any) -> importlib.machinery.ModuleSpec | None:
    """Ask the finders of this process for a module, as the first import of it does."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec: importlib.machinery.ModuleSpec | None = find(name, path) if find is not None else None
        except Exception:  # noqa: BLE001 - a finder may be anybody's; one that fails here finds nothing elsewhere
            spec = None
        if spec is not None:
            return spec
    return None


def _is_installed(module: types.ModuleType) -> bool:
    file = getattr(module, "__file__", None) or ""
    return any(f"{os.sep}{part}{os.sep}" in file for part in ("site-packages", "dist-packages"))


def _is_same_file(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _candidates(value: Any) -> Iterator[tuple[str, str]]:
    module, name = _text(value, "__module__"), _text(value, "__qualname__")
    owner = _text(member(value, "__objclass__"), "__module__")  # A method of a class written in C has no module.
    if isinstance(value, np.ufunc):  # Before numpy 2.2, and outside of numpy, it says only its name.
        module, name = module or "numpy", name or value.__name__
    if not module and type(member(value, "__self__")).__module__.startswith("numpy.random"):
        module = "numpy.random"  # Before numpy 2, its functions do not say it.
    module = module or owner
    package = module.partition(".")[0]
    if package in _PUBLIC_NAMES:
        yield from ((package, public) for public in _PUBLIC_NAMES[package](value, module, name))
    if module and name:
        yield module, name
    if isinstance(value, np.ufunc):
        yield "scipy.special", value.__name__
    if package == "numpy" and module:  # Those of `numpy.random` are methods of a generator that all of them share.
        yield module, _text(value, "__name__")


def _tensorflow_names(value: Any, _module: str, _name: str) -> Iterator[str]:
    bare = inspect.unwrap(value) if isinstance(value, types.FunctionType) else value
    yield from _own(bare, "_tf_api_names")
    yield from (f"compat.v1.{name}" for name in _own(bare, "_tf_api_names_v1"))


def _keras_names(value: Any, _module: str, _name: str) -> Iterator[str]:
    bare = inspect.unwrap(value) if isinstance(value, types.FunctionType) else value
    yield from (name.removeprefix("keras.") for name in _own(bare, "_keras_api_names"))


def _probability_names(_value: Any, module: str, name: str) -> Iterator[str]:
    """TFP says nowhere what is public: the packages around the private module are, the outermost first."""
    parts = module.split(".")[2:]  # Of `tensorflow_probability.python`.
    yield from (".".join([*parts[:depth], name]) for depth in range(1, len(parts)))


def _own(value: Any, attribute: str) -> tuple[str, ...]:
    """Read names that a library gave to this very object: a class would hand those of its parent on."""
    names = vars(value).get(attribute) if isinstance(value, (type, types.FunctionType)) else None
    return tuple(names) if isinstance(names, (tuple, list)) else ()


_PUBLIC_NAMES = {
    "tensorflow": _tensorflow_names,
    "tf_keras": _keras_names,
    "tensorflow_probability": _probability_names,
}


def _text(value: Any, attribute: str) -> str:
    found = member(value, attribute)
    return found if isinstance(found, str) else ""
