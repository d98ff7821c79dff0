"""Models that depend on what is not in their layers: a dtype policy, plain objects, what no model tracks.

In a module that a later process can import.
"""

from __future__ import annotations

import collections
import enum
import functools
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from tf_keras.src.mixed_precision import policy

from keras_probckpt import ProbModelMixin
from tests.zoo.cases import Cases, Made, compiled
from tests.zoo.tfp_layer_models import stacked

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers
layers = tfk.layers

CASES = Cases()


class Net(ProbModelMixin, tfk.Model):
    """A density network that is given a part of its work, as an object of any kind."""

    def __init__(self, work: Any, **options: Any) -> None:
        super().__init__()
        self.hidden, self.params = layers.Dense(3), layers.Dense(2, dtype="float32")
        self.work, self.options = work, options
        self.likelihood = tfpl.IndependentNormal(1, dtype="float32")

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        return self.likelihood(self.work(self.params(self.hidden(inputs))))


@CASES.add("a Sequential model under a global policy of mixed precision")
def _sequential_of_policy() -> Made:
    with policy.policy_scope("mixed_float16"):
        return stacked(layers.Dense(3), layers.Dense(2, dtype="float32"), tfpl.IndependentNormal(1, dtype="float32"))


@CASES.add("a subclassed model under a global policy of mixed precision")
def _subclassed_under_policy() -> Made:
    with policy.policy_scope("mixed_bfloat16"):
        model = compiled(Net(tf.nn.tanh))
        model(tf.zeros((1, 2)))  # Its layers are built under it too.
        return model


class KeptLoss(tfk.losses.Loss):
    """A loss without a `get_config`, that keeps its arguments."""

    def __init__(self, weight: float, link: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight
        self._link = link

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Score."""
        return -self.weight * self._link(y_pred.log_prob(y_true))


class KeptMetric(tfk.metrics.Metric):
    """A metric likewise."""

    def __init__(self, name: str = "kept", scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.scale = scale
        self.total = self.add_weight(name="total", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add."""
        self.total.assign_add(self.scale * tf.reduce_sum(tf.convert_to_tensor(y_pred)))

    def result(self) -> Any:
        """Give the sum."""
        return self.total


class KeptPenalty(tfk.regularizers.Regularizer):
    """A regularizer likewise."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def __call__(self, weights: Any) -> Any:
        """Compute."""
        return self.strength * tf.reduce_sum(weights**2)


@CASES.add("own loss, metric and regularizer that keep their arguments and do not describe themselves")
def _kept() -> Made:
    dense = layers.Dense(2, kernel_regularizer=KeptPenalty(0.25))
    return stacked(
        dense, tfpl.IndependentNormal(1), loss=KeptLoss(0.5, tf.nn.softplus), metrics=[KeptMetric(scale=2.0)]
    )


@CASES.add("a flow's network in a closure, called by the loss alone", targets=(2,))
def _flow_in_closure() -> Made:
    made = tfb.AutoregressiveNetwork(
        params=2, event_shape=[2], hidden_units=[4], conditional=True, conditional_event_shape=[3]
    )

    def make(state: Any) -> Any:
        flow = tfb.MaskedAutoregressiveFlow(lambda x: tf.unstack(made(x, conditional_input=state), axis=-1))
        return tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), [2]), flow)

    head = tfpl.DistributionLambda(make, convert_to_tensor_fn=lambda _distribution: tf.zeros([1]))
    return stacked(layers.Dense(3), head, run_eagerly=False)


class Penalty:
    """A plain object that hides a layer and a variable."""

    def __init__(self) -> None:
        self.dense = layers.Dense(2)
        self.weights = [tf.Variable(0.5, name="weight")]

    def __call__(self, inputs: Any) -> Any:
        """Compute."""
        return self.weights[0] * tf.reduce_mean(self.dense(inputs) ** 2)


class Penalized(Net):
    """Calls the plain object in its training step alone."""

    def __init__(self) -> None:
        super().__init__(tf.identity)
        self.penalty = Penalty()

    def train_step(self, data: Any) -> Any:
        """Make an update."""
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(-self(x).log_prob(y)) + self.penalty(x)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        self.penalty.weights[0].assign_add(0.125)
        return {"loss": loss}


@CASES.add("a layer in a plain object, called in train_step alone")
def _penalized() -> Made:
    return compiled(Penalized(), loss=None, run_eagerly=False)


@CASES.add("losses of weights given to a model and to its layers")
def _added_losses() -> Made:
    inputs = tfk.Input((2,))
    dense = layers.Dense(2, kernel_regularizer="l2")
    model = tfk.Model(inputs, tfpl.IndependentNormal(1)(dense(inputs)))
    dense.add_loss(lambda: 0.25 * tf.reduce_sum(dense.bias**2))
    model.add_loss(lambda: 0.125 * tf.reduce_sum(model.trainable_variables[0] ** 2))
    return compiled(model)


@CASES.add("metrics of several outputs", targets=[(1,), (2,)])
def _metrics_of_outputs() -> Made:
    inputs = tfk.Input((2,))
    outputs = [layers.Dense(1, name="one")(inputs), layers.Dense(2, name="two")(inputs)]
    metrics = [[tfk.metrics.MeanSquaredError()], [tfk.metrics.MeanAbsoluteError(name="two_error")]]
    return compiled(tfk.Model(inputs, outputs), loss=["mse", "mae"], metrics=metrics)


@tf.function
def traced(inputs: Any) -> Any:
    """Compute, in a graph of its own."""
    return tf.nn.softplus(inputs)


@CASES.add("functions that are traced")
def _traced() -> Made:
    local = tf.function(lambda t: 0.5 * t, input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    traced(tf.zeros((1, 3)))
    local(tf.zeros((1, 2)))
    make = lambda t: tfd.Normal(local(t)[..., :1], traced(t[..., 1:]))  # noqa: E731 - a lambda is the case
    return stacked(layers.Dense(2, activation=traced), tfpl.DistributionLambda(make))


class Scaling(tf.Module):
    """Holds a variable in a list."""

    def __init__(self, factor: float) -> None:
        super().__init__(name="scaling")
        self.factors = [tf.Variable(factor, name="factor")]

    def __call__(self, inputs: Any) -> Any:
        """Compute."""
        return inputs * self.factors[0]


class Parts(enum.Flag):
    """An argument that is several of a few."""

    LOC = enum.auto()
    SCALE = enum.auto()


@CASES.add("mixin, with a module of TensorFlow, flags and an ordered dict")
def _module() -> Made:
    return compiled(Net(Scaling(0.5), parts=Parts.LOC | Parts.SCALE, order=collections.OrderedDict(b=1, a=(2,))))


class Joint(ProbModelMixin, tfk.Model):
    """Is given a joint distribution, which it trains."""

    def __init__(self, joint: Any) -> None:
        super().__init__()
        self.joint, self.dense = joint, layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        """Predict, at the cost of a prior."""
        self.add_loss(-tf.reduce_mean(self.joint.log_prob(self.joint.sample(seed=3))))
        return self.dense(inputs)


@CASES.add("mixin, with a joint distribution whose variables are trained")
def _joint() -> Made:
    location = tf.Variable(0.25, name="location")

    @functools.partial(tfd.JointDistributionCoroutineAutoBatched, batch_ndims=0)
    def joint() -> Any:
        first = yield tfd.Normal(location, 1.0, name="first")
        yield tfd.Normal(first, 2.0, name="second")

    return compiled(Joint(joint), loss="mse")
