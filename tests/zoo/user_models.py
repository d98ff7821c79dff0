"""Models of users' own classes, in a module that a later process can import."""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

import keras_probckpt
from keras_probckpt import ProbModelMixin
from tests.zoo.cases import Cases, Made, compiled
from tests.zoo.tfp_layer_models import stacked

tfd, tfpl = tfp.distributions, tfp.layers
layers = tfk.layers

CASES = Cases()


class Activation(enum.Enum):
    """An argument that is one of a few."""

    TANH = "tanh"
    RELU = "relu"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """An argument of several fields."""

    hidden: tuple[int, ...]
    activation: Activation = Activation.TANH


class Prior(NamedTuple):
    """An argument of named items."""

    loc: float
    scale: float


class Regressor(ProbModelMixin, tfk.Model):
    """A density network that its arguments describe."""

    def __init__(self, sizes: Sizes, *, prior: Prior, make: Any = tfd.Normal, **options: Any) -> None:
        super().__init__(name=options.pop("name", None))
        self.hidden = [layers.Dense(size, sizes.activation.value) for size in sizes.hidden]
        self.heads = {"loc": layers.Dense(1), "scale": layers.Dense(1, "softplus")}
        self.prior = prior
        self.make = make
        self.options = options

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Give a distribution."""
        state = inputs
        for layer in self.hidden:
            state = layer(state)
        self.add_loss(0.01 * tf.reduce_mean((state - self.prior.loc) ** 2) / self.prior.scale)
        scale = self.heads["scale"](state) * self.options.get("factor", 1.0) + 0.1
        return tfpl.DistributionLambda(lambda t: self.make(t, scale))(self.heads["loc"](state))


@CASES.add("mixin, with a dataclass, an enum and a named tuple")
def _structured() -> Made:
    return Regressor(Sizes((3, 2), Activation.RELU), prior=Prior(0.5, 2.0))


@CASES.add("mixin, with a partial and further keywords")
def _partial() -> Made:
    return Regressor(
        Sizes((3,)), prior=Prior(0.0, 1.0), make=functools.partial(tfd.StudentT, 5.0), factor=0.5, name="student"
    )


@CASES.add("mixin, with a lambda")
def _with_lambda() -> Made:
    return Regressor(Sizes((3,)), prior=Prior(0.0, 1.0), make=lambda loc, scale: tfd.Laplace(loc, 2.0 * scale))


class Stack(ProbModelMixin, tfk.Model):
    """A model of any layers, as positional arguments, and of plain values of all kinds."""

    def __init__(self, *stack: Any, scale: Any = 1.0, where: Any = None, **values: Any) -> None:
        super().__init__()
        self.stack = list(stack)
        self.scale = scale
        self.where = where
        self.values = values

    def call(self, inputs: Any) -> Any:
        """Call each layer on what the one before it gave."""
        state = inputs[self.where] if self.where is not None else inputs
        state = state * self.scale
        for layer in self.stack:
            state = layer(state)
        return state


@CASES.add("mixin, with positional layers and values of all kinds")
def _values() -> Made:
    return Stack(
        layers.Dense(3, "tanh"),
        tfk.Sequential([layers.Dense(2)]),
        tfpl.IndependentNormal(1),
        scale=np.float32([0.5, 2.0]),
        where=(slice(None), slice(None, None, -1)),
        number=np.float32(0.1),
        complex=1 + 2j,
        text={"a": [float("nan"), float("inf"), b"\x00", {1, 2}, frozenset({"x"}), range(3), None, True, ...]},
        types=[tf.float32, np.float64, np.dtype("int8"), tf.TensorShape([None, 2]), tf.constant([1, 2])],
        odd={1: "one", 2: "two"},
    )


class Pairs(ProbModelMixin, tfk.Model):
    """A model of models, called with a dict, that has weights of its own."""

    def __init__(self, left: tfk.Model, right: tfk.layers.Layer) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.offset = tf.Variable(0.5, name="offset")
        self.count = self.add_weight(name="count", shape=(), initializer="zeros", trainable=False)
        self.head = tfpl.MultivariateNormalTriL(2)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Give a distribution and a tensor."""
        if training:
            self.count.assign_add(1.0)
        state = self.left(inputs["left"]) + self.right(inputs["right"]) + self.offset
        return {"d": self.head(state), "t": tf.reduce_sum(state, -1, keepdims=True)}


@CASES.add("mixin, a model of models called with a dict", inputs="named", targets={"d": (2,), "t": (1,)})
def _pairs() -> Made:
    left = tfk.Sequential([layers.Dense(3), layers.Dropout(0.3), layers.Dense(5)])
    return compiled(Pairs(left, layers.Dense(5)), loss={"d": lambda y, d: -d.log_prob(y), "t": "mse"})


class OwnFunctional(ProbModelMixin, tfk.Model):
    """A Functional model that is made by its class."""

    def __init__(self, units: int) -> None:
        inputs = tfk.Input((2,))
        super().__init__(inputs, tfpl.IndependentNormal(1)(layers.Dense(2)(layers.Dense(units)(inputs))))
        self.units = units


@CASES.add("mixin, a Functional model made by its class")
def _own_functional() -> Made:
    return OwnFunctional(3)


class OwnSequential(ProbModelMixin, tfk.Sequential):
    """A Sequential model that is made by its class."""

    def __init__(self, units: int) -> None:
        super().__init__([layers.Dense(units), layers.Dense(2), tfpl.IndependentNormal(1)])


@CASES.add("mixin, a Sequential model made by its class")
def _own_sequential() -> Made:
    return OwnSequential(3)


@keras_probckpt.builder
def build(sizes: Sizes, *more: int, rate: float = 0.01) -> tfk.Model:
    """Build and compile a model: only the arguments are recorded."""
    hidden = [layers.Dense(size, sizes.activation.value) for size in (*sizes.hidden, *more)]
    model = stacked(*hidden, layers.Dense(2), tfpl.IndependentNormal(1))
    model.optimizer.learning_rate.assign(rate)
    return model


@CASES.add("builder, with a dataclass and further positions")
def _built() -> Made:
    return build(Sizes((3,)), 2, 2, rate=0.125)
