"""The models of the golden checkpoints. What is written here is pinned by committed bytes: add, do not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

import keras_probckpt
from keras_probckpt import ProbModelMixin

X = np.linspace(-1, 1, 8, dtype="float32").reshape(4, 2)
Y = np.array([[0.0], [1.0], [0.5], [2.0]], "float32")


def negative_log_likelihood(y: Any, distribution: Any) -> Any:
    """Score a distribution."""
    return -distribution.log_prob(y)


def sequential() -> tfk.Model:
    """Make a model whose checkpoint is data only: nothing of it is imported or unpickled."""
    likelihood = tfp.layers.IndependentNormal(1, convert_to_tensor_fn=tfp.distributions.Distribution.mean)
    model = tfk.Sequential([tfk.layers.Dense(3, "relu", input_shape=(2,)), tfk.layers.Dense(2), likelihood])
    model.compile(tfk.optimizers.Adam(0.01), "mse")
    return model


class Net(ProbModelMixin, tfk.Model):
    """A subclassed model with arguments of several kinds."""

    def __init__(self, hidden: list[int], *, scale: Any, activation: Any = "tanh") -> None:
        super().__init__()
        self.hidden = [tfk.layers.Dense(units, activation) for units in hidden]
        self.params = tfk.layers.Dense(2)
        self.likelihood = tfp.layers.IndependentLogistic(1)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        state = inputs * self.scale
        for layer in self.hidden:
            state = layer(state)
        return self.likelihood(self.params(state))


def mixin() -> tfk.Model:
    """Make a subclassed model."""
    model = Net([3, 2], scale=np.array([0.5, 2.0], "float32"), activation=tfk.activations.softplus)
    model.compile(tfk.optimizers.Adam(0.01), negative_log_likelihood)
    return model


@keras_probckpt.builder
def build(units: int) -> tfk.Model:
    """Make a mixture density network, by a builder."""
    params = tfk.layers.Dense(tfp.layers.MixtureNormal.params_size(2, 1))
    return tfk.Sequential([tfk.layers.Dense(units, "relu", input_shape=(2,)), params, tfp.layers.MixtureNormal(2, 1)])


def built() -> tfk.Model:
    """Make a model by its builder."""
    model = build(units=3)
    model.compile(tfk.optimizers.Adam(0.01), negative_log_likelihood)
    return model


MODELS = {"sequential": sequential, "mixin": mixin, "builder": built}


def train(model: tfk.Model, checkpoint: tfk.callbacks.Callback) -> tfk.callbacks.History:
    """Train for two epochs of four batches, in an order that only the position of the data iterator tells."""
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(4, seed=1).batch(1)
    return model.fit(data, epochs=2, verbose=0, callbacks=[checkpoint])


def outputs_of(model: tfk.Model) -> dict[str, list[float]]:
    """Ask a model for everything it should say the same for ever."""
    distribution = model(X)
    values = {
        "mean": distribution.mean(),
        "stddev": distribution.stddev(),
        "log_prob": distribution.log_prob(Y),
    }
    return {name: [float(number) for number in np.ravel(value)] for name, value in values.items()}


def variables_of(model: tfk.Model) -> list[list[str]]:
    """Write every bit of the model's and the optimizer's variables."""
    variables = [*model.variables, *model.optimizer.variables]
    return [[float(number).hex() for number in np.ravel(variable)] for variable in variables]
