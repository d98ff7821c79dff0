"""Models of series as public repositories write them, re-told at the smallest size that trains.

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


class DiagonalEncoder(tfk.Model):
    """An encoder that is called past Keras: it overrides `__call__`."""

    def __init__(self, size: int, hidden: tuple[int, ...] = (3,), **_: Any) -> None:
        super().__init__()
        self.size = int(size)
        self.net = tfk.Sequential([*[layers.Dense(units, "relu") for units in hidden], layers.Dense(2 * self.size)])

    def __call__(self, inputs: Any) -> Any:
        """Give the posterior."""
        mapped = self.net(inputs)
        return tfd.MultivariateNormalDiag(mapped[..., : self.size], tf.nn.softplus(mapped[..., self.size :]) + 1e-3)


class CountingDecoder(tfk.Model):
    """A decoder that counts how often it is called."""

    def __init__(self, size: int, hidden: tuple[int, ...] = (3,)) -> None:
        super().__init__()
        self.net = tfk.Sequential([*[layers.Dense(units, "relu") for units in hidden], layers.Dense(size)])
        self.count = 0

    def __call__(self, code: Any) -> Any:
        """Give the likelihood."""
        self.count += 1
        mean = self.net(code)
        return tfd.Normal(mean, tf.ones(tf.shape(mean)))


class ProcessAutoencoder(ProbModelMixin, tfk.Model):
    """Makes its encoder and decoder of classes, and its prior when it is first asked for it."""

    def __init__(self, latent: int, *, encoder: Any = DiagonalEncoder, decoder: Any = CountingDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(latent, (3,), window=3), decoder(2)
        self.latent, self.prior = latent, None

    def get_prior(self, steps: int) -> Any:
        """Make the prior of Cauchy's kernel once."""
        if self.prior is None:
            gaps = np.subtract.outer(np.arange(steps), np.arange(steps)).astype("float32")
            matrix = np.stack([1 / (1 + (gaps / length) ** 2) for length in (1.0, 2.0)][: self.latent])
            tril = tf.linalg.cholesky(matrix + 0.01 * np.eye(steps, dtype="float32"))
            self.prior = tfd.MultivariateNormalTriL(tf.zeros((self.latent, steps)), tril)
        return self.prior

    def __call__(self, inputs: Any, **_: Any) -> Any:
        """Reconstruct."""
        return self.decoder(self.encoder(inputs).sample()).mean()

    def train_step(self, data: Any) -> Any:
        """Maximize the evidence lower bound."""
        x, _ = data
        prior = self.get_prior(x.shape[1])
        with tf.GradientTape() as tape:
            posterior = self.encoder(x)
            code = posterior.sample()
            divergence = (
                posterior.log_prob(code) - tf.reduce_sum(prior.log_prob(tf.transpose(code, [0, 2, 1])), -1)[:, None]
            )
            loss = tf.reduce_mean(divergence) - tf.reduce_mean(self.decoder(code).log_prob(x))
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return {"loss": loss}


# ratschlab/GP-VAE: lib/models.py
@public("public: a GP-VAE that overrides __call__ and makes its prior later", inputs="series")
def _process_autoencoder() -> Made:
    return compiled(ProcessAutoencoder(2), loss=None)


class AutoregressivePrior:
    """A plain object with a variable, and constants that were computed of it."""

    def __init__(self, taus: list[float], scale: float = 0.5) -> None:
        self.log_tau = tf.Variable(tf.math.log(taus), name="log_tau")
        self.scale = scale
        self._phi = tf.exp(-tf.exp(-self.log_tau))
        self._step = tf.sqrt(scale**2 / (1 - self._phi**2))

    def get_dist(self, steps: int) -> Any:
        """Give the process."""
        loc = tf.stack([self._phi**step * tf.exp(-self.log_tau) for step in range(steps)])
        return tfd.Independent(tfd.Normal(loc, self._step), 2)


class Dynamics(ProbModelMixin, tfk.Model):
    """Takes its settings as a dict, and its prior as a plain object."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__()
        self.params = params
        self.encoder = layers.GRU(2 * params["latent"], return_sequences=True, recurrent_regularizer="l2")
        self.dropout = layers.Dropout(params["rates"]["dropout"])
        self.rates = layers.Dense(2)
        self.output_layer = tfpl.DistributionLambda(lambda t: tfd.Independent(tfd.Poisson(log_rate=t), 2))
        self.prior = AutoregressivePrior(params["taus"])

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Give the rates, at the cost of the divergence."""
        loc, scale = tf.split(self.encoder(inputs), 2, axis=-1)
        posterior = tfd.Independent(tfd.Normal(loc, tf.nn.softplus(scale) + 0.1), 2)
        self.add_loss(0.1 * tf.reduce_mean(tfd.kl_divergence(posterior, self.prior.get_dist(5))))
        return self.output_layer(self.rates(self.dropout(posterior.sample(), training=training)))


