"""The models that stock_tools.py saves and loads, each as its user would write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbModelMixin, builder

tfd, tfl = tfp.distributions, tfp.layers
SEQUENTIAL_LAYERS = {
    "IndependentNormal": (2, lambda: tfl.IndependentNormal(1)),
    "IndependentBernoulli": (1, lambda: tfl.IndependentBernoulli(1)),
    "IndependentLogistic": (2, lambda: tfl.IndependentLogistic(1)),
    "IndependentPoisson": (1, lambda: tfl.IndependentPoisson(1)),
    "MixtureNormal": (6, lambda: tfl.MixtureNormal(2, 1)),
    "MixtureLogistic": (6, lambda: tfl.MixtureLogistic(2, 1)),
    "DistributionLambda(lambda)": (1, lambda: tfl.DistributionLambda(lambda t: tfd.Normal(t, 1.0))),
}
MULTIVARIATE_LAYERS = {
    "MultivariateNormalTriL": (5, lambda: tfl.MultivariateNormalTriL(2)),
    "OneHotCategorical": (2, lambda: tfl.OneHotCategorical(2)),
    "CategoricalMixtureOfOneHotCategorical": (6, lambda: tfl.CategoricalMixtureOfOneHotCategorical(2, 2)),
    "MixtureSameFamily": (
        tfl.MixtureSameFamily.params_size(2, tfl.IndependentNormal.params_size(2)),
        lambda: tfl.MixtureSameFamily(2, tfl.IndependentNormal(2)),
    ),
}
BAYESIAN_LAYERS = {
    "DenseFlipout": tfl.DenseFlipout,
    "DenseReparameterization": tfl.DenseReparameterization,
    "DenseLocalReparameterization": tfl.DenseLocalReparameterization,
}


class Case(NamedTuple):
    """A model to save and load.

    Attributes:
        row: Title of its row in the table; cases of one row share it.
        build: Makes the model, not yet compiled.
        targets: How many values a target has.
        build_recordable: Makes it as `ProbCheckpoint` takes it, where that is not `build`.
        custom_objects: Classes that the stock loader is given.
    """

    row: str
    build: Callable[[], tfk.Model]
    targets: int = 1
    build_recordable: Callable[[], tfk.Model] | None = None
    custom_objects: Mapping[str, Any] = {}


class PlainRegressor(tfk.Model):
    """A subclassed model without constructor arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.params = tfk.layers.Dense(2)
        self.likelihood = tfl.IndependentNormal(1)

    def call(self, x: tf.Tensor) -> tfd.Distribution:
        """Predict a distribution."""
        return self.likelihood(self.params(x))


class RecordedRegressor(ProbModelMixin, PlainRegressor):
    """The same with the mixin."""


class PlainNetwork(tfk.Model):
    """A subclassed model whose argument is a list."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.hidden = [tfk.layers.Dense(width, "relu") for width in widths]
        self.params = tfk.layers.Dense(2)
        self.likelihood = tfl.IndependentNormal(1)

    def call(self, x: tf.Tensor) -> tfd.Distribution:
        """Predict a distribution."""
        for layer in self.hidden:
            x = layer(x)
        return self.likelihood(self.params(x))


class RecordedNetwork(ProbModelMixin, PlainNetwork):
    """The same with the mixin."""


def ending_in(units: int, layer: Callable[[], tfk.layers.Layer]) -> Callable[[], tfk.Model]:
    """Make a function that builds Dense layers and a last layer on top."""
    return lambda: tfk.Sequential([tfk.layers.Dense(4, "relu"), tfk.layers.Dense(units), layer()])


def with_sampled_output() -> tfk.Model:
    """Build a model whose tensor is a function of its distribution that only the user knows."""
    layer = tfl.DistributionLambda(lambda t: tfd.Normal(t, 1.0), convert_to_tensor_fn=lambda d: d.mean() + 1.0)
    return tfk.Sequential([tfk.layers.Dense(1), layer])


def with_divergence_layer() -> tfk.Model:
    """Build a model with a KL term as a layer of its own."""
    prior = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    layers = [tfk.layers.Dense(5), tfl.MultivariateNormalTriL(2), tfl.KLDivergenceAddLoss(prior)]
    return tfk.Sequential(layers)


def with_divergence_regularizer() -> tfk.Model:
    """Build a model with a KL term as a layer's regularizer."""
    prior = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    regularizer = tfl.KLDivergenceRegularizer(prior)
    return tfk.Sequential([tfk.layers.Dense(5), tfl.MultivariateNormalTriL(2, activity_regularizer=regularizer)])


