"""Models that are trained in ways of their own, in a module that a later process can import."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from tests.zoo.cases import Cases, Made, anneal, compiled, negative_log_likelihood
from tests.zoo.tfp_layer_models import stacked

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers
layers, optimizers = tfk.layers, tfk.optimizers
schedules = optimizers.schedules

CASES = Cases()


class Halving(schedules.LearningRateSchedule):
    """A schedule that describes itself."""

    def __init__(self, start: float) -> None:
        self.start = start

    def __call__(self, step: Any) -> Any:
        """Give the rate."""
        return self.start * 0.5 ** tf.cast(step, tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments."""
        return {"start": self.start}


def _optimized(make: Any) -> Made:
    return stacked(layers.Dense(3, "tanh"), layers.Dense(2), tfpl.IndependentNormal(1), optimizer=make())


for _name, _make in (
    ("SGD with Nesterov's momentum", lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01)),
    ("Adam with AMSGrad, clipped", lambda: optimizers.Adam(0.05, amsgrad=True, clipnorm=1.0, epsilon=1e-3)),
    (
        "Adam with an average of the weights",
        lambda: optimizers.Adam(0.05, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    ),
    ("AdamW", lambda: optimizers.AdamW(0.05, weight_decay=0.1, global_clipnorm=2.0)),
    ("Adagrad", lambda: optimizers.Adagrad(0.05)),
    ("Adadelta", lambda: optimizers.Adadelta(0.5, clipvalue=0.5)),
    ("Adafactor", lambda: optimizers.Adafactor(0.05)),
    ("Adamax", lambda: optimizers.Adamax(0.05)),
    ("Ftrl", lambda: optimizers.Ftrl(0.05, l1_regularization_strength=0.01)),
    ("Lion", lambda: optimizers.Lion(0.05)),
    ("RMSprop, centered", lambda: optimizers.RMSprop(0.05, centered=True, momentum=0.5)),
    ("legacy Adam", lambda: optimizers.legacy.Adam(0.05, amsgrad=True, decay=0.1)),
    ("legacy SGD", lambda: optimizers.legacy.SGD(0.05, momentum=0.9, clipnorm=1.0)),
    ("legacy RMSprop by a schedule", lambda: optimizers.legacy.RMSprop(schedules.InverseTimeDecay(0.05, 2, 0.5))),
    ("legacy Ftrl", lambda: optimizers.legacy.Ftrl(0.05)),
    ("exponential decay", lambda: optimizers.Adam(schedules.ExponentialDecay(0.05, 2, 0.5, staircase=True))),
    ("piecewise constant decay", lambda: optimizers.SGD(schedules.PiecewiseConstantDecay([1, 3], [0.1, 0.05, 0.01]))),
    ("polynomial decay", lambda: optimizers.SGD(schedules.PolynomialDecay(0.1, 4, cycle=True))),
    (
        "cosine decay with warm-up",
        lambda: optimizers.Adam(schedules.CosineDecay(0.0, 8, warmup_target=0.1, warmup_steps=2)),
    ),
    ("cosine decay with restarts", lambda: optimizers.Adam(schedules.CosineDecayRestarts(0.1, 2))),
    ("a schedule of one's own", lambda: optimizers.Adam(Halving(0.1))),
    (
        "loss scaling",
        lambda: tfk.mixed_precision.LossScaleOptimizer(optimizers.Adam(0.05), initial_scale=64, dynamic_growth_steps=2),
    ),
    (
        "fixed loss scaling",
        lambda: tfk.mixed_precision.LossScaleOptimizer(optimizers.SGD(0.05), dynamic=False, initial_scale=8),
    ),
    (
        "loss scaling of a legacy optimizer",
        lambda: tfk.mixed_precision.LossScaleOptimizer(optimizers.legacy.Adam(0.05)),
    ),
):
    CASES.add(f"optimizer, {_name}")(functools.partial(_optimized, _make))


@CASES.add("mixed precision")
def _mixed_precision() -> Made:
    return stacked(
        layers.Dense(3, "relu", dtype="mixed_float16"),
        layers.BatchNormalization(dtype="mixed_float16"),
        layers.Dense(2, dtype=tfk.mixed_precision.Policy("float32")),
        tfpl.IndependentNormal(1),
        optimizer=tfk.mixed_precision.LossScaleOptimizer(optimizers.Adam(0.05)),
    )


@CASES.add("mixed precision in bfloat16")
def _bfloat16() -> Made:
    return stacked(
        layers.Dense(3, dtype="mixed_bfloat16"),
        layers.Dense(2, dtype="bfloat16"),
        layers.Dense(2, dtype="float32"),
        tfpl.IndependentNormal(1),
    )


@CASES.add("metrics of all kinds")
def _metrics() -> Made:
    metrics = [
        "mae",
        tfk.metrics.RootMeanSquaredError(name="rmse"),
        tfk.metrics.MeanMetricWrapper(mean_score, name="score"),
    ]
    return stacked(layers.Dense(3), layers.Dense(1), loss="mse", metrics=metrics, weighted_metrics=["mse"])


