"""Normalizing flows as public repositories write them, re-told at the smallest size that trains.

Nothing is copied: the structure is the case, and each names the repository and the path that it re-tells.
In a module that a later process can import.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from tests.zoo.cases import Cases, Made, compiled

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers
layers = tfk.layers

CASES = Cases()
public = functools.partial(CASES.add, control="a step further")

l2 = functools.partial(tfk.regularizers.l2, 0.01)


def coupling(size: int) -> tfk.Model:
    """Build the network of a coupling, under the name of a class."""
    inputs = tfk.Input(shape=size)
    shift = layers.Dense(size, kernel_regularizer=l2())(layers.Dense(3, "relu", kernel_regularizer=l2())(inputs))
    scale = layers.Dense(size, "tanh", kernel_regularizer=l2())(layers.Dense(3, "relu")(inputs))
    return tfk.Model(inputs=inputs, outputs=[scale, shift])


class Couplings(tfk.Model):
    """Couplings by masks in an array, with a distribution as an attribute."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.distribution = tfd.MultivariateNormalDiag([0.0, 0.0], [1.0, 1.0])
        self.masks = np.array([[0, 1], [1, 0]] * (count // 2), dtype="float32")
        self.loss_tracker = tfk.metrics.Mean(name="loss")
        self.layers_list = [coupling(2) for _ in range(count)]

    @property
    def metrics(self) -> Any:
        """Reset at each epoch's begin."""
        return [self.loss_tracker]

    def call(self, inputs: Any, training: bool = True) -> Any:  # noqa: FBT001, FBT002 - as users write
        """Give the latents and the log determinant."""
        log_det: Any = 0
        direction = -1 if training else 1
        for number in range(self.count)[::direction]:
            kept = inputs * self.masks[number]
            scale, shift = (out * (1 - self.masks[number]) for out in self.layers_list[number](kept))
            gate = (direction - 1) / 2
            moved = inputs * tf.exp(direction * scale) + direction * shift * tf.exp(gate * scale)
            inputs = (1 - self.masks[number]) * moved + kept
            log_det += gate * tf.reduce_sum(scale, [1])
        return inputs, log_det

    def train_step(self, data: Any) -> Any:
        """Maximize the likelihood."""
        x, _ = data
        with tf.GradientTape() as tape:
            latent, log_det = self(x)
            loss = -tf.reduce_mean(self.distribution.log_prob(latent) + log_det)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}


# keras-team/keras-io: examples/generative/real_nvp.py
@public("public: couplings by masks")
def _couplings() -> Made:
    return compiled(Couplings(2), loss=None)


class BuiltFirst(tfk.Model):
    """Sets its distributions before the base class is initialised, and overrides `__call__`."""

    def __init__(self, base: Any, flows: list[Any], event_shape: Any = None, **kwargs: Any) -> None:
        self.base_distribution, self.flows, self.event_shape = base, flows, event_shape
        self.flow = tfd.TransformedDistribution(base, tfb.Chain(list(reversed(self.flows))))
        super().__init__(**kwargs)

    def __call__(self, *inputs: Any, training: Any = True) -> Any:
        """Transform."""
        return self.flow.bijector.forward(*inputs)

    def train_step(self, data: Any) -> Any:
        """Maximize the likelihood."""
        x, _ = data
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(self.flow.log_prob(x))
        variables = tape.watched_variables()  # A template's are not listed by the flow.
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return {"loss": loss}


# deepchem/deepchem: deepchem/models/normalizing_flows.py
@public("public: a flow of templates that is set before the model is initialised")
def _templates() -> Made:
    flows = [
        tfb.RealNVP(num_masked=1, shift_and_log_scale_fn=tfb.real_nvp_default_template(hidden_layers=[3, 3])),
        tfb.Permute([1, 0]),
        tfb.RealNVP(num_masked=1, shift_and_log_scale_fn=tfb.real_nvp_default_template(hidden_layers=[3, 3])),
    ]
    model = BuiltFirst(tfd.MultivariateNormalDiag(loc=[0.0, 0.0]), flows)
    model.flow.log_prob(tf.zeros((1, 2)))  # A template makes its variables at its first call.
    return compiled(model, loss=None)


class Permutation(tfk.Model):
    """An order that is drawn, in a variable; and the one that takes it back."""

    def __init__(self, size: int) -> None:
        super().__init__()
        order = np.random.permutation(size)  # noqa: NPY002 - as users write
        self.order = tf.Variable(order, trainable=False, dtype=tf.int32, name="order")
        self.back = tf.Variable(np.argsort(order), trainable=False, dtype=tf.int32, name="back")

    def call(self, inputs: Any, inverse: bool = False) -> Any:  # noqa: FBT001, FBT002 - as users write
        """Permute."""
        return tf.gather(inputs, self.back if inverse else self.order, axis=-1)


class Affine(tfk.Model):
    """A conditional coupling that is described by a dict, called with two arguments, and traced in its methods."""

    def __init__(self, meta: dict[str, Any]) -> None:
        super().__init__()
        self.alpha = meta["alpha"]
        self.half = meta["size"] // 2
        self.s_net, self.t_net = (
            tfk.Sequential([layers.Dense(**meta["dense_args"]), layers.Dense(meta["size"] - self.half)]) for _ in "st"
        )
        self.permutation = Permutation(meta["size"]) if meta["use_permutation"] else None
        if self.permutation is not None:
            self.permutation.trainable = False
        self.norm_scale, self.norm_bias = (tf.Variable(tf.fill((meta["size"],), start)) for start in (1.0, 0.0))

    def call(self, target: Any, condition: Any, inverse: bool = False) -> Any:  # noqa: FBT001, FBT002 - as users write
        """Transform one way or the other."""
        return self.inverse(target, condition) if inverse else self.forward(target, condition)

    def _params(self, kept: Any, condition: Any) -> tuple[Any, Any]:
        joined = tf.concat([kept, condition], -1)
        scale = self.s_net(joined)
        if self.alpha is not None:
            scale = (2.0 * self.alpha / np.pi) * tf.math.atan(scale / self.alpha)
        return scale, self.t_net(joined)

    @tf.function
    def forward(self, target: Any, condition: Any) -> Any:
        """Give the latents and the log determinant."""
        target = target * self.norm_scale + self.norm_bias
        target = target if self.permutation is None else self.permutation(target)
        kept, moved = target[..., : self.half], target[..., self.half :]
        scale, shift = self._params(kept, condition)
        log_det = tf.reduce_sum(scale, -1) + tf.reduce_sum(tf.math.log(tf.abs(self.norm_scale)), -1)
        return tf.concat([kept, moved * tf.exp(scale) + shift], -1), log_det

    @tf.function
    def inverse(self, latent: Any, condition: Any) -> Any:
        """Give the target."""
        kept, moved = latent[..., : self.half], latent[..., self.half :]
        scale, shift = self._params(kept, condition)
        target = tf.concat([kept, (moved - shift) * tf.exp(-scale)], -1)
        target = target if self.permutation is None else self.permutation(target, inverse=True)
        return (target - self.norm_bias) / self.norm_scale


class Amortizer(ProbModelMixin, tfk.Model):
    """An inference and a summary network, trained by a method with keywords."""

    def __init__(self, meta: dict[str, Any], summary: tfk.Model, latent: Any = None) -> None:
        super().__init__()
        self.summary = summary
        self.couplings = [Affine(meta) for _ in range(2)]
        self.latent = latent or tfd.MultivariateNormalDiag(tf.zeros(meta["size"]))

    def call(self, inputs: Any, **_: Any) -> Any:
        """Give the log density of the parameters, given the data."""
        target, condition = inputs[1], self.summary(inputs[0])
        target = tf.concat([target, target**2, tf.sin(target)], -1)
        total = tf.zeros(1)
        for step in self.couplings:
            target, log_det = step(target, condition)
            total += log_det
        return (self.latent.log_prob(target) + total)[:, None]


# stefanradev93/BayesFlow (1.x): bayesflow/coupling_networks.py, helper_networks.py, amortizers.py
@public("public: an amortizer over conditional couplings with drawn permutations", inputs="pair")
def _amortizer() -> Made:
    meta = {"size": 3, "alpha": 1.9, "use_permutation": True, "dense_args": {"units": 3, "activation": "elu"}}
    return compiled(Amortizer(meta, tfk.Sequential([layers.Dense(2, "relu")])), loss=lambda _, log_prob: -log_prob)


class SplineParams(tf.Module):
    """Makes the networks of a spline at its first call."""

    def __init__(self, bins: int = 3) -> None:
        super().__init__()
        self._bins, self._built = bins, False
        self._widths = self._heights = self._slopes = None

    def __call__(self, inputs: Any, units: int) -> Any:
        """Give the spline."""
        if not self._built:
            normalized = lambda x: tf.math.softmax(tf.reshape(x, (-1, units, self._bins))) * 1.96 + 0.01  # noqa: E731
            positive = lambda x: tf.math.softplus(tf.reshape(x, (-1, units, self._bins - 1))) + 0.01  # noqa: E731
            self._widths = layers.Dense(units * self._bins, activation=normalized, name="w")
            self._heights = layers.Dense(units * self._bins, activation=normalized, name="h")
            self._slopes = layers.Dense(units * (self._bins - 1), activation=positive, name="s")
            self._built = True
        parts = {"bin_widths": self._widths, "bin_heights": self._heights, "knot_slopes": self._slopes}
        return tfb.RationalQuadraticSpline(**{name: part(inputs) for name, part in parts.items()}, range_min=-1)


class SplineFlow(ProbModelMixin, tfk.Model):
    """A distribution made by a method that `__init__` calls."""

    def __init__(self, splits: int = 1) -> None:
        super().__init__()
        self.splines = [SplineParams() for _ in range(splits)]
        self.flow = self.make_flow()

    def make_flow(self) -> Any:
        """Chain the splines."""
        steps = []
        for spline in self.splines:
            steps += [tfb.RealNVP(1, bijector_fn=spline), tfb.Permute([1, 0])]
        return tfd.TransformedDistribution(tfd.MultivariateNormalDiag(tf.zeros(2), [0.5, 0.5]), tfb.Chain(steps))

    def call(self, inputs: Any) -> Any:
        """Give the log density."""
        return self.flow.log_prob(inputs)[:, None]


# tensorflow/probability: tensorflow_probability/python/bijectors/rational_quadratic_spline.py, the example
@public("public: a spline flow whose networks are made at the first call")
def _spline_flow() -> Made:
    return compiled(SplineFlow(), loss=lambda _, log_prob: -log_prob)


# tensorflow/probability: tensorflow_probability/python/bijectors/masked_autoregressive.py, the conditional example
@public("public: a conditional autoregressive flow, with log_prob of symbolic tensors", inputs="pair")
def _conditional_flow() -> Made:
    made = tfb.AutoregressiveNetwork(
        params=2,
        hidden_units=[3],
        event_shape=(2,),
        conditional=True,
        kernel_initializer=tfk.initializers.VarianceScaling(0.1),
        conditional_event_shape=(1,),
        activation="tanh",
    )
    flow = tfd.TransformedDistribution(
        distribution=tfd.Sample(tfd.Normal(loc=0.0, scale=1.0), sample_shape=[2]),
        bijector=tfb.MaskedAutoregressiveFlow(made),
    )
    point, condition = tfk.Input((2,)), tfk.Input((1,))
    log_prob = flow.log_prob(point, bijector_kwargs={"conditional_input": condition})
    return compiled(tfk.Model([point, condition], log_prob), loss=lambda _, log_prob: -log_prob)


class Shuffled(ProbModelMixin, tfk.Model):
    """A stack of autoregressive steps with normalisation, in an order that is drawn."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__()
        steps: list[Any] = [tfb.BatchNormalization()] if params["batchnorm"] else []
        for number in range(params["layers"]):
            made = tfb.AutoregressiveNetwork(params=2, hidden_units=params["hidden"], activation=params["activation"])
            steps.append(tfb.MaskedAutoregressiveFlow(shift_and_log_scale_fn=made, name=f"maf{number}"))
            steps.append(tfb.Permute(permutation=np.random.permutation(params["size"])))  # noqa: NPY002 - as users write
        self.flow = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), params["size"]), tfb.Chain(steps[:-1]))

    def call(self, inputs: Any) -> Any:
        """Give the log density."""
        return self.flow.log_prob(tf.concat([inputs, tf.sin(3 * inputs)], -1))[:, None]


# LukasRinder/normalizing-flows: normalizingflows/flow_catalog.py
@public("public: autoregressive steps with normalisation and drawn orders", control="made anew")
def _shuffled() -> Made:
    params = {"size": 4, "layers": 2, "hidden": [4], "batchnorm": True, "activation": tf.nn.relu}
    return compiled(Shuffled(params), loss=lambda _, log_prob: -log_prob)


class Planar(layers.Layer):
    """A step of a planar flow, that adds its log determinant as a loss."""

    def __init__(self, latent: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        draw = tfk.initializers.RandomNormal(stddev=0.3)
        self.u = tf.Variable(draw((1, latent)), name="u")
        self.w = tf.Variable(draw((1, latent)), name="w")
        self.b = tf.Variable(tf.zeros((1,)), name="b")

    def call(self, inputs: Any) -> Any:
        """Move the codes."""
        bent = tf.tanh(tf.reduce_sum(inputs * self.w, -1, keepdims=True) + self.b)
        slope = (1 - bent**2) * self.w
        self.add_loss(-tf.reduce_mean(tf.math.log(tf.abs(1 + tf.reduce_sum(slope * self.u, -1)) + 1e-3)))
        return inputs + self.u * bent


# YeongHyeon/Normalizing-Flow-TF2: README.md; after Rezende and Mohamed
@public("public: an autoencoder with planar steps", targets=(2,))
def _planar() -> Made:
    inputs = tfk.Input((2,))
    state = tfpl.IndependentNormal(2, name="posterior")(layers.Dense(4)(inputs))
    for _ in range(2):
        state = Planar(2)(state)
    model = tfk.Model(inputs, tfpl.IndependentNormal(2)(layers.Dense(4)(state)))
    prior = tfd.MultivariateNormalDiag([0.0, 0.0])
    model.add_loss(-tf.reduce_mean(prior.log_prob(state)))
    return compiled(model)
