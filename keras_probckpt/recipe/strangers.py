"""What a recipe that nobody vouches for may name, make and call: less than the closed tables hold.

A callee is a reference: a name of the closed tables, an import, a pickle or a method, and never an object that the file
made. A name of the tables is for one of three uses. It *makes* an object that its own kind of node knows; or it is an
*operation*, which is called on symbolic tensors only; or it stands as a *value*, to be called later where nobody looks
at the arguments. What may be a value is the smallest of the three: functions of tensors that make nothing larger than
what they are given, and classes of distributions and bijectors. What is one's own is not bound by any of this.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from tf_keras.src.engine import keras_tensor

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.model.objects import OBJECTS_OF_KERAS, is_of_library
from keras_probckpt.model.own_names import argument_names
from keras_probckpt.recipe.bounds import check_number
from keras_probckpt.recipe.codec import TAG, Node, untrusted
from keras_probckpt.recipe.known import known_names, known_object

__all__ = [
    "MEMBERS",
    "PARAMETRIZED",
    "Use",
    "check_argument",
    "check_arguments",
    "check_reference",
    "check_signature",
    "for_strangers",
    "may_put",
    "require_no_lambda",
    "require_symbolic",
]

Use = Literal["made", "operation", "value"]

PARAMETRIZED = (
    tfp.distributions.Distribution,
    tfp.bijectors.Bijector,
    tfp.math.psd_kernels.PositiveSemidefiniteKernel,
    tf.linalg.LinearOperator,
)

# What a tensor of Keras hands on to the tensor that it stands for; nothing else makes such a layer.
# Source: the end of `tf_keras/src/layers/core/tf_op_layer.py`.
MEMBERS: Mapping[str, frozenset[str]] = {
    "InstanceProperty": frozenset(
        {"values", "flat_values", "row_splits", "nested_row_splits", "indices", "dense_shape"}
    ),
    "InstanceMethod": frozenset(
        {"value_rowids", "nested_value_rowids", "nrows", "row_starts", "row_limits", "row_lengths"}
        | {"nested_row_lengths", "bounding_shape", "with_values", "with_flat_values", "with_row_splits_dtype"}
        | {"merge_dims", "to_tensor", "to_sparse"}
    ),
}

_REFERENCES = ("known", "import", "pickle", "method")

# They call what they are given, change what belongs to the whole process, or take what no data describes.
# fmt: off
_NEVER = frozenset((
    "RegisterKL", "case", "with_space_to_batch", "stft", "inverse_stft", "inverse_stft_window_fn", "mdct",
    "inverse_mdct", "scale_regularization_loss", "RNNCellDeviceWrapper", "RNNCellDropoutWrapper",
    "RNNCellResidualWrapper", "JointDistributionCoroutine", "JointDistributionCoroutineAutoBatched", "FFJORD",
    "DenseFeatures", "InputSpec", "Reduction", "ReparameterizationType",
))
# fmt: on

# Functions of tensors as arguments: activations, losses, links and the like.
_VALUES_OF = ("tf_keras.activations.", "tf_keras.losses.", "tf_keras.metrics.")
_METHODS = frozenset({"entropy", "mean", "mode", "sample", "stddev", "variance", "loc", "scale", "rate"})
_METHODS |= frozenset({"logits", "probs", "logits_parameter", "probs_parameter", "rate_parameter", "concentration"})
# fmt: off
_TENSOR_VALUES = (
    "abs", "argmax", "argmin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "cumprod", "cumsum", "digamma", "erf",
    "erfc", "exp", "expm1", "floor", "is_finite", "l2_normalize", "lgamma", "log", "log1p", "log_sigmoid",
    "log_softmax", "logical_not", "ndtri", "negative", "real", "reciprocal", "reduce_all", "reduce_any",
    "reduce_euclidean_norm", "reduce_logsumexp", "reduce_max", "reduce_mean", "reduce_min", "reduce_prod",
    "reduce_std", "reduce_sum", "reduce_variance", "rint", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh",
    "softmax", "softplus", "softsign", "sqrt", "square", "tan", "tanh",
)
_BINARY_VALUES = ("add", "divide", "maximum", "minimum", "multiply", "pow", "subtract")
_NN_VALUES = ("crelu", "elu", "gelu", "leaky_relu", "relu", "relu6", "selu", "silu", "softmax", "swish")
_OTHER_VALUES = (
    "argsort", "cast", "clip_by_norm", "clip_by_value", "concat", "convert_to_tensor", "expand_dims", "gather",
    "identity", "norm", "ones_like", "reshape", "reverse", "sort", "split", "squeeze", "stack", "stop_gradient",
    "transpose", "zeros_like",
)
# fmt: on
_FUNCTIONS = frozenset(
    [f"tf.math.{name}" for name in (*_TENSOR_VALUES, *_BINARY_VALUES)]
    + [f"tf.nn.{name}" for name in _NN_VALUES]
    + [f"tf.{name}" for name in _OTHER_VALUES]
    + ["tf.linalg.matrix_transpose", "tf.linalg.diag_part", "tf.linalg.adjoint", "tfp.distributions.kl_divergence"]
    + ["tfp.layers.default_mean_field_normal_fn", "tfp.layers.default_multivariate_normal_fn"]
    + ["tfp.layers.default_loc_scale_fn"]
)

# Where an argument is a function, an object or a number of Keras's, and never a layer, which it would call.
_CALLED_EAGERLY = ("_initializer", "_regularizer", "_constraint", "initializer", "regularizer", "constraint")
_OF_TRAINING = (tfk.metrics.Metric, tfk.losses.Loss, tfk.optimizers.Optimizer, tfk.optimizers.legacy.Optimizer)
_RATE: tuple[type, ...] = (int, float, np.generic, np.ndarray, tf.Tensor, tf.Variable, types.NoneType)
_RATE += (tfk.optimizers.schedules.LearningRateSchedule,)
_SIGNATURE = (tf.TensorSpec, tf.TensorShape, bool, int, float, types.NoneType)
# Of two, `(1, n)` and `(n, 1)`, a few kilobytes make gigabytes.
_ARRAYS = (np.ndarray, tf.Tensor, tf.Variable)

_NUMBERS = (bool, int, float, np.generic, np.ndarray, tf.Tensor)


def for_strangers(name: str, use: Use) -> Any:
    """Return what a name of the closed tables stands for where nobody vouches for the file; `None` if it may not.

    Args:
        name: The name.
        use: What it is to be used for.
    """
    found = known_object(name)
    if found is None or name.rpartition(".")[2] in _NEVER:
        return None
    if use == "value":
        return found if id(found) in _values() else None
    if use == "operation":
        return found if name.startswith("tf.") and not isinstance(found, type) else None
    return found if isinstance(found, type) else None


@functools.cache
def _values() -> frozenset[int]:
    return frozenset(id(known_object(name)) for name in known_names() if _is_value(name, known_object(name)))


def _is_value(name: str, found: Any) -> bool:
    if isinstance(found, type):
        return issubclass(found, PARAMETRIZED)
    is_method = name.startswith("tfp.distributions.") and name.count(".") == 3 and name.split(".")[3] in _METHODS  # noqa: PLR2004
    return name in _FUNCTIONS or name.startswith(_VALUES_OF) or is_method


def check_reference(node: Node, where: str) -> None:
    """Refuse a callee that is an object of the file.

    Raises:
        MalformedRecipeError: If it is one.
    """
    tag = node.get(TAG) if isinstance(node, dict) else None
    if tag not in _REFERENCES:
        problem = f"what is called is a reference, not {'an object' if tag is None else repr(tag)[:80]} of the file"
        raise untrusted(where, problem)


def require_symbolic(positional: Sequence[Any], keywords: Mapping[str, Any], where: str, *, first: bool) -> None:
    """Refuse a call of a layer that is not on symbolic tensors: it would run at once.

    Args:
        positional: Positional arguments.
        keywords: Keyword arguments.
        where: Place of the call.
        first: Whether the first positional argument itself has to be one.

    Raises:
        MalformedRecipeError: If there is none.
    """
    given = list(positional[:1]) if first else [*positional, *keywords.values()]
    if not any(isinstance(item, keras_tensor.KerasTensor) for item in _leaves(given)):
        raise MalformedRecipeError(where=where, problem="a layer is called on the outputs of others, and on none here")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def check_signature(values: Iterable[Any], where: str) -> None:
    """Refuse what is no placeholder or setting among the arguments of a recorded call.

    Raises:
        MalformedRecipeError: If there is something else.
    """
    for item in _leaves(list(values)):
        if not isinstance(item, _SIGNATURE):
            raise untrusted(where, f"a {type(item).__name__} is no argument of a recorded call")


def check_argument(cls: Any, name: str, value: Any, where: str) -> None:
    """Refuse objects of the file where Keras or TFP would call them on what is no symbolic tensor.

    Args:
        cls: The class that is given the argument.
        name: Name of the argument.
        value: What the file made.
        where: Place of the argument.

    Raises:
        MalformedRecipeError: If it is such an object.
    """
    # To Keras, a metric is a layer.
    is_metric = isinstance(cls, type) and issubclass(cls, tfk.metrics.Metric)
    is_layers = isinstance(cls, type) and not is_metric and issubclass(cls, (tfk.layers.Layer, *PARAMETRIZED))
    kinds: tuple[type, ...] = () if is_layers and not name.endswith(_CALLED_EAGERLY) else (tfk.layers.Layer,)
    kinds += () if cls is tfk.Model.compile or name == "inner_optimizer" else _OF_TRAINING
    found = next((item for item in _leaves(value) if isinstance(item, kinds)), None)
    if found is not None:
        raise untrusted(where, f"a {type(found).__name__} is no {name[:80]} here")
    for item in _leaves(value):
        check_number(item, where)
    if name == "learning_rate" and not isinstance(value, _RATE):
        raise untrusted(where, "a learning rate is a number or a schedule")


def check_arguments(
    function: Any, positional: Sequence[Any], arguments: Mapping[str, Any], where: str, *, is_latent: bool
) -> None:
    """Refuse what a class or function of the closed tables may not be given.

    Args:
        function: The class or function.
        positional: Positional arguments.
        arguments: Keyword arguments.
        where: Place of the call.
        is_latent: Whether it is called later, as a partial call is.

    Raises:
        MalformedRecipeError: If there is something of that kind.
    """
    if is_latent:
        _check_partial([*positional, *arguments.values()], where)
    for name, value in (*((f"[{index}]", item) for index, item in enumerate(positional)), *arguments.items()):
        check_argument(function, name, value, f"{where}.{name}")


def _check_partial(values: Iterable[Any], where: str) -> None:
    leaves = list(_leaves(list(values)))
    found = next((item for item in leaves if callable(item) and not isinstance(item, _ARRAYS)), None)
    if found is not None:
        raise untrusted(where, f"a partial call is given data, not a {type(found).__name__}")
    if sum(isinstance(item, _ARRAYS) for item in leaves) > 1:
        raise untrusted(where, "a partial call is given one array at most")


def require_no_lambda(values: Iterable[Any], where: str) -> None:
    """Refuse layers whose `from_config` makes functions of text, where Keras is going to call it.

    Raises:
        MalformedRecipeError: If one of them is, or holds, such a layer.
    """
    layers = [item for item in values if isinstance(item, tfk.layers.Layer)]
    if any(isinstance(part, tfk.layers.Lambda) for layer in layers for part in layer._flatten_layers()):
        raise untrusted(where, "a layer that is made of a function is no part of it")


def may_put(item: Any, name: str, present: Any) -> bool:
    """Whether a value of a stranger's file may take the place of one: a number, in an object that the file made.

    Args:
        item: The object.
        name: The attribute. In an object of Keras or TFP it is an argument of the constructor.
        present: What is there.
    """
    is_listed = not is_of_library(type(item)) or (name in argument_names(type(item)) and not name.startswith("_"))
    return isinstance(item, OBJECTS_OF_KERAS) and isinstance(present, _NUMBERS) and is_listed
