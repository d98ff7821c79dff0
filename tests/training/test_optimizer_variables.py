from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.training.variables import find_variables

layers = tfk.layers
legacy = tfk.optimizers.legacy
X = tf.ones((4, 2))


def scaled(inner: Any) -> Any:
    """Wrap an optimizer as mixed precision does."""
    return tfk.mixed_precision.LossScaleOptimizer(inner)


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "Adadelta": tfk.optimizers.Adadelta,
    "Adafactor": tfk.optimizers.Adafactor,
    "Adagrad": tfk.optimizers.Adagrad,
    "Adam": tfk.optimizers.Adam,
    "Adam amsgrad ema": lambda: tfk.optimizers.Adam(amsgrad=True, use_ema=True),
    "Adam schedule": lambda: tfk.optimizers.Adam(tfk.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)),
    "AdamW": tfk.optimizers.AdamW,
    "Adamax": tfk.optimizers.Adamax,
    "Ftrl": tfk.optimizers.Ftrl,
    "Lion": tfk.optimizers.Lion,
    "Nadam": tfk.optimizers.Nadam,
    "RMSprop": lambda: tfk.optimizers.RMSprop(momentum=0.5, centered=True),
    "SGD": tfk.optimizers.SGD,
    "SGD momentum": lambda: tfk.optimizers.SGD(momentum=0.9),
    "LossScale Adam": lambda: scaled(tfk.optimizers.Adam()),
    "legacy Adadelta": legacy.Adadelta,
    "legacy Adagrad": legacy.Adagrad,
    "legacy Adam": lambda: legacy.Adam(amsgrad=True),
    "legacy Adam schedule": lambda: legacy.Adam(tfk.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)),
    "legacy Adamax": legacy.Adamax,
    "legacy Ftrl": legacy.Ftrl,
    "legacy Nadam": legacy.Nadam,
    "legacy RMSprop": lambda: legacy.RMSprop(momentum=0.5, centered=True),
    "legacy SGD": lambda: legacy.SGD(momentum=0.9),
    "legacy LossScale Adam": lambda: scaled(legacy.Adam()),
}


def trained(make_optimizer: Callable[[], Any]) -> tfk.Model:
    """Let an optimizer make one step."""
    model = tfk.Sequential([layers.Dense(2, input_shape=(2,)), layers.Dense(1)])
    model.compile(make_optimizer(), loss="mse")
    gradients = [tf.ones_like(variable) for variable in model.trainable_variables]
    model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return model


@functools.cache
def trained_once(name: str) -> tfk.Model:
    """Train with one of the optimizers below."""
    return trained(OPTIMIZERS[name])


def variables_of(optimizer: Any) -> list[tf.Variable]:
    """List the variables that an optimizer of either family says it has."""
    return list(optimizer.variables() if callable(optimizer.variables) else optimizer.variables)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_variable_of_an_optimizer_is_found(name: str) -> None:
    """By the optimizer's own list."""
    model = trained_once(name)

    found = {id(variable) for variable in find_variables(model).optimizers.values()}

    missing = [variable.name for variable in variables_of(model.optimizer) if id(variable) not in found]
    assert missing == []


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_made_twice_has_the_same_paths(name: str) -> None:
    """The slots are named after the variables they are for, not after counters or orders."""
    first, second = find_variables(trained_once(name)), find_variables(trained(OPTIMIZERS[name]))

    assert list(first.optimizers) == list(second.optimizers)
    assert all(path.startswith("optimizer/") for path in first.optimizers)


def test_the_slots_are_named_after_their_variables() -> None:
    """Of both families."""
    new = find_variables(trained(lambda: tfk.optimizers.SGD(momentum=0.9))).optimizers
    old = find_variables(trained(lambda: legacy.SGD(momentum=0.9))).optimizers

    assert [path for path in new if "layer-0" in path] == [
        "optimizer/momentums/layer-0/bias",
        "optimizer/momentums/layer-0/kernel",
    ]
    assert [path for path in old if "layer-0" in path] == [
        "optimizer/slots/momentum/layer-0/bias",
        "optimizer/slots/momentum/layer-0/kernel",
    ]


@pytest.mark.parametrize("name", ["Adam", "SGD momentum", "legacy Adam", "LossScale Adam", "Adam amsgrad ema"])
def test_asking_early_does_not_hide_the_slots_from_tensorflow(name: str, tmp_path: pathlib.Path) -> None:
    """A user's own `tf.train.Checkpoint` saves what it did before."""
    asked, other = (tfk.Sequential([layers.Dense(1, input_shape=(2,))]) for _ in range(2))
    for model in (asked, other):
        model.compile(OPTIMIZERS[name](), loss="mse", run_eagerly=True)
    find_variables(asked)

    saved = []
    for number, model in enumerate((asked, other)):
        gradients = [tf.ones_like(variable) for variable in model.trainable_variables]
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(tmp_path / str(number)))
        saved.append(tf.train.list_variables(path))

    assert saved[0] == saved[1]
    assert sum(shape == [2, 1] for _, shape in saved[0]) >= 2  # The kernel, and what the optimizer keeps for it.
    assert set(tf.train.TrackableView.children(asked.optimizer)) == set(
        tf.train.TrackableView.children(other.optimizer)
    )
    assert list(find_variables(asked).optimizers) == list(find_variables(other).optimizers)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "Adafactor"])
def test_a_slot_has_the_name_of_the_variable_it_is_for(name: str) -> None:
    """The four variables of the model have four shapes; Adafactor alone keeps other shapes than they have."""
    found = find_variables(trained_once(name))

    slots = {path: slot for path, slot in found.optimizers.items() if "layer-" in path}

    for path, slot in slots.items():
        assert slot.shape == found.model["layer-" + path.partition("layer-")[2]].shape
    assert len(slots) % 4 == 0
    assert slots or name == "SGD"


class TwoOptimizers(tfk.Model):
    """A model with optimizers of its own, as a GAN has them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = layers.Dense(1), layers.Dense(1)
        self.first_optimizer, self.second_optimizer = tfk.optimizers.Adam(), legacy.Adam()

    def call(self, inputs: Any) -> Any:
        """Apply both layers."""
        return self.first(inputs) + self.second(inputs)


def test_the_optimizers_that_a_model_holds_are_found() -> None:
    """Each with its own variables, under the attribute it is."""
    model = TwoOptimizers()
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_sum(model(X))
    for optimizer, layer in ((model.first_optimizer, model.first), (model.second_optimizer, model.second)):
        optimizer.apply_gradients(
            zip(tape.gradient(loss, layer.trainable_variables), layer.trainable_variables, strict=True)
        )

    paths = set(find_variables(model).optimizers)

    assert {"first_optimizer/_momentums/first/kernel", "second_optimizer/slots/m/second/kernel"} <= paths
