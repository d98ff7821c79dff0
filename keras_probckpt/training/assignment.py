"""Saved values put back into variables, matched by path."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import VariableMismatchError
from keras_probckpt.training.variables import find_optimizers, find_variables

__all__ = ["Arrays", "build_optimizers", "finish_preprocessing", "put_back"]

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


def build_optimizers(model: tfk.Model, saved: Iterable[str]) -> None:
    """Make the variables that the model's optimizers keep for model variables, where the saved state has some.

    Args:
        model: A model with all its variables.
        saved: Paths of the saved optimizer variables.
    """
    variables = find_variables(model).model
    for path, optimizer in find_optimizers(model).items():
        # `<optimizer>/<list>/<variable>`, and of legacy optimizers `<optimizer>/slots/<slot>/<variable>`.
        slots = [name.removeprefix(f"{path}/") for name in saved if name.startswith(f"{path}/")]
        named = {part for slot in slots for part in (slot.partition("/")[2], slot.partition("/")[2].partition("/")[2])}
        kept_for = named & variables.keys()
        if kept_for:
            _build(optimizer, _in_order(model, [variables[name] for name in kept_for]))


def _in_order(model: tfk.Model, variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Sort variables as training hands them to an optimizer."""
    order = {id(variable): place for place, variable in enumerate(model.trainable_variables)}
    return sorted(variables, key=lambda variable: order.get(id(variable), len(order)))


def _build(optimizer: Any, variables: list[tf.Variable]) -> None:
    if isinstance(optimizer, tfk.optimizers.legacy.Optimizer):
        getattr(optimizer, "inner_optimizer", optimizer)._create_all_weights(variables)
    else:
        optimizer.build(variables)


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
    return f"{name} {_shape_of(value)} {value.dtype.name}"


def _difference(name: str, array: np.ndarray[Any, Any], variable: tf.Variable) -> str:
    saved, built = f"{_shape_of(array)} {array.dtype.name}", f"{_shape_of(variable)} {_dtype_name(variable)}"
    return f"{name}: saved {saved}, built {built}"


def _shape_of(value: Any) -> str:
    return "<unknown>" if tf.TensorShape(value.shape).rank is None else str(tuple(value.shape))
