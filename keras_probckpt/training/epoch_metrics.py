"""The metrics of an epoch that is under way, so that its logs are those of the whole epoch after a resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.training.snapshot import snapshot_of

__all__ = ["make_metrics", "metric_values", "put_back_metrics"]


def metric_values(model: tfk.Model) -> dict[str, np.ndarray[Any, Any]]:
    """Take the values that the metrics of a model have gathered so far, by number and name, without copying them."""
    return dict(snapshot_of(_variables(model)))


def make_metrics(model: tfk.Model, iterator: Any) -> None:
    """Have the variables of compiled metrics made: tf_keras makes them when it traces the train step, which is not run.

    Args:
        model: The compiled model.
        iterator: Iterator of the training data; nothing is taken from it.
    """
    function = getattr(model, "train_tf_function", None)
    if function is not None and not model.run_eagerly:
        function.get_concrete_function(iterator)


def put_back_metrics(model: tfk.Model, values: Mapping[str, np.ndarray[Any, Any]]) -> bool:
    """Put back what metrics had gathered.

    Args:
        model: The compiled model, after `reset_metrics`.
        values: What `metric_values` returned.

    Returns:
        Whether the metrics are the same as then; if not, nothing was put back.
    """
    variables = _variables(model)
    if variables.keys() != values.keys() or any(
        variables[name].dtype.name != value.dtype.name or not variables[name].shape.is_compatible_with(value.shape)
        for name, value in values.items()
    ):
        return False
    for name, variable in variables.items():
        variable.assign(values[name])
    return True


def _variables(model: tfk.Model) -> dict[str, tf.Variable]:
    return {
        f"{number}-{metric.name}/{index}": variable
        for number, metric in enumerate(model.metrics)
        for index, variable in enumerate(metric.variables)
    }
