from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt.model.attributes import roots_of
from keras_probckpt.model.watch import ModelWatch

layers = tfk.layers
SCALES = {"k": 1.0}


class Holder:
    """Holds something."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Net(tfk.Model):
    """Holds something of each kind."""

    FACTOR = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.drop = layers.Dense(2), layers.Dropout(0.1)
        self.items, self.mapping, self.array = [1.0, 2.0], {"a": 1.0}, np.zeros(3)
        self.holder, self.generator = Holder([1]), np.random.default_rng(0)
        self.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)
        self.function = scaled(2.0)

    def call(self, x: Any) -> Any:  # noqa: D102
        return self.drop(self.dense(x)) * SCALES["k"]


def scaled(factor: float) -> Callable[[Any], Any]:
    """Close over a factor."""

    def scale(x: Any) -> Any:
        return factor * x

    return scale


def built() -> Any:
    """Train a model for an epoch."""
    model = Net()
    model.compile("adam", "mse")
    model.fit(np.ones((4, 3), "float32"), np.ones((4, 2), "float32"), epochs=1, verbose=0)
    return model


def set_in_array(model: Any) -> None:
    """Set a number in place."""
    model.array[1] = 5.0


def set_in_closure(model: Any) -> None:
    """Set what a function closes over."""
    model.function.__closure__[0].cell_contents = 3.0


CHANGES: dict[str, Callable[[Any], Any]] = {
    "attribute": lambda m: setattr(m, "new", 1),
    "number of a stock layer": lambda m: setattr(m.drop, "rate", 0.5),
    "item of a list": lambda m: m.items.__setitem__(0, 9.0),
    "item of a dict": lambda m: m.mapping.update(a=2.0),
    "number in an array": set_in_array,
    "list in a plain object": lambda m: m.holder.value.append(2),
    "draw of a generator": lambda m: m.generator.normal(),
    "entry of a table": lambda m: m.table.insert(tf.constant([1], tf.int64), tf.constant([2.0])),
    "cell of a closure": set_in_closure,
    "number of the optimizer": lambda m: setattr(m.optimizer, "beta_1", 0.5),
    "attribute of the class": lambda _m: setattr(Net, "FACTOR", 2.0),
    "global that a method reads": lambda _m: SCALES.update(k=random.random()),  # noqa: S311 - any other number
    "layer": lambda m: setattr(m, "dense", layers.Dense(2)),
    "activation": lambda m: setattr(m.dense, "activation", tf.nn.tanh),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_once(change: str) -> None:
    """Whatever a model holds, by reference or in place; and what stays as it is after that is no further change."""
    model, watch = built(), ModelWatch()
    watch.has_changed(roots_of(model))

    CHANGES[change](model)

    assert [watch.has_changed(roots_of(model)) for _ in range(2)] == [True, False]


def test_training_calling_and_equal_values_are_no_change() -> None:
    """What Keras notes while it works says nothing of the model; nor does another object of the same value."""
    model, watch = built(), ModelWatch()
    watch.has_changed(roots_of(model))

    model.fit(np.ones((4, 3), "float32"), np.ones((4, 2), "float32"), epochs=1, verbose=0, validation_split=0.5)
    model(np.ones((2, 3), "float32"))
    model.items = [1.0, 2.0]
    model.array = np.zeros(3)
    model.holder = Holder([1])

    assert not watch.has_changed(roots_of(model))


def test_a_layer_that_is_added_to_a_sequential_model_is_a_change() -> None:
    """It is kept among Keras's own bookkeeping."""
    model, watch = tfk.Sequential([layers.Dense(2, input_shape=(3,))]), ModelWatch()
    watch.has_changed(roots_of(model))

    model.add(tfp.layers.IndependentNormal(1))

    assert watch.has_changed(roots_of(model))
