"""Regressors and Bayesian networks as public repositories write them, re-told at the smallest size that trains.

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

from tests.zoo.cases import Cases, Made, compiled, negative_log_likelihood
from tests.zoo.tfp_layer_models import stacked

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers
layers, backend = tfk.layers, tfk.backend

CASES = Cases()
public = functools.partial(CASES.add, control="a step further")


class MeanField(tfpl.DistributionLambda):
    """Independent normals; what it was given is set before the base class is initialised."""

    size, scale = None, None

    def __init__(self, size: int, scale: float | None = None, dtype: Any = None) -> None:
        self.size, self.scale = size, scale
        super().__init__(make_distribution_fn=self._maker(size, scale), dtype=dtype)

    @staticmethod
    def _maker(size: int, scale: float | None) -> Any:
        if scale is not None:
            return lambda t: tfd.Independent(tfd.Normal(t[..., :size], scale), 1)

        def make(t: Any) -> Any:
            return tfd.Independent(tfd.Normal(t[..., :size], 1e-5 + tf.nn.softplus(t[..., size : 2 * size])), 1)

        return make


class FlowRegressor(tfk.Sequential):
    """Normalises by arrays that `fit` sets on the model, and compiles itself."""

    def __init__(self, size: int, hidden: int = 3) -> None:
        self.x_mean, self.x_std, self.y_std = [0.0], [1.0], [1.0]
        variational = functools.partial(
            tfpl.DenseVariational, make_posterior_fn=self._posterior, make_prior_fn=self._prior, kl_weight=0.1
        )
        super().__init__(
            [
                layers.Lambda(lambda x: (x - self.x_mean) / self.x_std),
                layers.GaussianNoise(0.1),
                variational(hidden, activation="tanh"),
                variational(2 * size),
                MeanField(size),
            ]
        )
        self.compile(tfk.optimizers.Adam(0.02), lambda y, d: -d.log_prob(y / self.y_std), run_eagerly=True)

    @staticmethod
    def _prior(kernel_size: int, bias_size: int = 0, dtype: Any = None) -> tfk.Model:
        size = kernel_size + bias_size
        return tfk.Sequential([tfpl.VariableLayer(size, trainable=False, dtype=dtype), MeanField(size, 1.0, dtype)])

    @staticmethod
    def _posterior(kernel_size: int, bias_size: int = 0, dtype: Any = None) -> tfk.Model:
        size = kernel_size + bias_size
        start = tfpl.VariableLayer(2 * size, initializer="normal", dtype=dtype)
        return tfk.Sequential([start, MeanField(size, dtype=dtype)])

    def fit(self, x: Any, y: Any, **options: Any) -> Any:
        """Set what the data are normalised by, and fit."""
        self.x_mean, self.x_std = x.mean(0) + np.float32(0.5), x.std(0)
        self.y_std = y.std(0)
        return super().fit(x, y, **options)


# siboehm/NormalizingFlowNetwork: estimators/BaseNFEstimator.py, BayesianNFEstimator.py, DistributionLayers.py
@public("public: a Sequential subclass whose fit sets the mean that its Lambda subtracts", control="made anew")
def _flow_regressor() -> Made:
    return FlowRegressor(1)


class Kernels(tfpl.DistributionLambda):
    """A mixture over fixed centers, which are set after the network is made."""

    def __init__(self, count: int, size: int) -> None:
        self._centers = np.zeros((count, size), "float32")
        super().__init__(lambda t: self._mixture(t))  # noqa: PLW0108 - as users write

    def set_centers(self, centers: np.ndarray) -> None:
        """Take centers that were found in the data."""
        self._centers = centers

    def _mixture(self, logits: Any) -> Any:
        parts = tfd.MultivariateNormalDiag(self._centers, 0.5 * tf.ones_like(self._centers))
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), parts)


# siboehm/NormalizingFlowNetwork: estimators/KernelMixtureNetwork.py
@public("public: a kernel mixture network whose centers are found in the data")
def _kernel_mixture() -> Made:
    kernels = Kernels(3, 1)
    kernels.set_centers(np.float32([[-0.5], [0.25], [1.0]]))
    return stacked(layers.Dense(3, "tanh"), layers.Dense(3), kernels)


class Member:
    """Says how one network of an ensemble is made."""

    def __init__(self, hidden: list[dict[str, Any]], name: str = "") -> None:
        self.hidden, self.name = hidden, name

    def connect(self) -> tuple[Any, Any]:
        """Give its input and its output."""
        inputs = state = tfk.Input((2,), name=f"{self.name}input")
        for number, options in enumerate(self.hidden):
            state = layers.Dense(**options, name=f"{self.name}dense_{number}")(state)
        state = layers.Dense(tfpl.MultivariateNormalTriL.params_size(2), name=f"{self.name}params")(state)
        head = tfpl.MultivariateNormalTriL(2, lambda d: d.mean(), name=f"{self.name}output")
        return inputs, head(state)


# secondmind-labs/trieste: trieste/models/keras/architectures.py
@public("public: a deep ensemble in one Functional model", inputs="twice", targets=[(2,), (2,)])
def _deep_ensemble() -> Made:
    members = [Member([{"units": 3, "activation": "relu"}], f"model_{number}_") for number in range(2)]
    inputs, outputs = zip(*[member.connect() for member in members], strict=True)
    return compiled(tfk.Model(inputs=inputs, outputs=outputs), loss=[negative_log_likelihood] * 2)


def fixed_prior(kernel_size: int, bias_size: int, dtype: Any = None) -> tfk.Model:
    """Build a prior that has no variable."""
    size = kernel_size + bias_size
    make = lambda _: tfd.MultivariateNormalDiag(tf.zeros(size), tf.ones(size))  # noqa: E731 - a lambda is the case
    return tfk.Sequential([tfpl.DistributionLambda(make)])


def full_posterior(kernel_size: int, bias_size: int, dtype: Any = None) -> tfk.Model:
    """Build a posterior with every covariance."""
    size = kernel_size + bias_size
    params = tfpl.VariableLayer(tfpl.MultivariateNormalTriL.params_size(size), dtype=dtype)
    return tfk.Sequential([params, tfpl.MultivariateNormalTriL(size)])


# keras-team/keras-io: examples/keras_recipes/bayesian_neural_networks.py
@public("public: a Bayesian network over a dict of features", inputs="named")
def _bayesian_recipe() -> Made:
    inputs = {"left": tfk.Input((2,), name="left"), "right": tfk.Input((1,), name="right")}
    state = layers.BatchNormalization()(layers.concatenate(list(inputs.values())))
    state = tfpl.DenseVariational(
        2, make_prior_fn=fixed_prior, make_posterior_fn=full_posterior, kl_weight=1 / 6, activation="sigmoid"
    )(state)
    return compiled(tfk.Model(inputs=inputs, outputs=tfpl.IndependentNormal(1)(layers.Dense(2)(state))))


class NormalGamma(layers.Layer):
    """Evidence for a normal; its get_config tells more than its constructor takes."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = int(units)
        self.dense = layers.Dense(4 * self.units)

    def evidence(self, inputs: Any) -> Any:
        """Make positive."""
        return tf.nn.softplus(inputs)

    def call(self, inputs: Any) -> Any:
        """Give the parameters."""
        mu, v, alpha, beta = tf.split(self.dense(inputs), 4, axis=-1)
        return tf.concat([mu, self.evidence(v), self.evidence(alpha) + 1, self.evidence(beta)], -1)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments."""
        return {**super().get_config(), "units": self.units}


def evidential_loss(y: Any, params: Any, coefficient: float = 1.0) -> Any:
    """Score evidence by the marginal, and punish evidence for what is wrong."""
    mu, v, alpha, beta = tf.split(params, 4, axis=-1)
    marginal = tfd.StudentT(2 * alpha, mu, tf.sqrt(beta * (1 + v) / (v * alpha)))
    return -marginal.log_prob(y) + coefficient * tf.abs(y - mu) * (2 * v + alpha)


# aamini/evidential-deep-learning: evidential_deep_learning/layers/dense.py, losses/continuous.py
@public("public: evidential regression, by a layer whose get_config does not fit its constructor")
def _evidential() -> Made:
    def loss(true: Any, predicted: Any) -> Any:
        return evidential_loss(true, predicted, coefficient=1e-2)

    return stacked(layers.Dense(3, "relu"), NormalGamma(1), loss=loss)


def weibull_parameters(raw: Any) -> Any:
    """Make a scale and a shape, with Keras's backend."""
    return backend.concatenate((backend.exp(raw[:, :1]), backend.softplus(raw[:, 1:])), axis=1)


