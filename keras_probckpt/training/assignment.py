"""Saved values put back into variables, matched by path."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import VariableMismatchError

__all__ = ["Arrays", "build_optimizer", "finish_preprocessing", "put_back"]

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


def put_back(variables: Mapping[str, tf.Variable], arrays: Arrays, *, path: str, skip_mismatch: bool = False) -> None:
    """Assign saved values to the variables of the same paths.

    Args:
        variables: Variables by path.
        arrays: Saved values by path.
        path: Of the checkpoint, for messages.
        skip_mismatch: Assign what fits, and warn of the rest.

    Raises:
        VariableMismatchError: If the two do not have the same paths, shapes and dtypes. Nothing is assigned then.
    """
    common = [name for name in variables if name in arrays]
    different = [name for name in common if not _fits(variables[name], arrays[name])]
    mismatch = VariableMismatchError(
        path=path,
        missing=tuple(_described(name, arrays[name]) for name in arrays if name not in variables),
        unexpected=tuple(_described(name, variables[name]) for name in variables if name not in arrays),
        different=tuple(_difference(name, arrays[name], variables[name]) for name in different),
    )
    if mismatch.missing or mismatch.unexpected or mismatch.different:
        if not skip_mismatch:
            raise mismatch
        warnings.warn(f"skip_mismatch=True: what fits was loaded, the rest left as built. {mismatch}", stacklevel=3)
    for name in common:
        if name not in different:
            variables[name].assign(arrays[name])


def build_optimizer(model: tfk.Model, *, is_complete: Callable[[], bool]) -> None:
    """Make the variables of the optimizer's slots, unless the saved state has none.

    Args:
        model: A compiled model with all its variables.
        is_complete: Whether every saved optimizer variable has one to go to.
    """
    if is_complete():
        return
    optimizer = model.optimizer
    if isinstance(optimizer, tfk.optimizers.legacy.Optimizer):
        getattr(optimizer, "inner_optimizer", optimizer)._create_all_weights(model.trainable_variables)
    else:
        optimizer.build(model.trainable_variables)


def finish_preprocessing(model: tfk.Model) -> None:
    """Let preprocessing layers, such as `Normalization`, compute what they derive from their variables.

    Source: `tf_keras.layers.Normalization.finalize_state`, which Keras's own loading calls too.
    """
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, tfk.layers.experimental.preprocessing.PreprocessingLayer) and layer.built:
            layer.finalize_state()


def _fits(variable: tf.Variable, array: np.ndarray[Any, Any]) -> bool:
    return bool(variable.shape.is_compatible_with(array.shape)) and _dtype_name(variable) == array.dtype.name


def _dtype_name(variable: tf.Variable) -> str:
    return str(getattr(variable, "true_dtype", variable.dtype).name)  # Mixed precision shows the dtype it casts to.


def _described(name: str, value: Any) -> str:
    return f"{name} {tuple(value.shape)} {value.dtype.name}"


def _difference(name: str, array: np.ndarray[Any, Any], variable: tf.Variable) -> str:
    return (
        f"{name}: saved {tuple(array.shape)} {array.dtype.name}, built {tuple(variable.shape)} {_dtype_name(variable)}"
    )
