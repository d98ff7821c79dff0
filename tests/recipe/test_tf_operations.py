"""Graphs of TensorFlow functions: those that the closed tables lack are references."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import CheckpointManager, restore_latest
from keras_probckpt.errors import MalformedRecipeError, UntrustedCheckpointError
from tests.recipe.journeys import read, round_trip, trust_of, written

tfb, tfd = tfp.bijectors, tfp.distributions
INPUT = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")


def of_a_flow() -> tfk.Model:
    """Make a model of a flow's density, as the documentation of TFP's flows does."""
    net = tfb.AutoregressiveNetwork(params=2, hidden_units=[8], activation="relu")
    base = tfd.Sample(tfd.Normal(0.0, 1.0), sample_shape=[2])
    inputs = tfk.Input((2,))
    density = tfd.TransformedDistribution(base, tfb.MaskedAutoregressiveFlow(net)).log_prob(inputs)
    return tfk.Model(inputs, density)


def of_a_mixture() -> tfk.Model:
    """Make a model of a mixture's density."""
    inputs = tfk.Input((2,))
    hidden = tfk.layers.Dense(6)(inputs)
    parts = tfd.Independent(tfd.Normal(tf.reshape(hidden[:, 2:], (-1, 2, 2)), 1.0), 1)
    return tfk.Model(inputs, tfd.MixtureSameFamily(tfd.Categorical(logits=hidden[:, :2]), parts).log_prob(inputs))


def of_initializers() -> tfk.Model:
    """Make a model with initializers that are TensorFlow's own."""
    return tfk.Sequential(
        [
            tfk.layers.Dense(2, kernel_initializer=tf.constant_initializer(0.5), input_shape=(2,)),
            tfk.layers.Dense(2, bias_initializer=tf.random_normal_initializer(stddev=0.1)),
        ]
    )


@pytest.mark.parametrize("make", [of_a_flow, of_a_mixture, of_initializers])
def test_a_model_of_any_function_of_tensorflow_comes_back(make: Any, tmp_path: pathlib.Path) -> None:
    """In one's own checkpoint, whether or not the closed tables have it."""
    model = make()

    with CheckpointManager(model, tmp_path) as manager:
        manager.save(1)
    again = restore_latest(tmp_path)

    assert again(INPUT).numpy().tolist() == model(INPUT).numpy().tolist()


def operation(function: Any) -> Any:
    """Make the layer that Keras makes of a call."""
    return tfk.Model(inputs := tfk.Input((2,)), function(inputs)).layers[-1]


def test_a_function_that_the_tables_lack_needs_trust() -> None:
    """It is written as a reference, and one that they have by its name."""
    inside, outside = (written(operation(function)) for function in (tf.abs, lambda x: tf.ensure_shape(x, [None, 2])))

    assert inside.node["function"] == "tf.math.abs"
    assert inside.read(trust_of("unsigned")).function is tf.abs
    with pytest.raises(UntrustedCheckpointError):
        outside.read(trust_of("unsigned"))


@pytest.mark.parametrize(
    "function",
    [None, 3, "os.system", "tf_keras.layers.Dense", {"$": "known", "name": "tf.math.abs"}, {"$": "tuple", "items": []}],
    ids=str,
)
def test_what_is_no_reference_to_a_function_is_no_operation(function: Any) -> None:
    """A callee is never an object of the file."""
    with pytest.raises(MalformedRecipeError):
        read({"$": "tf_function", "function": function, "name": "f"})


def test_an_initializer_of_tensorflow_keeps_its_arguments() -> None:
    """By its own configuration."""
    again = round_trip(tf.random_uniform_initializer(-2.0, 3.0, seed=5))

    assert again.get_config() == {"minval": -2.0, "maxval": 3.0, "seed": 5}
