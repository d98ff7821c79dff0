from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from keras_probckpt.recipe.code_uses import used_by
from keras_probckpt.recipe.description import describe_layers
from keras_probckpt.recipe.differences import layer_differences
from keras_probckpt.training.variables import find_layers
from tests.parameter_ids import without_address

layers, tfd, tfpl = tfk.layers, tfp.distributions, tfp.layers


class Net(ProbModelMixin, tfk.Model):
    """A subclassed model with arguments of several kinds."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.hidden, self.settings = layers.Dense(2), settings
        self.tracker = tfk.metrics.Mean()

    def call(self, inputs: Any) -> Any:
        """Apply the layer."""
        return self.hidden(inputs)


class Holder(layers.Layer):
    """A layer whose configuration holds what nothing can describe."""

    def __init__(self, item: Any) -> None:
        super().__init__()
        self.item = item

    def get_config(self) -> dict[str, Any]:
        """Give the object itself."""
        return {"item": self.item}


def described(model: tfk.Model, **compiled: Any) -> dict[str, Any]:
    """Describe a model, as the files of a checkpoint have it."""
    found: dict[str, Any] = json.loads(json.dumps(describe_layers(find_layers(model), compiled=compiled)))
    return found


def changes_between(one: tfk.Model, other: tfk.Model) -> tuple[str, ...]:
    """List every difference of two models."""
    return layer_differences(described(one), described(other)).all


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        (1, 2, "saved 1, rebuilt 2"),
        (tfd.Normal(0.0, 1.0), tfd.Normal(0.0, 2.0), ".scale: saved 1.0, rebuilt 2.0"),
        (tfd.Normal(0.0, 1.0), tfd.Laplace(0.0, 1.0), "saved Normal(loc=0.0, scale=1.0), rebuilt Laplace("),
        (np.zeros(2), np.ones(2), ".values[0]: saved 0.0, rebuilt 1.0"),
        (np.zeros(99), np.ones(99), ".digest: saved '"),
        (np.zeros(2), np.zeros(3), ".array: saved 'float64 (2,)', rebuilt 'float64 (3,)'"),
        (tf.Variable([1.0]), tf.Variable([1.0, 2.0]), "variable: saved 'float32 (1,)', rebuilt 'float32 (2,)'"),
        ((1, 2), (1, 3), "[1]: saved 2, rebuilt 3"),
        ((1, 2), (1, 2, 3), "saved [1, 2], rebuilt [1, 2, 3]"),
        ({"a": 1}, {"b": 1}, ".a: saved 1, rebuilt nothing"),
        (float("nan"), 1.0, "saved 'nan', rebuilt 1.0"),
        (tf.nn.relu, tf.nn.elu, "saved 'relu', rebuilt 'elu'"),
        ("x" * 400, "y", "saved '" + "x" * 159 + "..., rebuilt 'y'"),
        (tfk.regularizers.L2(0.1), tfk.regularizers.L2(0.2), ".l2: saved 0.1"),
        (tfk.mixed_precision.Policy("float32"), tfk.mixed_precision.Policy("float64"), "saved 'float32'"),
    ],
    ids=without_address,
)
def test_an_argument_of_any_kind_is_compared_by_what_it_is(before: Any, after: Any, difference: str) -> None:
    """The path leads to the part that differs, and both values are there."""
    (line,) = changes_between(Net(x=before), Net(x=after))[:1]

    assert line.startswith("model.x")
    assert difference in line


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (layers.Dense(2, name="a"), layers.Dense(2, name="b")),
        (layers.Dropout(0.5, seed=1), layers.Dropout(0.5, seed=2)),
        (layers.Dense(2, kernel_initializer=tfk.initializers.RandomNormal(seed=1)), None),
        (layers.Conv1D(2, (3,)), layers.Conv1D(2, [3])),
        (layers.Bidirectional(layers.LSTM(2)), layers.Bidirectional(layers.LSTM(2))),
        (layers.MultiHeadAttention(2, 2), layers.MultiHeadAttention(2, 2)),
        (tfpl.DenseFlipout(2, seed=1), tfpl.DenseFlipout(2, seed=2)),
        (Holder(object()), Holder(object())),
        (Net(x={"b", "a", "c"}), Net(x={"c", "b", "a"})),
        (Holder(np.array([object()] * 99)), Holder(np.array([object()] * 99))),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_each_process_makes_up_for_itself_is_not_compared(one: Any, other: Any) -> None:
    """Names, seeds, addresses, the order of a set; a tuple is as good as a list."""
    other = other or layers.Dense(2, kernel_initializer=tfk.initializers.RandomNormal(seed=2))

    assert changes_between(tfk.Sequential([one]), tfk.Sequential([other])) == ()


def test_what_a_layer_of_keras_makes_for_itself_is_its_own_affair() -> None:
    """What is given to it is not: the layer in a wrapper, the layers in it."""
    model = tfk.Sequential([layers.TimeDistributed(Net()), layers.MultiHeadAttention(2, 2)])
    model.layers[1](tf.ones((1, 2, 3)), tf.ones((1, 2, 3)))

    assert list(described(model)["layers"]) == ["", "layer-0", "layer-1", "layer-0/layer", "layer-0/layer/hidden"]


def test_a_new_argument_of_keras_is_no_difference() -> None:
    """It has come with another version; of the user's own classes it is one."""
    recorded = described(tfk.Sequential([layers.Dense(2), Net()]))
    rebuilt = described(tfk.Sequential([layers.Dense(2), Net()]))
    rebuilt["layers"]["layer-0"]["config"]["lora_rank"] = 4
    rebuilt["layers"]["layer-1"]["config"]["rank"] = 4

    assert layer_differences(recorded, rebuilt).all == ("layer-1.rank: saved nothing, rebuilt 4",)


def test_a_class_that_moved_to_another_module_is_the_same() -> None:
    """Its weights go on; its code is compared."""
    recorded = described(Net())
    recorded["layers"][""]["class"] = "earlier.place.Net"
    recorded["functions"][0]["name"] = "earlier.place.Net"

    assert layer_differences(recorded, described(Net())).all == ()


WIDTH = 3


def test_what_code_uses_is_told_by_name_and_where_it_stands_is_not() -> None:
    """What it closes over, its defaults and plain globals; the name of its module is no part of what it does."""
    factor = 2.0

    def scale(x: Any, shift: float = 0.5) -> Any:
        class Local:
            """Defined anew at each call."""

        return x * factor + shift + WIDTH, Local, json, np

    assert dict(used_by(scale)) == {"factor": 2.0, "shift": 0.5, "WIDTH": 3}


def test_describing_leaves_no_trace() -> None:
    """No random number is drawn, no name used up; and it says the same each time."""
    model = tfk.Sequential([tfk.Input((2,)), layers.Dense(2), tfpl.IndependentNormal(1), layers.Dropout(0.5)])
    model.compile("adam", loss=lambda y, p: p - y)
    name, before = layers.Dense(2).name, random_state()

    first, second = described(model), described(model)

    assert first == second
    assert random_state() == before
    assert int(layers.Dense(2).name.rpartition("_")[2]) == int(name.rpartition("_")[2]) + 1


def random_state() -> list[str]:
    """Take what the next random numbers depend on."""
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002 - the one that Keras draws from
    return [str(state) for state in (random.getstate(), numpy_state, tf.random.get_global_generator().state.numpy())]