def posterior(kernel_size: int, bias_size: int, dtype: Any = None) -> tfk.Model:
    """Build a mean-field posterior over a layer's weights."""
    size = kernel_size + bias_size
    return tfk.Sequential([tfl.VariableLayer(2 * size, dtype=dtype), tfl.IndependentNormal(size)])


def prior(kernel_size: int, bias_size: int, dtype: Any = None) -> tfk.Model:
    """Build a prior with trainable means over a layer's weights."""
    size = kernel_size + bias_size
    return tfk.Sequential(
        [
            tfl.VariableLayer(size, dtype=dtype),
            tfl.DistributionLambda(lambda t: tfd.Independent(tfd.Normal(t, 1.0), reinterpreted_batch_ndims=1)),
        ]
    )


def with_dense_variational() -> tfk.Model:
    """Build a Bayesian layer from functions for posterior and prior."""
    return tfk.Sequential([tfl.DenseVariational(2, posterior, prior), tfl.IndependentNormal(1)])


def bayesian(layer: Callable[[int], tfk.layers.Layer]) -> Callable[[], tfk.Model]:
    """Make a function that builds a model with one Bayesian layer."""
    return lambda: tfk.Sequential([layer(2), tfl.IndependentNormal(1)])


def with_autoregressive_flow() -> tfk.Model:
    """Build a masked autoregressive flow on top of a normal distribution."""
    made = tfp.bijectors.AutoregressiveNetwork(params=2, hidden_units=[4], activation="relu")
    base = tfl.DistributionLambda(lambda t: tfd.MultivariateNormalDiag(t[..., :2], 0.1 + tf.abs(t[..., 2:4])))
    return tfk.Sequential([tfk.layers.Dense(4), base, tfl.AutoregressiveTransform(made)])


class Kernel(tfk.layers.Layer):
    """A trainable squared-exponential kernel, as VariationalGaussianProcess asks for one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.amplitude = self.add_weight(name="amplitude", initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Do nothing: TFP only asks for `kernel`."""
        return x

    @property
    def kernel(self) -> tfp.math.psd_kernels.PositiveSemidefiniteKernel:
        """The kernel at the current amplitude."""
        return tfp.math.psd_kernels.ExponentiatedQuadratic(amplitude=tf.nn.softplus(self.amplitude))


def with_gaussian_process() -> tfk.Model:
    """Build a variational Gaussian process over one feature."""
    process = tfl.VariationalGaussianProcess(
        num_inducing_points=3,
        kernel_provider=Kernel(),
        inducing_index_points_initializer=tfk.initializers.Constant(np.linspace(-1, 1, 3)[:, None].astype("float32")),
    )
    return tfk.Sequential([tfk.layers.Dense(1), process])


def cases() -> list[Case]:
    """List every model, in the order of the table."""
    multivariate = ", ".join(MULTIVARIATE_LAYERS)
    layers = {
        "Sequential + " + ", ".join(SEQUENTIAL_LAYERS): (SEQUENTIAL_LAYERS, 1),
        "Sequential + " + multivariate: (MULTIVARIATE_LAYERS, 2),
    }
    stock = {"PlainRegressor": PlainRegressor, "PlainNetwork": PlainNetwork, "Kernel": Kernel}
    sequential, several = (
        [Case(row, ending_in(*last), targets) for last in group.values()] for row, (group, targets) in layers.items()
    )
    dense = ", ".join(BAYESIAN_LAYERS)
    return [
        *sequential,
        Case("subclassed model without arguments", PlainRegressor, 1, RecordedRegressor, stock),
        Case(
            "subclassed model whose argument is a list",
            lambda: PlainNetwork([4, 4]),
            1,
            lambda: RecordedNetwork([4, 4]),
            stock,
        ),
        *several,
        Case("DistributionLambda(convert_to_tensor_fn=lambda)", with_sampled_output),
        Case("KLDivergenceAddLoss", with_divergence_layer, 2),
        Case("KLDivergenceRegularizer on MultivariateNormalTriL", with_divergence_regularizer, 2),
        Case("DenseVariational", with_dense_variational),
        *(Case(dense, bayesian(layer)) for layer in BAYESIAN_LAYERS.values()),
        Case("AutoregressiveTransform", with_autoregressive_flow, 2),
        Case("VariationalGaussianProcess", with_gaussian_process, 1, None, stock),
    ]


def through_builder(build: Callable[[], tfk.Model]) -> tfk.Model:
    """Build a model so that the function is what is recorded of it."""
    return builder(build)()
