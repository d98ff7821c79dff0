"""Functions and classes as values: by name in a closed table, by import, or by value.

Three kinds of node stand for them:

- `{"$": "known", "name": "activations.relu"}`: an entry of the closed tables of `keras_objects` and `tfp_objects`.
- `{"$": "import", "module": ..., "name": ...}`: importable, so its name is enough; needs trust to be restored.
- `{"$": "pickle", "index": ..., "module": ..., "name": ..., "source": ...}`: defined in a script, a notebook, a
  function or as a lambda; kept in `code.pickle` by cloudpickle, its source beside it for people; needs trust to be
  restored. So is an object of a class of the user's that is none of Keras's, such as one that makes distributions; its
  name ends in `()`.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import types
import weakref
from collections.abc import Sequence
from typing import Any

import cloudpickle
import numpy as np
import tensorflow as tf
from tf_keras import saving

from keras_probckpt.errors import UnrecordableError
from keras_probckpt.recipe.code_uses import is_of_library, label_of
from keras_probckpt.recipe.codec import BUILDER_ADVICE, TAG, Encoder, Kind, Node
from keras_probckpt.recipe.members import member
from keras_probckpt.recipe.sources import remember_source, source_of

__all__ = ["REFERENCE_KINDS", "encode_reference", "import_name", "is_referable", "pack", "remember_reference"]

# Where classes and functions that were unpickled were registered, in the process that saved them.
_REGISTERED_AS: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

_TracedFunction = tf.__internal__.function.Function
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType, _TracedFunction)
_REFERABLE = (*_NAMED, types.MethodType, functools.partial)

# Whose objects are pickled as those of users' classes are: generators of random numbers, initializers of Keras 3.
_PICKLED_LIBRARIES = (sys.stdlib_module_names | {"numpy", "keras"}) - {"builtins"}


def is_referable(value: Any) -> bool:
    """Whether a value is a class or a function, to be stored by name or by value."""
    return isinstance(value, _REFERABLE)


def _is_plain_object(value: Any) -> bool:
    """Whether a value is an object of which Keras and TFP know nothing: of a user's class, of Python's or numpy's."""
    package = type(value).__module__.partition(".")[0]
    return not is_referable(value) and (package in _PICKLED_LIBRARIES or not is_of_library(type(value)))


def import_name(value: Any) -> tuple[str, str] | None:
    """Return `(module, qualified name)` under which a fresh process can import the value; `None` if there is none."""
    module, name = member(value, "__module__"), member(value, "__qualname__")
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return None
    try:
        found = functools.reduce(getattr, name.split("."), sys.modules.get(module))
    except AttributeError:  # A local function, a lambda, or a name since rebound.
        return None
    return (module, name) if found is value else None


def remember_reference(value: Any, node: dict[str, Node]) -> None:
    """Keep what a reference node says of a class or function that was unpickled, so that it is written again."""
    source, registered = node.get("source"), node.get("registered")
    if isinstance(source, str):
        remember_source(type(value) if _is_plain_object(value) else value, source)
    if isinstance(registered, str) and isinstance(value, type | types.FunctionType):
        _REGISTERED_AS[value] = registered


def encode_reference(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    """Write a user's class or function: by import where it can be imported, by value otherwise.

    Raises:
        UnrecordableError: If it has no importable name and holds something that cannot be pickled; names it.
    """
    registered = _registered_name(value) if isinstance(value, type | types.FunctionType) else None
    extra = {"registered": registered} if registered and registered != value.__name__ else {}
    imported = import_name(value)
    if imported is not None:
        return {TAG: "import", "module": imported[0], "name": imported[1], **extra}
    index = _add_by_value(value, encoder, where)
    module = str(member(value, "__module__") or type(value).__module__)
    source = source_of(type(value) if _is_plain_object(value) else value)
    return {TAG: "pickle", "index": index, "module": module, "name": _name(value), "source": source, **extra}


def _name(value: Any) -> str:
    """Name a class or function as it names itself, and an object or its method so that it is not taken for one."""
    if isinstance(value, types.MethodType) and not isinstance(value.__self__, type):
        return f"{type(value.__self__).__qualname__}().{value.__name__}"
    is_named = isinstance(value, (*_NAMED, types.MethodType))
    return str(value.__qualname__) if is_named else f"{type(value).__qualname__}()"


def _registered_name(value: Any) -> str:
    return _REGISTERED_AS.get(value) or str(saving.get_registered_name(value))


def _add_by_value(value: Any, encoder: Encoder, where: str) -> int:
    for index, known in enumerate(encoder.by_value):
        if known is value:
            return index
    index = len(encoder.by_value)
    encoder.by_value.append(value)
    encoder.code.append(b"")  # Its place; what is pickled on the way takes the next ones.
    encoder.code[index] = _pickled(value, encoder, where)
    return index


def _pickled(value: Any, encoder: Encoder, where: str) -> bytes:
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, value=value, encoder=encoder, where=where).dump(value)
    except (TypeError, ValueError, AttributeError, pickle.PicklingError, RecursionError, RuntimeError) as error:
        if _is_plain_object(value):
            problem = f"a {label_of(type(value))} cannot be pickled: {error}"
            raise UnrecordableError(where=where, problem=problem, advice=BUILDER_ADVICE) from error
        name = member(value, "__qualname__", repr(value))
        code = member(value, "__code__")
        place = f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name
        raise UnrecordableError(
            where=f"the function or class {place}",
            problem=f"it has no importable name, and something it uses cannot be pickled: {error}",
            advice=f"Move it to a module that can be imported, or out of reach of that object. {BUILDER_ADVICE}",
        ) from error
    return buffer.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle is untyped
    """Pickles one function or class by value; what it reaches of Keras, TFP and TensorFlow is written as nodes instead.

    So a variable in a closure is saved and put back like any other, and a layer in it is rebuilt, not pickled.
    """

    def __init__(self, file: io.BytesIO, *, value: Any, encoder: Encoder, where: str) -> None:
        super().__init__(file)
        self._value = value
        self._encoder = encoder
        self._where = where

    def persistent_id(self, obj: Any) -> tuple[str, int] | None:
        if obj is self._value:
            return None
        if self._encoder.is_shared(obj) and not isinstance(obj, (np.ndarray, tf.Tensor)):
            return "external", self._encoder.add_external(obj, self._where)
        for index, known in enumerate(self._encoder.by_value):
            if known is obj and self._encoder.code[index]:
                return "code", index
        return None

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, _TracedFunction):
            return super().reducer_override(obj)
        # Its traces are graphs of this process.
        options = {
            "input_signature": obj.input_signature,
            "autograph": obj._autograph,
            "jit_compile": obj._jit_compile,
            "reduce_retracing": obj._reduce_retracing,
        }
        return functools.partial(tf.function, **options), (obj.python_function,)


def pack(code: Sequence[bytes]) -> bytes | None:
    """Lay pickled functions out as the content of `code.pickle`; `None` if there are none."""
    return pickle.dumps(list(code)) if code else None


REFERENCE_KINDS = (
    Kind(
        tag="import",
        matches=is_referable,
        encode=encode_reference,
        decode=lambda node, decoder, where: decoder.resolve(node, decoder, where),
    ),
    Kind(
        tag="pickle",
        matches=_is_plain_object,  # Whether another reference is an import or a pickle, encode_reference decides.
        encode=encode_reference,
        decode=lambda node, decoder, where: decoder.resolve(node, decoder, where),
    ),
)