# SachsLab/indl: indl/dists/sequential.py AR1ProcessMVNGenerator, indl/model/lfads
@public("public: LFADS with an autoregressive prior in a plain object", inputs="series", targets=(5, 2))
def _dynamics() -> Made:
    return compiled(Dynamics({"latent": 2, "taus": [2.0, 4.0], "rates": {"dropout": 0.2}}))


class Lazy(tf.Module):
    """Makes its layers when they are first asked for."""

    def get(self, name: str, make: Any, *args: Any, **kwargs: Any) -> Any:
        """Give the part of a name."""
        if not hasattr(self, "_parts"):
            self._parts: dict[str, Any] = {}
        if name not in self._parts:
            self._parts[name] = make(*args, **kwargs)
        return self._parts[name]


class StateSpace(Lazy):
    """A recurrent state with a stochastic part."""

    def __init__(self, stochastic: int = 2, deterministic: int = 3, activation: Any = tf.nn.elu) -> None:
        super().__init__()
        self._activation, self._stochastic = activation, stochastic
        self._cell = layers.GRUCell(deterministic)
        self._deterministic = deterministic

    def observe(self, series: Any) -> tuple[Any, Any, Any]:
        """Give the posterior's and the prior's means, and the features, step by step."""
        stochastic = tf.zeros([tf.shape(series)[0], self._stochastic])
        state = tf.zeros([tf.shape(series)[0], self._deterministic])
        collected = []
        for step in tf.unstack(series, axis=1):
            joined = self.get("img1", layers.Dense, 3, self._activation)(tf.concat([stochastic, step], -1))
            state, _ = self._cell(joined, [state])
            prior = self.get("img2", layers.Dense, self._stochastic)(state)
            posterior = self.get("obs1", layers.Dense, self._stochastic)(tf.concat([state, step], -1))
            stochastic = tfd.MultivariateNormalDiag(posterior, tf.ones_like(posterior)).sample()
            collected.append((posterior, prior, tf.concat([stochastic, state], -1)))
        return tuple(tf.stack(parts, 1) for parts in zip(*collected, strict=True))


class DenseDecoder(Lazy):
    """Gives a distribution of a kind that is named."""

    def __init__(self, shape: tuple[int, ...], count: int, kind: str = "normal") -> None:
        self._shape, self._count, self._kind = shape, count, kind

    def __call__(self, features: Any) -> Any:
        """Decode."""
        for number in range(self._count):
            features = self.get(f"h{number}", layers.Dense, 3, tf.nn.elu)(features)
        mean = self.get("hout", layers.Dense, int(np.prod(self._shape)))(features)
        make = tfd.Bernoulli if self._kind == "binary" else lambda m: tfd.Normal(m, 1.0)
        return tfd.Independent(make(mean), len(self._shape))


class World(ProbModelMixin, tfk.Model):
    """Holds modules that make their layers late."""

    def __init__(self) -> None:
        super().__init__()
        self.dynamics, self.decoder = StateSpace(), DenseDecoder((2,), 1)
        self.reward = DenseDecoder((1,), 1, "binary")

    def call(self, series: Any) -> Any:
        """Give what is seen and what is earned."""
        posterior, prior, features = self.dynamics.observe(series)
        self.add_loss(tf.reduce_mean(tf.maximum((posterior - prior) ** 2, 0.01)))
        return self.decoder(features).mean(), self.reward(features).log_prob(tf.ones([1]))


# danijar/dreamer: models.py and tools.py
@public("public: a world model of modules that make their layers late", inputs="series", targets=[(5, 2), (5,)])
def _world() -> Made:
    return compiled(World(), loss=["mse", "mae"])


