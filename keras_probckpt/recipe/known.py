"""The closed tables: classes and functions of tf_keras, TFP and TensorFlow that a recipe may name without trust.

They are made of the installed libraries' public namespaces, listed here; a name in a file is only ever looked up in
them, never imported. What reads files or loads programs is left out.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from tf_keras.src.engine import base_layer

__all__ = ["known_name", "known_names", "known_object"]

_NAMESPACES: dict[str, Any] = {
    "tf_keras.layers": tfk.layers,
    "tf_keras.activations": tfk.activations,
    "tf_keras.constraints": tfk.constraints,
    "tf_keras.initializers": tfk.initializers,
    "tf_keras.losses": tfk.losses,
    "tf_keras.metrics": tfk.metrics,
    "tf_keras.mixed_precision": tfk.mixed_precision,
    "tf_keras.optimizers": tfk.optimizers,
    "tf_keras.optimizers.legacy": tfk.optimizers.legacy,
    "tf_keras.optimizers.schedules": tfk.optimizers.schedules,
    "tf_keras.regularizers": tfk.regularizers,
    "tfp.layers": tfp.layers,
    "tfp.layers.weight_norm": tfp.layers.weight_norm,
    "tfp.bijectors": tfp.bijectors,
    "tfp.distributions": tfp.distributions,
    "tfp.math.psd_kernels": tfp.math.psd_kernels,
    "tf.bitwise": tf.bitwise,
    "tf.linalg": tf.linalg,
    "tf.math": tf.math,
    "tf.nn": tf.nn,
    "tf.signal": tf.signal,
    "tf.__operators__": tf.__operators__,
}

# Of TensorFlow's top level only what computes: beside it stand functions that read and write files and run Python.
# fmt: off
_TENSOR_FUNCTIONS = (
    "argsort", "boolean_mask", "broadcast_to", "case", "cast", "clip_by_norm", "clip_by_value", "concat",
    "convert_to_tensor", "einsum", "expand_dims", "eye", "fill", "gather", "gather_nd", "identity", "image.resize",
    "linspace", "meshgrid", "norm", "one_hot", "ones", "ones_like", "pad", "random.normal", "random.uniform",
    "range", "rank", "repeat", "reshape", "reverse", "roll", "searchsorted", "sequence_mask", "shape", "size",
    "slice", "sort", "split", "squeeze", "stack", "stop_gradient", "strided_slice", "tensordot", "tile",
    "transpose", "unstack", "where", "zeros", "zeros_like",
    # What some of these, and of those in the namespaces, call: on a symbolic tensor Keras meets the inner function.
    "compat.v1.boolean_mask", "compat.v1.floor_div", "compat.v1.gather", "compat.v1.gather_nd",
    "compat.v1.nn.conv1d", "compat.v1.nn.embedding_lookup", "compat.v1.norm", "compat.v1.pad", "compat.v1.shape",
    "compat.v1.size", "compat.v1.squeeze", "compat.v1.transpose",
)
# fmt: on

# TFSMLayer loads a program from a path; the lookup layers, for which `lookups` has a kind, read any file or address
# given as their vocabulary, and the candidate sampler reads such a file too; `deserialize` and `get` import what a
# config names; the global policy is the whole process's.
_LEFT_OUT = frozenset(
    {"TFSMLayer", "StringLookup", "IntegerLookup", "TextVectorization", "deserialize", "get", "serialize"}
    | {"fixed_unigram_candidate_sampler", "global_policy", "set_global_policy"}
)

# Made by `add_loss` and `add_metric` of a Functional model.
_UNLISTED_LAYERS = (base_layer.AddLoss, base_layer.AddMetric)

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


@functools.cache
def _objects() -> dict[str, Any]:
    return dict(_entries())


def _entries() -> Iterator[tuple[str, Any]]:
    for prefix, namespace in _NAMESPACES.items():
        for name in dir(namespace):
            value = getattr(namespace, name)
            if not name.startswith("_") and name not in _LEFT_OUT and isinstance(value, (type, *_FUNCTIONS)):
                yield f"{prefix}.{name}", value
    yield from ((f"tf.{name}", functools.reduce(getattr, name.split("."), tf)) for name in _TENSOR_FUNCTIONS)
    yield from ((f"tf_keras.layers.{cls.__name__}", cls) for cls in _UNLISTED_LAYERS)
    for name in ("Distribution", *_distribution_names()):
        yield from _methods(f"tfp.distributions.{name}", getattr(tfp.distributions, name))


def _distribution_names() -> Iterator[str]:
    for name in dir(tfp.distributions):
        value = getattr(tfp.distributions, name)
        if isinstance(value, type) and issubclass(value, tfp.distributions.Distribution):
            yield name


def _methods(prefix: str, cls: type) -> Iterator[tuple[str, Any]]:
    """Methods that turn a distribution into a tensor, such as `tfp.distributions.Distribution.mean`."""
    for name, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else value
        if not name.startswith("_") and isinstance(function, types.FunctionType):
            yield f"{prefix}.{name}", function


@functools.cache
def _names() -> dict[int, str]:
    """Name of each entry by identity: of several aliases the one that is the object's own name, then the first."""
    names: dict[int, str] = {}
    for name, value in _objects().items():
        if id(value) not in names or name.rpartition(".")[2] == getattr(value, "__name__", None):
            names.setdefault(id(value), name)
            if names[id(value)].rpartition(".")[2] != getattr(value, "__name__", None):
                names[id(value)] = name
    return names


def known_name(value: Any) -> str | None:
    """Return the name of a class or function in the closed tables; `None` if it is not there."""
    return _names().get(id(value))


def known_object(name: str) -> Any:
    """Return what a name in the closed tables stands for; `None` if it is not there."""
    return _objects().get(name)


def known_names() -> Iterator[str]:
    """Give every name in the closed tables."""
    yield from _objects()
