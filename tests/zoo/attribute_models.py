"""Small models, each with something that neither its constructor arguments nor its variables tell.

A number, an array, an object or a function that was set, drawn or changed after the constructor was called. A model
that is made anew and is given all variables is another function: that is the control of each.
In a module that a later process can import.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import enum
import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from tests.zoo.cases import Cases, Made, compiled
from tests.zoo.tfp_layer_models import stacked

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers
layers = tfk.layers

CASES = Cases()
NOTHING_LOST = "attributes: nothing but arguments and variables"

forgetful = functools.partial(CASES.add, control="made anew")


def between(change: Callable[[Any], object], model: tfk.Model) -> Made:
    """Give the model with the callback that changes it after the first of two saves."""
    changes = tfk.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: change(model) if epoch == 1 else None)
    return model if model._is_compiled else compiled(model), [changes]


def before(change: Callable[[Any], object], model: tfk.Model) -> Made:
    """Give the model with the callback that changes it before it is trained, and not where it is made for control."""
    changes = tfk.callbacks.LambdaCallback(on_train_begin=lambda logs: change(model))
    return model if model._is_compiled else compiled(model), [changes]


class Head(layers.Layer):
    """A layer of a user that does not describe itself."""

    def __init__(self, units: int = 2) -> None:
        super().__init__()
        self.dense, self.gain, self.link = layers.Dense(units), 1.0, tf.identity

    def call(self, inputs: Any) -> Any:
        """Compute."""
        return self.link(self.dense(inputs) * self.gain)


class Regressor(ProbModelMixin, tfk.Model):
    """Layers in a list and in a dict."""

    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        self.blocks = [Head(3) for _ in range(blocks)]
        self.heads = {"params": Head(2)}
        self.likelihood = tfpl.IndependentNormal(1)
        self.tempering: dict[str, Any] = {"schedule": [1.0, {"now": 1.0}]}

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        for block in self.blocks:
            inputs = tf.tanh(block(inputs))
        state = self.heads["params"](inputs) * self.tempering["schedule"][1]["now"]
        return self.likelihood(state)


@forgetful(NOTHING_LOST)
def _nothing() -> Made:
    return Regressor()


@forgetful("attributes: a number of a layer in a list, changed between two saves", epochs=2)
def _number_in_a_list() -> Made:
    return between(lambda m: setattr(m.blocks[1], "gain", 0.25), Regressor())


@forgetful("attributes: an item of a dict in a list in a dict, changed between two saves", epochs=2)
def _nested_item() -> Made:
    return between(lambda m: m.tempering["schedule"][1].update(now=0.5), Regressor())


def halved(state: Any) -> Any:
    """Compute."""
    return 0.5 * state


@forgetful("attributes: a function of a layer in a dict, set before it is trained")
def _function_in_a_dict() -> Made:
    def change(model: Any) -> None:
        model.heads["params"].link = functools.partial(tf.clip_by_value, clip_value_min=-0.1, clip_value_max=0.1)
        model.blocks[0].link = halved

    return before(change, Regressor())


def _doubled(self: Any, inputs: Any) -> Any:
    return 2.0 * self.dense(inputs)


@forgetful("attributes: a method replaced on an instance")
def _method() -> Made:
    return before(lambda m: setattr(m.blocks[0], "call", types.MethodType(_doubled, m.blocks[0])), Regressor())


@CASES.add("attributes: a head replaced by one of another size after the model was made", targets=(2,))
def _head_replaced() -> Made:
    model = Regressor()
    model.heads["params"], model.likelihood = layers.Dense(4, name="transferred"), tfpl.IndependentNormal(2)
    return model


@forgetful("attributes: a layer that is added to a list before the model is trained")
def _layer_added() -> Made:
    return before(lambda m: m.blocks.append(Head(3)), Regressor(1))


class Link(enum.Enum):
    """How a scale is made."""

    EXP = 1
    SOFTPLUS = 2


@dataclasses.dataclass
class Settings:
    """Settings that are changed where they stand."""

    beta: float = 1.0
    link: Link = Link.SOFTPLUS
    weights: list[float] = dataclasses.field(default_factory=lambda: [1.0, 1.0])


class Configured(ProbModelMixin, tfk.Model):
    """Reads its settings when it is called."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.params = config, layers.Dense(2)
        self.likelihood = tfpl.DistributionLambda(self._make)

    def _make(self, params: Any) -> Any:
        scale = tf.exp(params[..., 1:]) if self.config.link is Link.EXP else tf.nn.softplus(params[..., 1:])
        return tfd.Normal(params[..., :1] * self.config.weights[0], scale * self.config.beta + 0.1)

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        return self.likelihood(self.params(inputs))


def _reconfigure(model: Any) -> None:
    model.config.beta, model.config.link, model.config.weights[0] = 0.25, Link.EXP, 0.5


@forgetful("attributes: a dataclass that was an argument, changed between two saves", epochs=2)
def _dataclass() -> Made:
    return between(_reconfigure, Configured(Settings()))


@forgetful("attributes: an argparse namespace with a list, changed between two saves", epochs=2)
def _namespace() -> Made:
    return between(_reconfigure, Configured(argparse.Namespace(beta=1.0, link=Link.SOFTPLUS, weights=[1.0, 1.0])))


class Scaler:
    """A plain object that is fitted."""

    def __init__(self) -> None:
        self.mean_ = self.scale_ = None

    def fit(self, x: np.ndarray) -> None:
        """Find the mean and the scale."""
        self.mean_, self.scale_ = x.mean(0), x.std(0)

    def transform(self, x: Any) -> Any:
        """Standardize, once it is fitted."""
        return x if self.mean_ is None else (x - self.mean_) / self.scale_