class HiddenChain(layers.Layer):
    """A hidden Markov model with trained transitions, over what a network emits."""

    def __init__(self, states: int, steps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.states, self.steps = states, steps
        self.initial = tfd.Categorical(logits=tf.zeros(states))
        stay = np.log(np.full((states, states), 0.1) + 0.7 * np.eye(states))
        self.transitions = tf.Variable(stay, dtype=tf.float32, name="transitions")
        self.rates = tfp.util.TransformedVariable(np.float32([0.5, 2.0, 4.0][:states]), tfb.Softplus(), name="rates")

    def call(self, inputs: Any) -> Any:
        """Give the log density of a row of counts, and the mode of the chain."""
        chain = tfd.HiddenMarkovModel(
            self.initial,
            tfd.Categorical(logits=self.transitions),
            tfd.Poisson(self.rates),
            num_steps=self.steps,
        )
        counts = tf.math.round(tf.nn.softplus(4 * inputs))
        return chain.log_prob(counts)[:, None], chain.posterior_mode(counts)


# tensorflow/probability: examples/jupyter_notebooks/Multiple_changepoint_detection_and_Bayesian_model_selection.ipynb
@public("public: a hidden Markov model as a layer", inputs="series")
def _hidden_chain() -> Made:
    inputs = tfk.Input((5, 2))
    log_prob, mode = HiddenChain(3, 5)(layers.Reshape((5,))(layers.Dense(1)(inputs)))
    model = tfk.Model(inputs, {"log_prob": log_prob, "mode": mode})
    return compiled(model, loss={"log_prob": lambda _, log_prob: -log_prob})


class Kalman(ProbModelMixin, tfk.Model):
    """A linear state space over codes, whose matrices are variables and constants."""

    def __init__(self, latent: int, steps: int, *, noise: float = 0.3) -> None:
        super().__init__()
        rotation = np.linalg.qr(np.random.normal(size=(latent, latent)))[0]  # noqa: NPY002 - as users write
        self.transition = tf.Variable(rotation, dtype=tf.float32, name="transition")
        self.observation = tf.constant(np.random.normal(size=(2, latent)), tf.float32)  # noqa: NPY002 - as users write
        self.encoder = layers.TimeDistributed(layers.Dense(2, "tanh"))
        self.noise, self.steps = noise, steps

    @property
    def process(self) -> Any:
        """Give the process of the matrices as they are."""
        latent = self.transition.shape[0]
        return tfd.LinearGaussianStateSpaceModel(
            num_timesteps=self.steps,
            transition_matrix=self.transition,
            transition_noise=tfd.MultivariateNormalDiag(scale_diag=tf.fill((latent,), self.noise)),
            observation_matrix=self.observation,
            observation_noise=tfd.MultivariateNormalDiag(scale_diag=tf.ones(2)),
            initial_state_prior=tfd.MultivariateNormalDiag(scale_diag=tf.ones(latent)),
        )

    def call(self, inputs: Any) -> Any:
        """Give the log density of the codes."""
        return self.process.log_prob(self.encoder(inputs))[:, None]


# simonkamronn/kvae: kvae/filter.py
@public("public: a Kalman filter over codes, with a drawn observation matrix", control="made anew", inputs="series")
def _kalman() -> Made:
    return compiled(Kalman(2, 5), loss=lambda _, log_prob: -log_prob)


class ResettingLSTM(layers.LSTM):
    """A layer that is reset when it is called with a flag that the model sets."""

    resets = True

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Weigh the series by whether it is reset."""
        return super().call(inputs * (1.0 if self.resets else 0.5), *args, **kwargs)


class NegativeBinomialLoss(tfk.losses.Loss):
    """Scores counts by a distribution that it makes; scales what it is given."""

    def __init__(self, mask_value: float = -1.0, scale: float = 2.0) -> None:
        super().__init__(reduction=tfk.losses.Reduction.SUM_OVER_BATCH_SIZE)
        self.mask_value, self.scale = mask_value, scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Score the counts that are not masked."""
        rate, dispersion = tf.split(tf.nn.softplus(y_pred) + 1e-3, 2, axis=-1)
        counts = tfd.NegativeBinomial.experimental_from_mean_dispersion(rate * self.scale, dispersion)
        return tf.where(y_true == self.mask_value, 0.0, -counts.log_prob(y_true))


# chendingyan/deepar_tensorflow: deepar/model/layers.py, loss.py, learner.py
@public(
    "public: a forecaster with an embedding of its groups, switched before it is trained",
    inputs="grouped",
    targets=(5, 1),
)
def _forecaster() -> Made:
    series, groups = tfk.Input((5, 2), name="series"), tfk.Input((5,), dtype="int32", name="groups")
    joined = layers.concatenate([series, layers.Embedding(5, 2)(groups)])
    recurrent = ResettingLSTM(3, return_sequences=True, name="lstm")
    output = layers.TimeDistributed(layers.Dense(2))(layers.Dropout(0.2)(recurrent(joined)))
    model = tfk.Model([series, groups], output)
    recurrent.resets = False
    return compiled(model, loss=NegativeBinomialLoss(scale=0.5))
