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

import contextlib
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
import tf_keras as tfk
from tf_keras import saving

from keras_probckpt.errors import CheckpointError, MalformedRecipeError, UnrecordableError
from keras_probckpt.model.members import member
from keras_probckpt.model.objects import is_of_library
from keras_probckpt.recipe.codec import BUILDER_ADVICE, SAME, TAG, Decoder, Encoder, Kind, Node, field
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.importing import import_name, is_importable
from keras_probckpt.recipe.sources import remember_source, source_of
from keras_probckpt.recipe.stand_ins import is_large_array, is_without_data, tell_of_large_values, without_data

__all__ = ["REFERENCE_KINDS", "encode_reference", "is_referable", "pack", "remember_reference"]

# Where classes and functions that were unpickled were registered, in the process that saved them.
_REGISTERED_AS: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

_TracedFunction = tf.__internal__.function.Function
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType, _TracedFunction)
_BUILT = "built"
_REFERABLE = (*_NAMED, types.MethodType, functools.partial)
# Of Python's built-in classes the encoder knows what is a value; iterators and views belong to what they go through.
# Of Keras 3 only what tf_keras takes as well can be met, such as an initializer.
_NOT_OF_STATE = frozenset({"tensorflow", "tf_keras", "tensorflow_probability", "keras_probckpt", "builtins"})
_Initializer: type = tf.constant_initializer.__mro__[1]  # The base class of TensorFlow's own, which has no public name.


def is_referable(value: Any) -> bool:
    """Whether a value is a class or a function, to be stored by name or by value.

    So is what can be called and has a name of its own: functions that are written in C, and those of numpy.
    """
    return isinstance(value, _REFERABLE) or (callable(value) and import_name(value) is not None)


def _is_plain_object(value: Any) -> bool:
    """Whether a value is an object that its state makes: of a user's class, of Python's or numpy's, or an initializer.

    Of other classes of the libraries, objects may stand for what only this process has.
    """
    if is_referable(value):
        return False
    package = type(value).__module__.partition(".")[0]
    return not is_of_library(type(value)) or package not in _NOT_OF_STATE or isinstance(value, _Initializer)


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
        with contextlib.closing(_Pickler(buffer, value=value, encoder=encoder, where=where)) as pickler:
            pickler.dump(value)
    except CheckpointError:
        raise
    except Exception as error:  # A user's `__reduce__` may raise whatever it likes.
        raise _unrecordable(value, where, error) from error
    return buffer.getvalue()


def _unrecordable(value: Any, where: str, error: Exception) -> UnrecordableError:
    if not is_referable(value):
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        problem = f"a {name} is of no kind that can be rebuilt, but by its state, and that cannot be pickled: {error}"
        return UnrecordableError(where=where, problem=problem, advice=BUILDER_ADVICE)
    name = getattr(value, "__qualname__", repr(value))
    code = getattr(value, "__code__", None)
    place = f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name
    return UnrecordableError(
        where=f"the function or class {place}",
        problem=f"it has no importable name, and something it uses cannot be pickled: {error}",
        advice=f"Move it to a module that can be imported, or out of reach of that object. {BUILDER_ADVICE}",
    )


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle is untyped
    """Pickles one function or class by value; what it reaches of Keras, TFP and TensorFlow is written as nodes instead.

    So a variable in a closure is saved and put back like any other, and a layer in it is rebuilt, not pickled.
    """

    def __init__(self, file: io.BytesIO, *, value: Any, encoder: Encoder, where: str) -> None:
        super().__init__(file)
        self._value = value
        self._encoder = encoder
        self._where = where
        self._by_value_for_now = contextlib.ExitStack()

    def close(self) -> None:
        """Let cloudpickle write by name again what it did before."""
        self._by_value_for_now.close()

    def persistent_id(self, obj: Any) -> tuple[str, int] | None:
        if obj is self._value:
            return None
        is_small = isinstance(obj, (np.ndarray, tf.Tensor)) and not is_large_array(obj)
        if not is_small and self._encoder.is_shared(obj):
            number = self._encoder.add_external(obj, self._where)
            self._encoder.externals[number] = _built(obj, self._encoder.externals[number], self._encoder)
            return "external", number
        for index, known in enumerate(self._encoder.by_value):
            if known is obj and self._encoder.code[index]:
                return "code", index
        return None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, types.FunctionType, types.ModuleType)):
            self._take_by_value(obj.__name__ if isinstance(obj, types.ModuleType) else obj.__module__)
        if isinstance(obj, functools.cached_property):  # Before Python 3.12 it holds a lock.
            return functools.cached_property, (obj.func,), {"attrname": obj.attrname}
        if is_without_data(obj):
            return np.broadcast_to, (obj[(0,) * obj.ndim], obj.shape)
        if isinstance(obj, types.FunctionType):
            return self._function(obj, super().reducer_override(obj))
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

    def _function(self, function: types.FunctionType, reduced: Any) -> Any:
        """Let a function that is written by value take no more data along than it reads."""
        if not isinstance(reduced, tuple):
            return reduced
        make, (code, module, *rest), (attributes, state), *setting = reduced
        read = without_data(function, state["__globals__"])
        if any(read["__globals__"][name] is not value for name, value in state["__globals__"].items()):
            module = dict(module)  # Other functions of the module may read the data.
        tell_of_large_values(function, read)
        return make, (code, module, *rest), (attributes, {**state, **read}), *setting

    def _take_by_value(self, name: Any) -> None:
        """Let cloudpickle write what a module defines, where another process would not find the module."""
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is None or name == "__main__" or is_importable(module.__name__):
            return
        if module.__name__ in sys.modules and module.__name__ not in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.register_pickle_by_value(module)
            self._by_value_for_now.callback(cloudpickle.unregister_pickle_by_value, module)


def _built(value: Any, node: Node, encoder: Encoder) -> Node:
    """Let a layer that a function holds be built with it: a Lambda layer may make no variables when it is called."""
    shape = getattr(value, "_build_input_shape", None)
    is_new = isinstance(value, tfk.layers.Layer) and node[TAG] not in (SAME, _BUILT)
    if not is_new or not value.built or not value.variables or shape is None:
        return node
    return {TAG: _BUILT, "object": node, "input_shape": encoder.encode(shape, "input_shape")}


def _decode_built(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    layer = decoder.decode(field(node, "object", dict, where), where)
    shape = decoder.decode(node.get("input_shape"), where)
    if not isinstance(layer, tfk.layers.Layer):
        raise MalformedRecipeError(where=where, problem=f"a {type(layer).__name__} is no layer to be built")
    if not layer.built:
        call(layer.build, [shape], {}, where)
    return layer


def pack(code: Sequence[bytes]) -> bytes | None:
    """Lay pickled functions out as the content of `code.pickle`; `None` if there are none."""
    return pickle.dumps(list(code)) if code else None


REFERENCE_KINDS = (
    Kind(
        tag=_BUILT,
        matches=lambda _value: False,  # Written around the node of a layer, where a function holds it.
        encode=lambda _value, _encoder, _where: {},
        decode=_decode_built,
    ),
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
