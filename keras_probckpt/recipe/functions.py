"""Functions and classes as values: by name in a closed table, by import, or by value.

Three kinds of node stand for them:

- `{"$": "known", "name": "activations.relu"}`: an entry of the closed tables of `keras_objects` and `tfp_objects`.
- `{"$": "import", "module": ..., "name": ...}`: importable, so its name is enough; needs trust to be restored.
- `{"$": "pickle", "index": ..., "module": ..., "name": ..., "source": ...}`: defined in a script, a notebook, a
  function or as a lambda; kept in `code.pickle` by cloudpickle, its source beside it for people; needs trust to be
  restored.
"""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
import types
from collections.abc import Sequence
from typing import Any

import cloudpickle
from tf_keras import saving

from keras_probckpt.errors import UnrecordableError
from keras_probckpt.recipe.codec import BUILDER_ADVICE, TAG, Encoder, Kind, Node

__all__ = ["REFERENCE_KINDS", "encode_reference", "import_name", "is_referable", "pickle_by_value", "source_of"]

_REFERABLE = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial)


def is_referable(value: Any) -> bool:
    """Whether a value is a class or a function, to be stored by name or by value."""
    return isinstance(value, _REFERABLE)


def import_name(value: Any) -> tuple[str, str] | None:
    """Return `(module, qualified name)` under which a fresh process can import the value; `None` if there is none."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return None
    try:
        found = functools.reduce(getattr, name.split("."), sys.modules.get(module))
    except AttributeError:  # A local function, a lambda, or a name since rebound.
        return None
    return (module, name) if found is value else None


def source_of(value: Any) -> str:
    """Return the source text of a function or class, empty where Python does not know it."""
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        return ""


def encode_reference(value: Any, encoder: Encoder) -> dict[str, Node]:
    """Write a user's class or function: by import where it can be imported, by value otherwise.

    Raises:
        UnrecordableError: If it has no importable name and holds something that cannot be pickled; names it.
    """
    registered = saving.get_registered_name(value) if isinstance(value, type | types.FunctionType) else None
    extra = {"registered": registered} if registered and ">" in registered else {}
    imported = import_name(value)
    if imported is not None:
        return {TAG: "import", "module": imported[0], "name": imported[1], **extra}
    if not any(known is value for known in encoder.by_value):
        _check_pickles(value)
        encoder.by_value.append(value)
    index = next(number for number, known in enumerate(encoder.by_value) if known is value)
    module = str(getattr(value, "__module__", None) or type(value).__module__)
    name = str(getattr(value, "__qualname__", None) or type(value).__qualname__)
    return {TAG: "pickle", "index": index, "module": module, "name": name, "source": source_of(value), **extra}


def pickle_by_value(values: Sequence[Any]) -> bytes | None:
    """Pickle functions and classes by value, together, so that what they share stays shared.

    Returns:
        The content of `code.pickle`, `None` if there is nothing to keep.
    """
    if not values:
        return None
    return bytes(cloudpickle.dumps(list(values)))


def _check_pickles(value: Any) -> None:
    try:
        cloudpickle.dumps(value)
    except (TypeError, ValueError, AttributeError, pickle.PicklingError, RecursionError, RuntimeError) as error:
        name = getattr(value, "__qualname__", repr(value))
        line = getattr(getattr(value, "__code__", None), "co_firstlineno", None)
        place = f"{name} ({value.__code__.co_filename}:{line})" if line else name
        raise UnrecordableError(
            where=f"the function or class {place}",
            problem=f"it has no importable name, and something it uses cannot be pickled: {error}",
            advice=f"Move it to a module that can be imported, or out of reach of that object. {BUILDER_ADVICE}",
        ) from error


REFERENCE_KINDS = (
    Kind(
        tag="import",
        matches=is_referable,
        encode=lambda value, encoder, _where: encode_reference(value, encoder),
        decode=lambda node, decoder, where: decoder.resolve(node, where),
    ),
    Kind(
        tag="pickle",
        matches=lambda _value: False,  # Whether a reference is an import or a pickle, encode_reference decides.
        encode=lambda value, encoder, _where: encode_reference(value, encoder),
        decode=lambda node, decoder, where: decoder.resolve(node, where),
    ),
)
