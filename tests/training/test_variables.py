from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt.training.variables import find_variables

layers = tfk.layers
legacy = tfk.optimizers.legacy
X, Y = tf.ones((4, 2)), tf.ones((4, 1))


class Blocks(tfk.Model):
    """A model whose parts are in containers of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.in_list = [layers.Dense(1, name="any"), [layers.Dense(2)]]
        self.in_tuple = (layers.Dense(1),)
        self.by_name = {"a/b": layers.Dense(1), "~": layers.Dense(1)}
        self.by_number = {10: layers.Dense(1), 2: layers.Dense(1)}
        self.nested = {"deep": [{"er": (layers.Dense(1, use_bias=False),)}]}
        self.own = tf.Variable(1.0, name="whatever")
        self.steps = tf.Variable(0, trainable=False, dtype=tf.int64)
        self.generator = tf.random.Generator.from_seed(1)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Apply all of them."""
        first, (second,) = self.in_list
        parts = [first, second, *self.in_tuple, *self.by_name.values(), *self.by_number.values()]
        parts.append(self.nested["deep"][0]["er"][0])
        return tf.concat([part(inputs) for part in parts], -1) * self.own


def built_blocks() -> Blocks:
    """Make the model and its variables."""
    model = Blocks()
    model(X)
    return model


def sequential() -> tfk.Sequential:
    """Make a Sequential model with a distribution at its end."""
    return tfk.Sequential(
        [layers.Dense(3, input_shape=(2,)), layers.Dropout(0.1), layers.Dense(2), tfp.layers.IndependentNormal(1)]
    )


def functional() -> tfk.Model:
    """Make a Functional model in which one layer is used twice."""
    first, second = tfk.Input((2,)), tfk.Input((2,))
    shared = layers.Dense(3)
    return tfk.Model([first, second], layers.Dense(1)(layers.Concatenate()([shared(first), shared(second)])))


def test_the_variables_of_a_sequential_model_are_named_by_their_places() -> None:
    """Not by the counters in the names of its layers."""
    assert list(find_variables(sequential()).model) == [
        "layer-0/bias",
        "layer-0/kernel",
        "layer-2/bias",
        "layer-2/kernel",
    ]


def test_a_layer_used_twice_has_its_variables_once() -> None:
    """By their shortest path."""
    paths = find_variables(functional()).model

    assert sorted(paths) == ["layer-2/bias", "layer-2/kernel", "layer-4/bias", "layer-4/kernel"]


def test_the_variables_of_a_subclassed_model_are_named_by_attributes() -> None:
    """In lists and tuples by index, in dicts by key, nested ones by both; variables and generators of its own too."""
    assert sorted(find_variables(built_blocks()).model) == [
        "by_name/a~1b/bias",
        "by_name/a~1b/kernel",
        "by_name/~0/bias",
        "by_name/~0/kernel",
        "by_number/10/bias",
        "by_number/10/kernel",
        "by_number/2/bias",
        "by_number/2/kernel",
        "generator/_state_var",
        "in_list/0/bias",
        "in_list/0/kernel",
        "in_list/1/0/bias",
        "in_list/1/0/kernel",
        "in_tuple/0/bias",
        "in_tuple/0/kernel",
        "nested/deep/0/er/0/kernel",
        "own",
        "steps",
    ]


class SameNames(layers.Layer):
    """A layer that adds two weights under one name."""

    def build(self, input_shape: Any) -> None:
        """Add them."""
        self.add_weight("w", (2,))
        self.kept = self.add_weight("w", (3,))
        self.add_weight("w", (4,), trainable=False)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Do nothing."""
        return inputs


def test_weights_added_under_one_name_are_all_found() -> None:
    """They hide each other from TensorFlow's own view."""
    model = tfk.Sequential([SameNames()])
    model(X)

    found = find_variables(model).model

    assert sorted(variable.shape[0] for variable in found.values()) == [2, 3, 4]
    assert len(found) == 3


class Tied(tfk.Model):
    """A model in which one layer is at two places, and which holds itself in a cycle."""

    def __init__(self) -> None:
        super().__init__()
        self.first = layers.Dense(2)
        self.alias = self.first
        self.child = tfk.Sequential([self.first])
        self.child.parent = self

    def call(self, inputs: Any) -> Any:
        """Apply the layer."""
        return self.child(inputs)


def test_a_layer_at_several_places_and_a_cycle_are_met_once() -> None:
    """The walk ends, and each variable has one path."""
    model = Tied()
    model(X)

    assert list(find_variables(model).model) == ["alias/bias", "alias/kernel"]


MODELS: list[Callable[[], tfk.Model]] = [sequential, functional, built_blocks]


@pytest.mark.parametrize("make", MODELS)
def test_every_variable_of_a_model_is_found(make: Callable[[], tfk.Model]) -> None:
    """Keras's own list of weights is the oracle."""
    model = make()

    found = {id(variable) for variable in find_variables(model).model.values()}

    assert {id(variable) for variable in model.weights} <= found


@pytest.mark.parametrize("make", MODELS)
def test_a_model_built_twice_has_the_same_paths(make: Callable[[], tfk.Model]) -> None:
    """Though tf_keras counts its layers on."""
    first, second = make(), make()

    assert list(find_variables(first).model) == list(find_variables(second).model)
    assert [v.shape for v in find_variables(first).model.values()] == [
        v.shape for v in find_variables(second).model.values()
    ]


class Measured(tfk.Model):  # type: ignore[misc] # tf_keras is untyped
    """Holds metrics itself: one that it updates, one that it is compiled with, and some in containers."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(1)
        self.tracker = tfk.metrics.Mean()
        self.compiled = tfk.metrics.MeanSquaredError()
        self.more = [{"sum": tfk.metrics.Sum()}]

    def call(self, inputs: Any) -> Any:
        """Apply the layer."""
        return self.dense(inputs)


def test_metrics_that_a_model_holds_are_variables_of_it() -> None:
    """They are among its weights; those that only `compile` made are not."""
    model = Measured()
    model.compile("sgd", loss="mse", metrics=["mae", model.compiled])
    model.fit(X, Y, verbose=0)

    found = find_variables(model)

    assert sorted(found.model) == [
        "compiled/count",
        "compiled/total",
        "dense/bias",
        "dense/kernel",
        "more/0/sum/total",
        "tracker/count",
        "tracker/total",
    ]
    assert {id(weight) for weight in model.weights} <= {id(variable) for variable in found.model.values()}
    assert sorted(found.trackers) == ["compiled", "more/0/sum", "tracker"]
    assert [path for path in sorted(found.model) if not found.is_of_tracker(path)] == ["dense/bias", "dense/kernel"]


def test_metrics_of_compile_are_no_variables_of_the_model() -> None:
    """They start anew in each epoch."""
    model = tfk.Sequential([layers.Dense(1, input_shape=(2,))])
    model.compile("sgd", loss="mse", metrics=["mae"])
    model.fit(X, Y, verbose=0)

    assert sorted(find_variables(model).model) == ["layer-0/bias", "layer-0/kernel"]
