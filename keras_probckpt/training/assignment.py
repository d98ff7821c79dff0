"""Saved values put back into variables, matched by path.

Large values are not copied: a variable takes the memory they were read into. TensorFlow never writes into memory that
it did not allocate, so the first update moves the variable to memory of TensorFlow's own, and lets go of this.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import VariableMismatchError
from keras_probckpt.training.variables import ModelVariables, find_layers, find_optimizers, find_variables

__all__ = [
    "Arrays",
    "Specs",
    "build_optimizers",
    "find_thawed",
    "finish_preprocessing",
    "is_slot_of",
    "match_trackers",
    "put_back",
    "require_fit",
]

Arrays = Mapping[str, "np.ndarray[Any, Any]"]
# Arrays, or what has only their shapes and dtypes.
Specs = Mapping[str, "np.ndarray[Any, Any] | tf.TensorSpec"]

_logger = logging.getLogger("keras_probckpt")

# What TensorFlow's vectorized kernels take for granted of a tensor's memory; it adopts any, and crashes later.
_ALIGNMENT_BYTES = 64
# A smaller value is copied as fast, and keeps nothing alive that was read together with it.
_SMALLEST_ADOPTED_BYTES = 16 * 1024
_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# NumPy does not export these, nor does TensorFlow make them from bits.
_COPIED = tuple(np.dtype(dtype) for dtype in (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2))


def put_back(
    variables: Mapping[str, tf.Variable],
    arrays: Arrays,
    *,
    path: str,
    skip_mismatch: bool = False,
    layers: Sequence[str] = (),
) -> bool:
    """Assign saved values to the variables of the same paths.

    Args:
        variables: Variables by path.
        arrays: Saved values by path. What is writable becomes the variables' memory: leave it alone from now on.
        path: Of the checkpoint, for messages.
        skip_mismatch: Assign what fits, and warn of the rest.
        layers: How the layers differ, to be told where the variables do.

    Returns:
        Whether all of them fitted.

    Raises:
        VariableMismatchError: If the two do not have the same paths, shapes and dtypes. Nothing is assigned then.
    """
    mismatch = _mismatch(variables, arrays, path=path, layers=layers)
    if mismatch is not None:
        if not skip_mismatch:
            raise mismatch
        warnings.warn(f"skip_mismatch=True: what fits was loaded, the rest left as built. {mismatch}", stacklevel=3)
    for name, array in arrays.items():
        if name in variables and (mismatch is None or _fits(variables[name], array)):
            variables[name].assign(_adopted(array), read_value=False)
    return mismatch is None


def match_trackers(
    found: ModelVariables, variables: Mapping[str, tf.Variable], saved: Specs
) -> tuple[dict[str, tf.Variable], Specs]:
    """Leave out of the metrics that a model holds what is not among both: variables, and saved values.

    Checkpoints of older releases have none of them; and there are metrics that make theirs at their first update.

    Args:
        found: The variables of the model.
        variables: Variables by path.
        saved: Their saved values, or shapes and dtypes.
    """
    lost = [path for path in saved if path not in variables and found.is_of_tracker(path)]
    if lost:
        _logger.warning("Metrics that are not built yet begin anew: %s.", ", ".join(lost))
    return (
        {path: item for path, item in variables.items() if path in saved or not found.is_of_tracker(path)},
        {path: saved[path] for path in saved if path not in lost} if lost else saved,
    )


def require_fit(variables: Mapping[str, tf.Variable], saved: Specs, *, path: str) -> None:
    """Check that saved values could be put back; none is.

    Args:
        variables: Variables by path.
        saved: What has the shape and dtype of each saved value, by path.
        path: Of the checkpoint, for messages.

    Raises:
        VariableMismatchError: If the two do not have the same paths, shapes and dtypes.
    """
    mismatch = _mismatch(variables, saved, path=path)
    if mismatch is not None:
        raise mismatch


def _mismatch(
    variables: Mapping[str, tf.Variable], saved: Specs, *, path: str, layers: Sequence[str] = ()
) -> VariableMismatchError | None:
    mismatch = VariableMismatchError(
        path=path,
        missing=tuple(_described(name, saved[name]) for name in saved if name not in variables),
        unexpected=tuple(_described(name, variables[name]) for name in variables if name not in saved),
        different=tuple(
            _difference(name, saved[name], variable)
            for name, variable in variables.items()
            if name in saved and not _fits(variable, saved[name])
        ),
        layers=tuple(layers),
    )
    return mismatch if mismatch.missing or mismatch.unexpected or mismatch.different else None


def find_thawed(model: tfk.Model, frozen: Iterable[str]) -> dict[str, tf.Variable]:
    """Find the variables that are trained now and were not when a checkpoint was saved, by path.

    Args:
        model: A model with all its variables.
        frozen: Paths of the layers that were not trained then.
    """
    names = set(frozen)
    layers = [layer for path, layer in find_layers(model).items() if path in names] if names else []
    thawed = {id(variable) for layer in layers for variable in layer.variables}
    thawed &= {id(variable) for variable in model.trainable_variables}
    return {path: variable for path, variable in find_variables(model).model.items() if id(variable) in thawed}


def is_slot_of(path: str, variables: Iterable[str]) -> bool:
    """Whether the path of an optimizer's variable is that of a slot for one of some model variables."""
    return any(path.endswith(f"/{name}") for name in variables)


