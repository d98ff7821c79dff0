"""What a user chose for a training, as plain values, so that a resumed training can say what is no longer the same."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.training.callback_state import callback_names, state_attributes
from keras_probckpt.training.fit_call import FitCall
from keras_probckpt.training.variables import find_layers, find_optimizers

__all__ = ["changed_settings", "layers_weighted_by", "learning_rates", "settings_of"]

_LEARNING_RATE = "learning_rate"
# tf_keras sets it by the device that it finds.
_OF_THE_DEVICE = "jit_compile"
_PRECISION = 1e-6
# Where TFP's layers keep the function that computes their divergence.
_DIVERGENCES = ("_kl_divergence_fn", "kernel_divergence_fn", "bias_divergence_fn")


def settings_of(model: tfk.Model, fit: FitCall) -> dict[str, Any]:
    """Collect what a user chose: optimizers, loss weights, batch size, epochs, size of the data, callbacks.

    Args:
        model: The compiled model, before a checkpoint is put back into it.
        fit: The call that trains it.

    Returns:
        Plain values by name, such as `optimizer.learning_rate`, `batch_size`, `EarlyStopping.patience`.
    """
    found: dict[str, Any] = {"epochs": fit.epochs}
    for path, optimizer in find_optimizers(model).items():
        found.update(_flat(path, _config_of(optimizer)))
    compiled = getattr(model, "_compile_config", None)
    found.update(_flat("loss_weights", None if compiled is None else compiled.config.get("loss_weights")))
    adapter = fit.data_handler._adapter
    found["batch_size"] = adapter.batch_size()
    found["steps_per_epoch"] = fit.data_handler.inferred_steps
    found["samples"] = _samples(adapter)
    for name, callback in callback_names(fit.callbacks):
        state, parameters = state_attributes(callback), inspect.signature(type(callback)).parameters
        chosen = {key: value for key, value in vars(callback).items() if key in parameters and key not in state}
        found.update(_flat(name, chosen))
    return {name: value for name, value in found.items() if value is not None}


def _config_of(optimizer: Any) -> dict[str, Any]:
    """Give what an optimizer says of its settings, as far as it says anything: they are only compared."""
    try:
        config = optimizer.get_config()
    except Exception:  # noqa: BLE001 - a user's may raise whatever it likes
        return {}
    return _without_device(config) if isinstance(config, Mapping) else {}


def _without_device(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_device(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key != _OF_THE_DEVICE
    }


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _flat(f"{name}[{index}]", item)
    elif isinstance(value, (bool, str)):
        yield name, value
    elif isinstance(value, numbers.Integral):
        yield name, int(value)
    elif isinstance(value, numbers.Real):
        yield name, float(value)


def _samples(adapter: Any) -> int | None:
    """Count the examples there are, where that is known without reading them."""
    steps, batch_size = adapter.get_size(), adapter.batch_size()
    if steps is None or batch_size is None:
        return None
    rest = adapter.partial_batch_size() if adapter.has_partial_batch() else None
    return int(steps * batch_size if not rest else (steps - 1) * batch_size + rest)


def learning_rates(model: tfk.Model, changed: Iterable[str] | None = None) -> list[tuple[tf.Variable, Any]]:
    """Take learning rates, and the variables they are to be kept in.

    Args:
        model: The compiled model.
        changed: Names of settings, to take only the rates that are among them.
    """
    names = None if changed is None else set(changed)
    found = []
    for path, optimizer in find_optimizers(model).items():
        variable = getattr(getattr(optimizer, "inner_optimizer", optimizer), "learning_rate", None)
        is_meant = names is None or any(
            name.startswith(f"{path}.") and _LEARNING_RATE in name.split(".") for name in names
        )
        if isinstance(variable, tf.Variable) and is_meant:
            found.append((variable, variable.numpy()))
    return found


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """List by name the settings that two fits both have and that differ, as `(before, now)`."""
    return {name: (before[name], now[name]) for name in before if name in now and not _is_same(before[name], now[name])}


def _is_same(before: Any, now: Any) -> bool:
    if isinstance(before, float) and isinstance(now, float):
        # An optimizer gives back 0.1 as the float32 that it keeps.
        return math.isclose(before, now, rel_tol=_PRECISION) or (math.isnan(before) and math.isnan(now))
    return bool(before == now)


def layers_weighted_by(model: tfk.Model, *, samples: int) -> list[str]:
    """List the layers that weight a KL divergence by one over a number of examples."""
    return [
        path or type(model).__name__
        for path, layer in find_layers(model).items()
        if any(_is_number_of(weight, samples) for weight in _kl_weights(layer))
    ]


def _kl_weights(layer: tfk.layers.Layer) -> Iterator[Any]:
    """Yield the numbers that a layer's divergence may be weighted by: an argument, or held by its function."""
    regularizer = getattr(layer, "activity_regularizer", None)
    yield getattr(regularizer, "weight", None)
    for name in _DIVERGENCES:
        function = getattr(layer, name, None)
        if inspect.isfunction(function):
            closure = inspect.getclosurevars(function)
            yield from (*closure.nonlocals.values(), *closure.globals.values())


def _is_number_of(weight: Any, samples: int) -> bool:
    is_number = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
    return is_number and any(
        math.isclose(float(weight) * factor, 1.0, rel_tol=1e-6) for factor in (samples, 1 / samples)
    )
