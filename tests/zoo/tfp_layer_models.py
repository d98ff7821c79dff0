"""A model for each class of `tfp.layers` and each way to use it, in a module that a later process can import."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tests.zoo.cases import Cases, Made, anneal, compiled

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers

CASES = Cases()


def stacked(*layers: Any, inputs: tuple[int, ...] = (2,), **options: Any) -> tfk.Model:
    """Stack layers on an input and compile them."""
    return compiled(tfk.Sequential([tfk.Input(inputs), *layers]), **options)


def _headed(make: Any, params_size: int) -> Made:
    return stacked(tfk.layers.Dense(3, "tanh"), tfk.layers.Dense(params_size), make())


for _name, _make, _params_size, _targets in (
    ("IndependentNormal", lambda: tfpl.IndependentNormal(1), 2, (1,)),
    ("IndependentNormal of a shape", lambda: tfpl.IndependentNormal((2, 3)), 12, (2, 3)),
    ("IndependentNormal by its mean", lambda: tfpl.IndependentNormal(1, tfd.Distribution.mean), 2, (1,)),
    ("IndependentBernoulli", lambda: tfpl.IndependentBernoulli(2), 2, (2,)),
    ("IndependentBernoulli by its logits", lambda: tfpl.IndependentBernoulli(1, tfd.Bernoulli.logits), 1, (1,)),
    ("IndependentLogistic", lambda: tfpl.IndependentLogistic(2), 4, (2,)),
    ("IndependentPoisson", lambda: tfpl.IndependentPoisson((2,)), 2, (2,)),
    ("MixtureNormal", lambda: tfpl.MixtureNormal(3, 2), 15, (2,)),
    ("MixtureLogistic", lambda: tfpl.MixtureLogistic(2, [1]), 6, (1,)),
    ("MultivariateNormalTriL", lambda: tfpl.MultivariateNormalTriL(2), 5, (2,)),
    ("OneHotCategorical", lambda: tfpl.OneHotCategorical(2), 2, (2,)),
    (
        "OneHotCategorical of floats by its mode",
        lambda: tfpl.OneHotCategorical(2, tfd.Distribution.mode, tf.float32),
        2,
        (2,),
    ),
    (
        "CategoricalMixtureOfOneHotCategorical",
        lambda: tfpl.CategoricalMixtureOfOneHotCategorical(2, 3, convert_to_tensor_fn=tfd.Distribution.mean),
        9,
        (2,),
    ),
    ("MixtureSameFamily", lambda: tfpl.MixtureSameFamily(2, tfpl.IndependentNormal(2)), 10, (2,)),
    (
        "MixtureSameFamily of MultivariateNormalTriL",
        lambda: tfpl.MixtureSameFamily(2, tfpl.MultivariateNormalTriL(2), validate_args=True),
        12,
        (2,),
    ),
):
    CASES.add(_name, targets=_targets)(functools.partial(_headed, _make, _params_size))


def normal_of(params: Any) -> Any:
    """Make a distribution, by a function with an importable name."""
    return tfd.Normal(params[..., :1], 1e-3 + tf.nn.softplus(params[..., 1:]))


def scaled_mean(distribution: Any) -> Any:
    """Turn a distribution into a tensor, likewise."""
    return 2.0 * distribution.mean()


class Family:
    """Has methods that make distributions and tensors."""

    def make(self, params: Any) -> Any:
        """Make a distribution of a scale that every family has."""
        return tfd.Normal(params, 0.7)

    @staticmethod
    def make_static(params: Any) -> Any:
        """Make one without a family."""
        return tfd.Laplace(params, 0.5)

    @classmethod
    def take(cls, distribution: Any) -> Any:
        """Turn one into a tensor."""
        return distribution.mean() + 1.0


@CASES.add("DistributionLambda of a named function")
def _of_named_function() -> Made:
    return _headed(lambda: tfpl.DistributionLambda(normal_of, scaled_mean), 2)


@CASES.add("DistributionLambda of a lambda")
def _of_lambda() -> Made:
    return _headed(lambda: tfpl.DistributionLambda(lambda t: tfd.StudentT(4.0, t, 1.0), lambda d: d.mean()), 1)


@CASES.add("DistributionLambda of a closure")
def _of_closure() -> Made:
    scale, shift = 0.3, tf.constant([0.5])
    return _headed(lambda: tfpl.DistributionLambda(lambda t: tfd.Normal(t, scale), lambda d: d.sample() + shift), 1)


@CASES.add("DistributionLambda of a closure over a variable")
def _of_closure_over_variable() -> Made:
    scale = tf.Variable(0.3, name="scale")
    model = stacked(tfk.layers.Dense(1), tfpl.DistributionLambda(lambda t: tfd.Normal(t, tf.nn.softplus(scale))))
    return model, anneal(scale)


@CASES.add("DistributionLambda of methods")
def _of_methods() -> Made:
    return _headed(lambda: tfpl.DistributionLambda(Family().make, Family.take), 1)


@CASES.add("DistributionLambda of a static method and Distribution.mean")
def _of_static_method() -> Made:
    return _headed(lambda: tfpl.DistributionLambda(Family.make_static, tfd.Distribution.mean), 1)


@CASES.add("DistributionLambda of a partial")
def _of_partial() -> Made:
    return _headed(
        lambda: tfpl.DistributionLambda(functools.partial(tfd.Normal, scale=0.4), tfd.Distribution.stddev), 1
    )


@CASES.add("DistributionLambda of a class of distributions")
def _of_class() -> Made:
    return _headed(lambda: tfpl.DistributionLambda(tfd.Bernoulli, tfd.Bernoulli.logits, dtype="float32"), 1)


@CASES.add("DistributionLambda with keyword arguments alone")
def _of_keywords() -> Made:
    return stacked(
        tfk.layers.Dense(2),
        tfpl.DistributionLambda(make_distribution_fn=lambda t: tfd.Independent(tfd.Normal(t, 1.0), 1), name="head"),
        tfpl.DistributionLambda(lambda t: tfd.MultivariateNormalDiag(t, [0.5, 2.0])),
    )


@CASES.add("DistributionLambda of several tensors", inputs="pair")
def _of_several() -> Made:
    left, right = tfk.Input((2,)), tfk.Input((1,))
    params = [tfk.layers.Dense(1)(left), tfk.layers.Dense(1, "softplus")(right)]
    outputs = tfpl.DistributionLambda(lambda both: tfd.Normal(both[0], both[1] + 0.1))(params)
    return compiled(tfk.Model([left, right], outputs))


@CASES.add("DistributionLambda of a TransformedDistribution")
def _of_transformed() -> Made:
    chain = tfb.Chain([tfb.Shift(0.5), tfb.Scale(2.0), tfb.Sigmoid(-4.0, 6.0)])
    make = lambda t: tfd.TransformedDistribution(tfd.Normal(t, 1.0), chain)  # noqa: E731 - a lambda is the case
    return _headed(lambda: tfpl.DistributionLambda(make), 1)


@CASES.add("DistributionLambda of a joint distribution in a Blockwise", targets=(2,))
def _of_joint() -> Made:
    def make(t: Any) -> Any:
        joint = tfd.JointDistributionNamed({"a": tfd.Normal(t[..., 0], 1.0), "b": lambda a: tfd.Normal(a, 0.5)})
        return tfd.Blockwise(joint)

    return _headed(lambda: tfpl.DistributionLambda(make), 1)


def _dtypes() -> Made:
    return stacked(
        tfk.layers.Dense(2, dtype="float64"),
        tfpl.DistributionLambda(lambda t: tfd.Normal(t[..., :1], 1e-3 + tf.nn.softplus(t[..., 1:])), dtype="float64"),
        loss=lambda y, d: -d.log_prob(tf.cast(y, tf.float64)),
    )


CASES.add("DistributionLambda of float64")(_dtypes)


@CASES.add("VariableLayer")
def _variable_layer() -> Made:
    inputs = tfk.Input((2,))
    mean = tfk.layers.Dense(1)(inputs)
    scale = tfpl.VariableLayer((1,), activation="softplus", initializer="ones", regularizer="l2", name="scale")(inputs)
    return compiled(tfk.Model(inputs, tfpl.DistributionLambda(lambda both: tfd.Normal(*both))([mean, scale])))


@CASES.add("BlockwiseInitializer")
def _blockwise() -> Made:
    blockwise = tfpl.BlockwiseInitializer(["zeros", tfk.initializers.Constant(0.5)], sizes=[1, 1])
    return stacked(tfk.layers.Dense(2, bias_initializer=blockwise), tfpl.IndependentNormal(1))


@CASES.add("WeightNorm")
def _weight_norm() -> Made:
    normed = tfpl.weight_norm.WeightNorm(tfk.layers.Dense(3, "tanh"), data_init=False)
    return stacked(normed, tfk.layers.Dense(2), tfpl.IndependentNormal(1))


@CASES.add("WeightNorm with its defaults, of a convolution", inputs="images")
def _weight_norm_of_convolution() -> Made:
    normed = tfpl.weight_norm.WeightNorm(tfk.layers.Conv2D(2, 2), input_shape=(4, 4, 1))
    return compiled(tfk.Sequential([normed, tfk.layers.Flatten(), tfk.layers.Dense(2), tfpl.IndependentNormal(1)]))


@CASES.add("AutoregressiveNetwork", targets=(2,))
def _autoregressive_network() -> Made:
    made = tfb.AutoregressiveNetwork(params=2, event_shape=2, hidden_units=[4], activation="relu")
    head = tfpl.DistributionLambda(lambda t: tfd.Independent(tfd.Normal(t[..., 0], tf.exp(t[..., 1])), 1))
    return compiled(tfk.Sequential([made, head]))


@CASES.add("AutoregressiveTransform", targets=(2,))
def _autoregressive_transform() -> Made:
    made = tfb.AutoregressiveNetwork(params=2, hidden_units=[4], activation="relu")
    base = tfpl.DistributionLambda(lambda t: tfd.Sample(tfd.Normal(tf.zeros(tf.shape(t)[0]), 1.0), [2]))
    return compiled(tfk.Sequential([tfk.layers.Dense(2, input_shape=(2,)), base, tfpl.AutoregressiveTransform(made)]))


class RBFKernel(tfk.layers.Layer):
    """Provides a kernel of trainable amplitude and length scale, as TFP's own example does."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._amplitude = self.add_weight(initializer="ones", dtype="float32", name="amplitude")
        self._length_scale = self.add_weight(initializer="ones", dtype="float32", name="length_scale")

    def call(self, inputs: Any) -> Any:
        """Do nothing: it is a layer for its variables."""
        return inputs

    @property
    def kernel(self) -> Any:
        """Give the kernel."""
        return tfp.math.psd_kernels.ExponentiatedQuadratic(
            tf.nn.softplus(self._amplitude), tf.nn.softplus(self._length_scale)
        )


def variational_loss(y: Any, process: Any) -> Any:
    """Score a Gaussian process by its evidence lower bound."""
    return process.variational_loss(y, kl_weight=0.5)


@CASES.add("VariationalGaussianProcess", inputs="points")
def _gaussian_process() -> Made:
    process = tfpl.VariationalGaussianProcess(
        num_inducing_points=4,
        kernel_provider=RBFKernel(),
        event_shape=(1,),
        inducing_index_points_initializer=tfk.initializers.RandomNormal(seed=3),
        unconstrained_observation_noise_variance_initializer=tfk.initializers.Constant(0.5),
        jitter=1e-3,
    )
    return stacked(tfk.layers.Dense(1, use_bias=False), process, inputs=(1,), loss=variational_loss)