class Standardizing(ProbModelMixin, tfk.Model):
    """Is given nothing, and makes the object."""

    def __init__(self) -> None:
        super().__init__()
        self.scaler, self.params = Scaler(), layers.Dense(2)
        self.likelihood = tfpl.IndependentNormal(1)

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        return self.likelihood(self.params(self.scaler.transform(inputs)))


@forgetful("attributes: a plain object that is fitted before the model is")
def _scaler() -> Made:
    rows = np.float32([[0.5, 1.0], [1.5, -1.0], [2.5, 3.0]])
    return before(lambda m: m.scaler.fit(rows), Standardizing())


@forgetful("attributes: a list in the closure of a distribution, changed between two saves", epochs=2)
def _closure_changed() -> Made:
    box = [1.0]
    head = tfpl.DistributionLambda(lambda t: tfd.StudentT(3.0, t[..., :1], box[0] + tf.nn.softplus(t[..., 1:])))
    model = tfk.Sequential([tfk.Input((2,)), layers.Dense(2), head])
    return between(lambda _: box.__setitem__(0, 0.25), model)


SHARPNESS = 1.0


@forgetful("attributes: a global that a lambda reads, changed between two saves", epochs=2)
def _global() -> Made:
    sharpen = layers.Lambda(lambda x: x * SHARPNESS)
    model = tfk.Sequential([tfk.Input((2,)), layers.Dense(2), sharpen, tfpl.IndependentNormal(1)])
    globals()["SHARPNESS"] = 1.0
    return between(lambda _: globals().update(SHARPNESS=0.25), model)


@forgetful("attributes: a regularizer that is given to a layer after it was made")
def _regularizer() -> Made:
    encode = tfpl.IndependentNormal(2)
    model = stacked(layers.Dense(4), encode, layers.Dense(2), tfpl.IndependentNormal(1))

    def change(model: Any) -> None:
        prior = tfd.MultivariateNormalDiag([0.5, -0.5], [2.0, 1.0])
        encode.activity_regularizer = tfpl.KLDivergenceRegularizer(prior, weight=0.5)
        model.layers[0].kernel_regularizer = tfk.regularizers.l2(0.25)  # Too late: it has to stay without effect.

    return before(change, model)


class Prior(ProbModelMixin, tfk.Model):
    """Punishes codes by a prior that is an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = tfk.Sequential([layers.Dense(4), tfpl.IndependentNormal(2)])
        self.params, self.likelihood = layers.Dense(2), tfpl.IndependentNormal(1)
        self.prior: Any = tfd.MultivariateNormalDiag([0.0, 0.0])

    def call(self, inputs: Any) -> Any:
        """Give a distribution, at the cost of the prior."""
        code = tf.convert_to_tensor(self.encoder(inputs))
        self.add_loss(-tf.reduce_mean(self.prior.log_prob(code)))
        return self.likelihood(self.params(code))


@forgetful("attributes: a prior replaced by another between two saves", epochs=2)
def _prior_replaced() -> Made:
    return between(lambda m: setattr(m, "prior", tfd.Sample(tfd.Laplace(0.5, 2.0), 2)), Prior())


@forgetful("attributes: a prior replaced by one that is trained, before it is trained")
def _trained_prior() -> Made:
    def change(model: Any) -> None:
        parts = tfd.MultivariateNormalDiag(tf.Variable([[0.0, 1.0], [1.0, -1.0]], name="centers"), [1.0, 2.0])
        model.prior = tfd.MixtureSameFamily(tfd.Categorical(logits=tf.Variable([0.0, 0.5], name="mixing")), parts)

    return before(change, Prior())


@CASES.add("attributes: layers of a user and of a nested model frozen before the model is compiled")
def _frozen_first() -> Made:
    model = Regressor()
    model.blocks[0].trainable = model.heads["params"].dense.trainable = False
    return compiled(model)


# Keras trains by what was trainable when the model was compiled: the layer goes on to be trained.
@forgetful("attributes: a part of a nested model frozen between two saves", epochs=2)
def _frozen() -> Made:
    return between(lambda m: setattr(m.encoder.layers[0], "trainable", False), Prior())


class Counting(ProbModelMixin, tfk.Model):
    """Counts its steps in Python, keeps past losses, and finds a scale in its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.params, self.likelihood = layers.Dense(2), tfpl.IndependentNormal(1)
        self.steps, self.past, self.scale = 0, collections.deque(maxlen=3), None

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        return self.likelihood(self.params(inputs if self.scale is None else inputs / self.scale))

    def train_step(self, data: Any) -> Any:
        """Make an update by what is remembered."""
        x, y = data
        self.steps += 1
        if self.scale is None:
            self.scale = tf.math.reduce_std(x, 0)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(-self(x).log_prob(y)) * min(1.0, self.steps / 8) - sum(self.past) / 3
        self.past.append(float(loss))
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return {"loss": loss}


@forgetful("attributes: a step that counts, remembers losses and finds a scale")
def _counting() -> Made:
    return compiled(Counting(), loss=None)


class Weighted(tfk.losses.Loss):
    """A loss whose weight a callback raises; it does not describe itself."""

    def __init__(self, weight: float = 0.0) -> None:
        super().__init__()
        self.weight = weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Score."""
        return -y_pred.log_prob(y_true) + self.weight * y_pred.variance()


@forgetful("attributes: the weight of a loss object, raised between two saves", epochs=2)
def _loss() -> Made:
    model = stacked(layers.Dense(2), tfpl.IndependentNormal(1), loss=Weighted())
    return between(lambda m: setattr(m.loss, "weight", m.loss.weight + 0.5), model)