def censored_weibull(outcome: Any, params: Any) -> Any:
    """Score times of which some are only known to be later."""
    time = tfd.Weibull(params[:, 1] + 0.1, params[:, 0])
    died = outcome[:, 1]
    return -tf.reduce_mean(died * time.log_prob(outcome[:, 0] + 0.5) + (1 - died) * time.log_survival_function(0.5))


# pawleymatthew/DeepWeibull: deepweibull.py
@public("public: survival times by an activation of one's own", targets=(2,))
def _survival() -> Made:
    model = tfk.Sequential()
    model.add(layers.Dense(3, input_dim=2, activation="relu"))
    model.add(layers.Dense(2))
    model.add(layers.Activation(weibull_parameters))
    return compiled(model, loss=censored_weibull, optimizer=tfk.optimizers.RMSprop(0.01))


class RadialKernel(layers.Layer):
    """Provides a kernel; its weights are made by the constructor, and it is never called."""

    def __init__(self, dimensions: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        one = tfb.Softplus().inverse(1.0).numpy()
        constant = tfk.initializers.Constant(one)
        self.amplitude = self.add_weight(name="amplitude", shape=[1], initializer=constant)
        self.length_scale = self.add_weight(name="length_scale", shape=dimensions, initializer=constant)

    @property
    def kernel(self) -> Any:
        """Give the kernel of the weights as they are."""
        psd = tfp.math.psd_kernels
        scaled = psd.ExponentiatedQuadratic(tf.math.softplus(self.amplitude))
        return psd.FeatureScaled(scaled, tf.math.softplus(self.length_scale))


# tensorflow/probability: issue 739 and pull request 813, the example model
@public("public: a variational Gaussian process of two outputs over a kernel of several lengths")
def _gaussian_process() -> Made:
    inducing = np.linspace(-1, 1, 6, dtype="float32").reshape(3, 2)
    process = tfpl.VariationalGaussianProcess(
        num_inducing_points=3,
        kernel_provider=RadialKernel(2),
        event_shape=(2,),
        inducing_index_points_initializer=tfk.initializers.Constant(np.stack([inducing] * 2)),
        unconstrained_observation_noise_variance_initializer=tfk.initializers.Constant(np.log(np.expm1(0.5))),
        jitter=1e-4,
        convert_to_tensor_fn=tfd.Distribution.mean,
    )
    turned = layers.Lambda(lambda values: tf.transpose(tf.reshape(values, (2, -1))))
    return stacked(process, turned, layers.Dense(2), tfpl.IndependentNormal(1))


# tensorflow/probability: issue 755
@public("public: feature columns before a LogNormal", inputs="named")
def _feature_columns() -> Made:
    right = tf.feature_column.numeric_column("right", (1,))
    columns = [
        tf.feature_column.numeric_column("left", (2,)),
        tf.feature_column.bucketized_column(right, boundaries=[-0.5, 0.25]),
    ]
    features = {"left": tfk.Input((2,), name="left"), "right": tfk.Input((1,), name="right")}
    state = layers.Dense(2, name="output")(layers.DenseFeatures(columns)(features))
    make = lambda t: tfd.LogNormal(t[..., :1], tf.math.softplus(0.05 * t[..., 1:]))  # noqa: E731 - a lambda is the case
    model = tfk.Model(features, tfpl.DistributionLambda(make)(state))
    return compiled(model, loss=lambda y, d: -d.log_prob(y + 0.5), metrics=[tfk.metrics.MeanAbsolutePercentageError()])


class Dropped(layers.Dropout):
    """Dropout that is never off."""

    def call(self, inputs: Any, **_: Any) -> Any:
        """Drop."""
        return super().call(inputs, training=True)


# mlfpm/deepof: deepof/model_utils.py, MCDropout
@public("public: dropout that is on when it predicts", inputs="series")
def _monte_carlo_dropout() -> Made:
    recurrent = layers.Bidirectional(layers.LSTM(2, return_sequences=True), merge_mode="sum")
    stack = [recurrent, Dropped(0.4), layers.GRU(2), Dropped(0.4, name="last"), layers.Dense(2)]
    return stacked(*stack, tfpl.IndependentNormal(1), inputs=(5, 2))


class DistributionCell(layers.LSTMCell):
    """A cell whose output is drawn; the model that makes its distribution is built by the constructor."""

    def __init__(self, units: int, make: Any = None, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.make = make or (lambda t: tfd.MultivariateNormalDiag(t[0], t[1]))
        state = tfk.Input((units,))
        scale = tf.nn.softplus(layers.Dense(units, name="cell_scale")(state) + 0.5) + 1e-5
        head = tfpl.DistributionLambda(self.make)
        self.distribution = tfk.Model(state, head([layers.Dense(units, name="cell_loc")(state), scale]))

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        """Take a step."""
        output, state = super().call(tf.convert_to_tensor(inputs), states, training=training)
        return tf.convert_to_tensor(self.distribution(output)), state


# SachsLab/indl: indl/dists/sequential.py, VariationalLSTMCell
@public("public: an LSTM cell that draws its output", inputs="series")
def _distribution_cell() -> Made:
    return stacked(layers.RNN(DistributionCell(2)), layers.Dense(2), tfpl.IndependentNormal(1), inputs=(5, 2))
