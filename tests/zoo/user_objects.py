"""Models that hold users' own layers and other objects, in a module that a later process can import."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from tests.zoo.cases import Cases, Made
from tests.zoo.tfp_layer_models import stacked

tfd, tfpl = tfp.distributions, tfp.layers
layers = tfk.layers

CASES = Cases()


class MixedIn(ProbModelMixin, tfk.layers.Layer):
    """A layer that the mixin describes."""

    def __init__(self, inner: tfk.layers.Layer, function: Any) -> None:
        super().__init__()
        self.inner, self.function = inner, function

    def call(self, inputs: Any) -> Any:
        """Compute."""
        return self.function(self.inner(inputs))


class Configured(tfk.layers.Layer):
    """A layer that describes itself."""

    def __init__(self, units: int, initializer: Any = "zeros", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.initializer = units, tfk.initializers.get(initializer)

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.kernel = self.add_weight("kernel", (input_shape[-1], self.units), initializer=self.initializer)

    def call(self, inputs: Any) -> Any:
        """Compute."""
        return inputs @ self.kernel

    def get_config(self) -> dict[str, Any]:
        """Give the arguments."""
        initializer = tfk.initializers.serialize(self.initializer)
        return {**super().get_config(), "units": self.units, "initializer": initializer}


@tfk.saving.register_keras_serializable("zoo")
class Registered(Configured):
    """A layer that is registered under a name."""


class Recorded(tfk.layers.Layer):
    """A layer whose arguments Keras records by itself."""

    def __init__(self, units: int, kind: str = "tanh", use_bias: bool = True) -> None:  # noqa: FBT001, FBT002 - as users write
        super().__init__()
        self.dense = layers.Dense(units, kind, use_bias=use_bias)

    def call(self, inputs: Any) -> Any:
        """Compute."""
        return self.dense(inputs)


class Around(ProbModelMixin, tfk.layers.Wrapper):
    """A wrapper of any layer."""

    def call(self, inputs: Any) -> Any:
        """Compute."""
        return inputs + self.layer(inputs)


for _name, _make in (
    ("mixin", lambda: MixedIn(layers.Dense(3), tf.nn.tanh)),
    ("mixin, of a layer of one's own", lambda: MixedIn(MixedIn(Recorded(2), tf.square), lambda t: t + 0.1)),
    ("get_config", lambda: Configured(3, tfk.initializers.RandomNormal(stddev=0.5, seed=1), name="own")),
    ("register_keras_serializable", lambda: Registered(3, "glorot_uniform")),
    ("recorded arguments", lambda: Recorded(3, "relu", use_bias=False)),
    ("mixin, a wrapper", lambda: Around(Configured(2, "ones"))),
):
    CASES.add(f"own layer, {_name}")(
        functools.partial(lambda make: stacked(make(), layers.Dense(2), tfpl.IndependentNormal(1)), _make)
    )


class Cell(tfk.layers.Layer):
    """A recurrent cell that describes itself."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.dense = layers.Dense(units, "tanh")

    def call(self, inputs: Any, states: Any) -> Any:
        """Take a step."""
        output = self.dense(tf.concat([inputs, states[0]], -1))
        return output, [output]

    def get_config(self) -> dict[str, Any]:
        """Give the arguments."""
        return {**super().get_config(), "units": self.units}


@CASES.add("own cell in an RNN", inputs="series")
def _own_cell() -> Made:
    return stacked(layers.RNN(Cell(2)), layers.Dense(2), tfpl.IndependentNormal(1), inputs=(5, 2))


class Plain(tfk.Model):
    """A subclassed model whose arguments Keras records by itself."""

    def __init__(self, units: int = 3) -> None:
        super().__init__()
        self.hidden, self.params = Recorded(units), layers.Dense(2)
        self.likelihood = tfpl.IndependentNormal(1)

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        return self.likelihood(self.params(self.hidden(inputs)))


@CASES.add("own model, recorded arguments")
def _plain() -> Made:
    return Plain(units=2)


class ShiftedNormal(ProbModelMixin, tfpl.DistributionLambda):
    """A distribution layer of one's own."""

    def __init__(self, shift: float) -> None:
        super().__init__(lambda t: tfd.Normal(t + shift, 0.5), tfd.Distribution.mean)


@CASES.add("own distribution layer, mixin")
def _own_distribution_layer() -> Made:
    return stacked(layers.Dense(1), ShiftedNormal(0.25))


class HalfPlane(tfk.constraints.Constraint):
    """A constraint, described by nothing but its class."""

    def __call__(self, weights: Any) -> Any:
        """Compute."""
        return tf.abs(weights)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments: there are none."""
        return {}


class Penalty(tfk.regularizers.Regularizer):
    """A regularizer that describes itself."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def __call__(self, weights: Any) -> Any:
        """Compute."""
        return self.strength * tf.reduce_sum(tf.abs(weights))

    def get_config(self) -> dict[str, Any]:
        """Give the arguments."""
        return {"strength": self.strength}


class Steps(tfk.initializers.Initializer):
    """An initializer that the mixin could not take: it describes itself."""

    def __init__(self, step: float = 0.1) -> None:
        self.step = step

    def __call__(self, shape: Any, dtype: Any = None, **_: Any) -> Any:
        """Compute."""
        return tf.reshape(tf.range(np.prod(shape), dtype=dtype), shape) * self.step

    def get_config(self) -> dict[str, Any]:
        """Give the arguments."""
        return {"step": self.step}


class Likelihood(tfk.losses.Loss):
    """A loss that describes itself."""

    def __init__(self, weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Score."""
        return -self.weight * y_pred.log_prob(y_true)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments."""
        return {**super().get_config(), "weight": self.weight}


@CASES.add("own initializer, regularizer, constraint and loss")
def _own_objects() -> Made:
    dense = layers.Dense(
        3, kernel_initializer=Steps(0.2), kernel_regularizer=Penalty(0.1), kernel_constraint=HalfPlane()
    )
    return stacked(dense, layers.Dense(2), tfpl.IndependentNormal(1), loss=Likelihood(0.5, name="own"))
