"""What must come back of a model, as JSON values in which equal text is equal bits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt.training.variables import find_variables

__all__ = ["bits", "described", "observe", "observe_outputs"]

_SEED = 7

_PARAMETRIZED = (
    tfp.distributions.Distribution,
    tfp.bijectors.Bijector,
    tfp.math.psd_kernels.PositiveSemidefiniteKernel,
)


def observe(model: tfk.Model, x: Any, y: Any, *, parts: Sequence[str]) -> dict[str, Any]:
    """Describe a model's variables, outputs and losses, and its variables after one more training step.

    Args:
        model: Compiled and trained; it is trained one step further.
        x: Inputs.
        y: Targets.
        parts: As in `Case`.
    """
    said = {
        "class": type(model).__name__,
        "variables": _variables(model),
        "trainable": _trainable(model),
        "outputs": observe_outputs(model, x, parts=parts),
        "losses": [bits(loss) for loss in model.losses],
    }
    tfk.utils.set_random_seed(_SEED)
    model.make_train_function(force=True)  # A step traced earlier keeps the seeds of then.
    said["step"] = {name: float(value).hex() for name, value in model.train_on_batch(x, y, return_dict=True).items()}
    said["variables after a step"] = _variables(model)
    return said


def observe_outputs(model: tfk.Model, x: Any, *, parts: Sequence[str]) -> dict[str, Any]:
    """Describe what a model, or each of its parts, gives for inputs, always under the same seed."""
    tfk.utils.set_random_seed(_SEED)
    called = {part: getattr(model, part) for part in parts} or {"model": model}
    return {name: described(part(x)) for name, part in called.items()}


def _variables(model: tfk.Model) -> dict[str, str]:
    found = find_variables(model)
    return {path: bits(variable) for path, variable in [*found.model.items(), *found.optimizers.items()]}


def _trainable(model: tfk.Model) -> list[str]:
    trained = {id(variable) for variable in model.trainable_variables}
    return [path for path, variable in find_variables(model).model.items() if id(variable) in trained]


def bits(value: Any) -> str:
    """Write a tensor's dtype, shape, first numbers and a digest of all its bits."""
    array = np.asarray(value)
    digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
    return f"{array.dtype.name}{list(array.shape)} {np.ravel(array)[:3]} {digest}"


def described(value: Any) -> Any:
    """Describe an output: tensors by their bits, distributions by class, parameters and the score of a sample."""
    if isinstance(value, Mapping):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [described(item) for item in value]
    if isinstance(value, tfp.distributions.Distribution):
        return {**_parametrized(value), "log_prob": _score_of_sample(value)}
    if isinstance(value, _PARAMETRIZED):
        return _parametrized(value)
    if (
        isinstance(value, (tf.Variable, tfp.util.DeferredTensor))
        or tf.is_tensor(value)
        or isinstance(value, np.ndarray)
    ):
        return bits(value)
    return getattr(value, "__qualname__", None) or repr(value) if not callable(value) else type(value).__name__


def _parametrized(value: Any) -> dict[str, Any]:
    parameters = {name: item for name, item in value.parameters.items() if name != "name"}
    wrapped = getattr(value, "tensor_distribution", None)
    inner = {} if wrapped is None else {"tensor_distribution": described(wrapped)}
    return {"class": type(value).__name__, "parameters": described(parameters), **inner}


def _score_of_sample(distribution: Any) -> Any:
    tfk.utils.set_random_seed(_SEED)
    sample = distribution.sample()
    return described(tf.nest.map_structure(tf.convert_to_tensor, [sample, distribution.log_prob(sample)]))