def mean_score(y: Any, prediction: Any) -> Any:
    """Measure something."""
    return tf.reduce_mean(tf.abs(y - prediction), -1)


@CASES.add("a compiled training step")
def _compiled_step() -> Made:
    return stacked(layers.Dense(3), tfpl.DenseFlipout(2), tfpl.IndependentNormal(1), run_eagerly=False)


@CASES.add("a loss that reaches a variable which is annealed")
def _annealed_loss() -> Made:
    weight = tf.Variable(0.0, trainable=False, name="weight")
    model = stacked(layers.Dense(2), tfpl.IndependentNormal(1), loss=lambda y, d: -(1.0 + weight) * d.log_prob(y))
    return model, anneal(weight)


class VariationalAutoencoder(ProbModelMixin, tfk.Model):
    """Has no `call`: its parts are called in `train_step` alone."""

    def __init__(self, latent: int, prior: Any) -> None:
        super().__init__()
        self.encoder = tfk.Sequential([layers.Dense(2 * latent), tfpl.IndependentNormal(latent)])
        self.decoder = tfk.Sequential([layers.Dense(4), tfpl.IndependentNormal(2)])
        self.prior = prior

    def train_step(self, data: Any) -> Any:
        """Maximize the evidence lower bound."""
        x, _ = data
        with tf.GradientTape() as tape:
            posterior = self.encoder(x)
            code = posterior.sample()
            divergence = posterior.log_prob(code) - self.prior.log_prob(code)
            loss = tf.reduce_mean(divergence - self.decoder(code).log_prob(x))
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return {"loss": loss}


@CASES.add("a VAE trained by train_step alone", parts=("encoder", "decoder"))
def _autoencoder() -> Made:
    return compiled(VariationalAutoencoder(2, tfd.Independent(tfd.Normal(tf.zeros(2), 1.0), 1)), loss=None)


@CASES.add("a VAE with a trainable prior", parts=("encoder", "decoder"))
def _autoencoder_with_prior() -> Made:
    scale = tfp.util.TransformedVariable([1.0, 2.0], tfb.Softplus())
    centers = tfd.MultivariateNormalDiag(tf.Variable([[0.0, 0.0], [1.0, -1.0]]), scale)
    prior = tfd.MixtureSameFamily(tfd.Categorical(logits=tf.Variable([0.0, 0.5])), centers)
    return compiled(VariationalAutoencoder(2, prior), loss=None)


class Decoding(VariationalAutoencoder):
    """Has a `call` that takes something else than the training step does."""

    def call(self, code: Any) -> Any:
        """Decode."""
        return self.decoder(code)


@CASES.add("a VAE that is called with codes")
def _decoding() -> Made:
    return compiled(Decoding(2, tfd.MultivariateNormalDiag(tf.zeros(2))), loss=None)


class Adversaries(ProbModelMixin, tfk.Model):
    """Two networks, each with an optimizer that is an attribute."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.generator = tfk.Sequential([layers.Dense(3, "relu"), layers.Dense(2)])
        self.critic = tfk.Sequential([layers.Dense(3, "relu"), layers.Dense(1)])
        self.generator_optimizer = optimizers.Adam(rate, beta_1=0.5)
        self.critic_optimizer = optimizers.legacy.RMSprop(rate)

    def call(self, noise: Any) -> Any:
        """Generate."""
        return self.generator(noise)

    def train_step(self, data: Any) -> Any:
        """Improve the critic, then the generator."""
        real, _ = data
        noise = tf.random.normal(tf.shape(real))
        with tf.GradientTape(persistent=True) as tape:
            fake = self.generator(noise)
            gap = tf.reduce_mean(self.critic(fake)) - tf.reduce_mean(self.critic(real))
            deceit = -tf.reduce_mean(self.critic(fake))
        for loss, part, optimizer in (
            (gap, self.critic, self.critic_optimizer),
            (deceit, self.generator, self.generator_optimizer),
        ):
            weights = part.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"loss": gap}


@CASES.add("a GAN with two optimizers")
def _adversaries() -> Made:
    return compiled(Adversaries(0.05), optimizer="sgd", loss=None)


class Counted(ProbModelMixin, tfk.Model):
    """Keeps metrics and counters of its own, and adds the divergence in its training step."""

    def __init__(self, inner: tfk.Model) -> None:
        super().__init__()
        self.inner = inner
        self.seen = tf.Variable(0, dtype=tf.int64, trainable=False, name="seen")
        self.tracker = tfk.metrics.Mean(name="loss")

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Give a distribution."""
        return self.inner(inputs, training=training)

    @property
    def metrics(self) -> Any:
        """Reset at each epoch's begin."""
        return [self.tracker]

    def train_step(self, data: Any) -> Any:
        """Make an update."""
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(negative_log_likelihood(y, self(x, training=True))) + tf.add_n(self.losses) / 6.0
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        self.seen.assign_add(tf.shape(x, out_type=tf.int64)[0])
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


@CASES.add("a training step that adds the divergence and counts")
def _counted() -> Made:
    inner = tfk.Sequential([tfpl.DenseReparameterization(3), tfpl.DenseFlipout(2), tfpl.IndependentNormal(1)])
    return compiled(Counted(inner), loss=None)