def build_optimizers(model: tfk.Model, saved: Iterable[str], *, thawed: Iterable[tf.Variable] = ()) -> None:
    """Make the variables that the model's optimizers keep for model variables, where the saved state has some.

    Args:
        model: A model with all its variables.
        saved: Paths of the saved optimizer variables.
        thawed: Variables that are trained now and were not then: optimizers are built once, for all they ever train.
    """
    variables, optimizers, thawed = find_variables(model).model, find_optimizers(model), list(thawed)
    is_only_one = len(optimizers) == 1
    for path, optimizer in optimizers.items():
        # `<optimizer>/<list>/<variable>`, and of legacy optimizers `<optimizer>/slots/<slot>/<variable>`.
        slots = [name.removeprefix(f"{path}/") for name in saved if name.startswith(f"{path}/")]
        is_legacy = isinstance(optimizer, tfk.optimizers.legacy.Optimizer)
        parents = 2 if is_legacy else 1  # `prior/weights-0` is not `weights-0`.
        kept_for = {"/".join(slot.split("/")[parents:]) for slot in slots} & variables.keys()
        # One of legacy makes its learning rate and its like only then, even where it keeps nothing for variables.
        if kept_for or (slots and is_legacy):
            ordered = _in_order(model, [*(variables[name] for name in kept_for), *(thawed if is_only_one else ())])
            known = {id(variable) for variable in ordered}
            # Of several nobody knows which will train them: behind the others they are in no one's way.
            _build(optimizer, [*ordered, *(variable for variable in thawed if id(variable) not in known)])


def _in_order(model: tfk.Model, variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Sort variables as training hands them to an optimizer."""
    order = {id(variable): place for place, variable in enumerate(model.trainable_variables)}
    return sorted(variables, key=lambda variable: order.get(id(variable), len(order)))


def _build(optimizer: Any, variables: list[tf.Variable]) -> None:
    if isinstance(optimizer, tfk.optimizers.legacy.Optimizer):
        getattr(optimizer, "inner_optimizer", optimizer)._create_all_weights(variables)
    else:
        with _slots_from_untouched_memory(optimizer), _with_its_counts(optimizer):
            optimizer.build(variables)


@contextlib.contextmanager
def _with_its_counts(optimizer: Any) -> Iterator[None]:
    """Keep the numbers that an optimizer counts in Python: its `build` may begin to count anew, as Nadam's does."""
    owners = (optimizer, getattr(optimizer, "inner_optimizer", optimizer))
    counts = [{name: value for name, value in vars(owner).items() if type(value) is int} for owner in owners]
    try:
        yield
    finally:
        for owner, kept in zip(owners, counts, strict=True):
            vars(owner).update(kept)


@contextlib.contextmanager
def _slots_from_untouched_memory(optimizer: Any) -> Iterator[None]:
    """Let the zeros that slots begin with take no time: saved values are about to replace them."""
    make = optimizer.add_variable_from_reference

    def make_untouched(
        model_variable: tf.Variable, variable_name: str, shape: Any = None, initial_value: Any = None
    ) -> tf.Variable:
        if initial_value is None and shape is None and model_variable.shape.is_fully_defined():
            initial_value = _zeros(model_variable.shape, _dtype_name(model_variable))
        return make(model_variable, variable_name, shape=shape, initial_value=initial_value)

    optimizer.add_variable_from_reference = make_untouched
    try:
        yield
    finally:
        del optimizer.add_variable_from_reference


def _zeros(shape: tf.TensorShape, dtype: str) -> Any:
    """Make zeros; where they are many, of pages that the system fills in when they are first read, and so never."""
    size_bytes = shape.num_elements() * tf.as_dtype(dtype).size
    if size_bytes < _SMALLEST_ADOPTED_BYTES:
        return tf.zeros(shape, dtype)
    memory = np.zeros(size_bytes + _ALIGNMENT_BYTES, np.uint8)
    start = -_address_of(memory) % _ALIGNMENT_BYTES
    return _adopted(memory[start : start + size_bytes].view(tf.as_dtype(dtype).as_numpy_dtype).reshape(shape))


def finish_preprocessing(model: tfk.Model) -> None:
    """Let preprocessing layers, such as `Normalization`, compute what they derive from their variables.

    Source: `tf_keras.layers.Normalization.finalize_state`, which Keras's own loading calls too.
    """
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, tfk.layers.experimental.preprocessing.PreprocessingLayer) and layer.built:
            layer.finalize_state()


def _adopted(array: np.ndarray[Any, Any]) -> Any:
    """Make a tensor of an array's memory, if that is worth it and TensorFlow can work with it; else leave the array.

    Source: https://dmlc.github.io/dlpack, which NumPy and TensorFlow both speak.
    """
    is_worth_it = array.nbytes >= _SMALLEST_ADOPTED_BYTES and array.dtype not in _COPIED
    is_ours = array.flags.writeable and array.flags.c_contiguous and _address_of(array) % _ALIGNMENT_BYTES == 0
    if not (is_worth_it and is_ours):
        return array
    if array.dtype == _BFLOAT16:  # NumPy does not export it: its bits travel as integers.
        return tf.bitcast(tf.experimental.dlpack.from_dlpack(array.view(np.uint16).__dlpack__()), tf.bfloat16)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _address_of(array: np.ndarray[Any, Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _fits(variable: tf.Variable, saved: Any) -> bool:
    return bool(variable.shape.is_compatible_with(saved.shape)) and _dtype_name(variable) == saved.dtype.name


def _dtype_name(variable: tf.Variable) -> str:
    return str(getattr(variable, "true_dtype", variable.dtype).name)  # Mixed precision shows the dtype it casts to.


def _described(name: str, value: Any) -> str:
    return f"{name} {_shape_of(value)} {value.dtype.name}"


def _difference(name: str, saved: Any, variable: tf.Variable) -> str:
    return f"{name}: saved {_shape_of(saved)} {saved.dtype.name}, built {_shape_of(variable)} {_dtype_name(variable)}"


def _shape_of(value: Any) -> str:
    return "<unknown>" if tf.TensorShape(value.shape).rank is None else str(tuple(value.shape))
