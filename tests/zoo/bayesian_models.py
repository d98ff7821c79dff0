"""Models whose weights are distributions, and models with priors over their outputs."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tests.zoo.cases import Cases, Made, anneal
from tests.zoo.tfp_layer_models import stacked

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers

CASES = Cases()


def _with_dense(cls: Any) -> Made:
    return stacked(cls(3, activation="tanh"), cls(2), tfpl.IndependentNormal(1))


for _cls in (tfpl.DenseFlipout, tfpl.DenseReparameterization, tfpl.DenseLocalReparameterization):
    CASES.add(f"{_cls.__name__} with its defaults")(functools.partial(_with_dense, _cls))


def _with_convolution(cls: Any, inputs: tuple[int, ...]) -> Made:
    return stacked(
        cls(2, 2, padding="same", activation=tf.nn.relu),
        tfk.layers.Flatten(),
        tfk.layers.Dense(2),
        tfpl.IndependentNormal(1),
        inputs=inputs,
    )


for _cls, _inputs, _shape in (
    (tfpl.Convolution1DFlipout, "series", (5, 2)),
    (tfpl.Convolution1DReparameterization, "series", (5, 2)),
    (tfpl.Convolution2DFlipout, "images", (4, 4, 1)),
    (tfpl.Convolution2DReparameterization, "images", (4, 4, 1)),
    (tfpl.Convolution3DFlipout, "volumes", (3, 3, 3, 1)),
    (tfpl.Convolution3DReparameterization, "volumes", (3, 3, 3, 1)),
):
    CASES.add(_cls.__name__, inputs=_inputs)(functools.partial(_with_convolution, _cls, _shape))


def laplace_prior(dtype: Any, shape: Any, name: str, trainable: bool, add_variable_fn: Any) -> Any:  # noqa: FBT001 - TFP's signature
    """Make a prior over a kernel, as TFP's layers ask for it."""
    return tfd.Independent(tfd.Laplace(tf.zeros(shape, dtype), 1.5), len(shape))


def learned_prior(dtype: Any, shape: Any, name: str, trainable: bool, add_variable_fn: Any) -> Any:  # noqa: FBT001 - TFP's signature
    """Make a prior whose location is trained with the layer."""
    location = add_variable_fn(
        name=f"{name}_prior_loc", shape=shape, initializer=tf.zeros_initializer(), dtype=dtype, trainable=trainable
    )
    return tfd.Independent(tfd.Normal(location, tf.ones([], dtype)), len(shape))


def scaled_divergence(q: Any, p: Any, _ignore: Any) -> Any:
    """Weigh the divergence by a number."""
    return tfd.kl_divergence(q, p) / 60.0


@CASES.add("DenseFlipout with functions of its own")
def _flipout_with_functions() -> Made:
    layer = tfpl.DenseFlipout(
        2,
        kernel_posterior_fn=tfpl.default_mean_field_normal_fn(
            untransformed_scale_initializer=tf.random_normal_initializer(-3.0, 0.05, seed=2)
        ),
        kernel_posterior_tensor_fn=lambda d: d.sample(seed=4),
        kernel_prior_fn=learned_prior,
        kernel_divergence_fn=scaled_divergence,
        bias_posterior_fn=tfpl.default_mean_field_normal_fn(is_singular=True),
        seed=9,
    )
    return stacked(layer, tfpl.IndependentNormal(1))


@CASES.add("DenseReparameterization with a posterior of the bias and a lambda for a prior")
def _reparameterization_with_functions() -> Made:
    layer = tfpl.DenseReparameterization(
        2,
        kernel_prior_fn=lambda dtype, shape, *_: tfd.Independent(tfd.Cauchy(tf.zeros(shape, dtype), 1.0), len(shape)),
        kernel_divergence_fn=lambda q, p, _: tf.reduce_sum(q.log_prob(q.mean()) - p.log_prob(q.mean())),
        bias_posterior_fn=tfpl.default_mean_field_normal_fn(),
        bias_posterior_tensor_fn=tfd.Distribution.sample,
        bias_prior_fn=tfpl.default_multivariate_normal_fn,
        bias_divergence_fn=scaled_divergence,
    )
    return stacked(layer, tfpl.IndependentNormal(1))


@CASES.add("DenseLocalReparameterization whose divergence a callback anneals")
def _annealed() -> Made:
    weight = tf.Variable(0.0, trainable=False, name="kl_weight")
    divergence = lambda q, p, _: weight * tfd.kl_divergence(q, p)  # noqa: E731 - a lambda is the case
    model = stacked(
        tfpl.DenseLocalReparameterization(3, kernel_divergence_fn=divergence, activation="relu"),
        tfpl.DenseLocalReparameterization(2, kernel_divergence_fn=divergence),
        tfpl.IndependentNormal(1),
    )
    return model, anneal(weight)


@CASES.add("Convolution2DFlipout whose divergence is annealed, with a prior of its own", inputs="images")
def _annealed_convolution() -> Made:
    weight = tf.Variable(0.0, trainable=False)
    layer = tfpl.Convolution2DFlipout(
        2,
        kernel_size=(2, 2),
        strides=(2, 2),
        kernel_prior_fn=laplace_prior,
        kernel_divergence_fn=lambda q, p, _: weight * tf.reduce_mean(q.log_prob(q.mean()) - p.log_prob(q.mean())),
        bias_posterior_fn=tfpl.default_mean_field_normal_fn(),
        bias_prior_fn=laplace_prior,
        bias_divergence_fn=None,
        name="stochastic",
    )
    model = stacked(layer, tfk.layers.Flatten(), tfk.layers.Dense(2), tfpl.IndependentNormal(1), inputs=(4, 4, 1))
    return model, anneal(weight)


def posterior_of(kernel_size: int, bias_size: int = 0, dtype: Any = None) -> tfk.Model:
    """Build a mean-field posterior for `DenseVariational`."""
    size = kernel_size + bias_size
    make = lambda t: tfd.Independent(tfd.Normal(t[..., :size], 1e-3 + tf.nn.softplus(t[..., size:])), 1)  # noqa: E731 - a lambda is the case
    return tfk.Sequential([tfpl.VariableLayer(2 * size, dtype=dtype), tfpl.DistributionLambda(make)])


def trainable_prior_of(kernel_size: int, bias_size: int = 0, dtype: Any = None) -> tfk.Model:
    """Build a prior with a trainable location for `DenseVariational`."""
    size = kernel_size + bias_size
    make = lambda t: tfd.Independent(tfd.Normal(t, 1.0), 1)  # noqa: E731 - a lambda is the case
    return tfk.Sequential([tfpl.VariableLayer(size, dtype=dtype), tfpl.DistributionLambda(make)])


def fixed_prior_of(kernel_size: int, bias_size: int = 0, dtype: Any = None) -> Any:
    """Make a prior of a distribution alone."""
    prior = tfd.MultivariateNormalDiag(tf.zeros(kernel_size + bias_size, dtype))
    return lambda _inputs: prior


@CASES.add("DenseVariational")
def _variational() -> Made:
    layers = [tfpl.DenseVariational(size, posterior_of, trainable_prior_of, kl_weight=1 / 6) for size in (3, 2)]
    return stacked(*layers, tfpl.IndependentNormal(1))


@CASES.add("DenseVariational with an exact divergence and a fixed prior")
def _variational_exact() -> Made:
    layer = tfpl.DenseVariational(
        2, posterior_of, fixed_prior_of, kl_use_exact=False, use_bias=False, activation="linear", kl_weight=0.5
    )
    exact = tfpl.DenseVariational(2, posterior_of, trainable_prior_of, kl_use_exact=True)
    return stacked(exact, layer, tfpl.IndependentNormal(1))


@CASES.add("DenseVariational of closures, with a weight in a variable")
def _variational_of_closures() -> Made:
    scale, weight = 0.5, tf.Variable(0.1, trainable=False, name="kl_weight")

    def prior(kernel_size: int, bias_size: int, dtype: Any) -> tfk.Model:
        make = lambda t: tfd.Independent(tfd.Normal(t, scale), 1)  # noqa: E731 - a lambda is the case
        return tfk.Sequential([tfpl.VariableLayer(kernel_size + bias_size, dtype=dtype), tfpl.DistributionLambda(make)])

    model = stacked(tfpl.DenseVariational(2, posterior_of, prior, kl_weight=weight), tfpl.IndependentNormal(1))
    return model, anneal(weight)


def _encoder(prior: Any, **options: Any) -> Made:
    regularizer = tfpl.KLDivergenceRegularizer(prior, **options)
    return stacked(
        tfk.layers.Dense(tfpl.MultivariateNormalTriL.params_size(2)),
        tfpl.MultivariateNormalTriL(2, activity_regularizer=regularizer),
        tfk.layers.Dense(2),
        tfpl.IndependentNormal(1),
    )


def _mixture() -> Any:
    return tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.Variable([0.0, 0.5], name="mixing")),
        tfd.MultivariateNormalDiag(tf.Variable([[0.0, 0.0], [1.0, -1.0]], name="centers"), [1.0, 1.0]),
    )


def _trainable() -> Any:
    scale = tfp.util.TransformedVariable([1.0, 2.0], tfb.Softplus(), name="scale")
    return tfd.MultivariateNormalDiag(tf.Variable([0.0, 0.1], name="loc"), scale)


def _deferred() -> Any:
    logarithm = tf.Variable([0.0, 0.5], name="log_scale")
    return tfd.Independent(tfd.Normal([0.0, 0.0], tfp.util.DeferredTensor(logarithm, tf.math.exp)), 1)


def _deferred_by_lambda() -> Any:
    root = tf.Variable([1.0, 0.5], name="root")
    return tfd.MultivariateNormalDiag([0.0, 0.0], tfp.util.DeferredTensor(root, lambda v: v**2 + 0.1))


def _chained() -> Any:
    base = tfd.MultivariateNormalDiag([0.0, 0.0], [1.0, 1.0])
    return tfd.TransformedDistribution(base, tfb.Chain([tfb.Shift([0.5, -0.5]), tfb.Scale(tf.Variable([1.0, 2.0]))]))


def _mixture_of_distributions() -> Any:
    components = [tfd.MultivariateNormalDiag([c, -c], [1.0, 1.0]) for c in (0.5, -0.5)]
    return tfd.Mixture(tfd.Categorical(probs=[0.3, 0.7]), components)


def _masked_autoregressive_flow() -> Any:
    made = tfb.AutoregressiveNetwork(params=2, event_shape=[2], hidden_units=[4], activation="relu")
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [2])
    return tfd.TransformedDistribution(base, tfb.MaskedAutoregressiveFlow(made))


for _name, _prior, _options in (
    ("an Independent", lambda: tfd.Independent(tfd.Normal(tf.zeros(2), 1.0), 1), {"weight": 0.5}),
    ("a MultivariateNormalDiag", lambda: tfd.MultivariateNormalDiag([0.0, 0.0]), {"use_exact_kl": True}),
    (
        "a MultivariateNormalTriL of a trainable scale",
        lambda: tfd.MultivariateNormalTriL(
            tf.zeros(2), tfp.util.TransformedVariable(tf.eye(2), tfb.FillScaleTriL(), name="tril")
        ),
        {},
    ),
    (
        "a MixtureSameFamily of trainable centers",
        _mixture,
        {"test_points_fn": lambda d: d.sample(5, seed=3), "test_points_reduce_axis": 0},
    ),
    ("a Mixture", _mixture_of_distributions, {"test_points_reduce_axis": None}),
    ("trainable and transformed variables", _trainable, {"use_exact_kl": True}),
    ("a DeferredTensor", _deferred, {}),
    ("a DeferredTensor by a lambda", _deferred_by_lambda, {"weight": 0.1}),
    ("a TransformedDistribution by a Chain", _chained, {}),
    ("a masked autoregressive flow", _masked_autoregressive_flow, {}),
    ("a Blockwise", lambda: tfd.Blockwise([tfd.Normal(0.0, 1.0), tfd.Laplace(0.0, 1.0)]), {}),
):
    CASES.add(f"KLDivergenceRegularizer with {_name}")(
        functools.partial(lambda prior, options: _encoder(prior(), **options), _prior, _options)
    )


def _added_loss(prior: Any, encode: Any = None, **options: Any) -> Made:
    encode = encode or tfpl.IndependentNormal(2)
    layers = [encode, tfpl.KLDivergenceAddLoss(prior, **options), tfk.layers.Dense(2), tfpl.IndependentNormal(1)]
    return stacked(tfk.layers.Dense(4), *layers)


@CASES.add("KLDivergenceAddLoss with an Independent")
def _added_independent() -> Made:
    return _added_loss(tfd.Independent(tfd.Normal(tf.zeros(2), 1.0), 1), weight=0.3)


@CASES.add("KLDivergenceAddLoss with a trainable prior and a weight in a variable")
def _added_trainable() -> Made:
    weight = tf.Variable(0.0, trainable=False, name="kl_weight")
    model = _added_loss(_trainable(), weight=weight, test_points_fn=lambda d: d.sample(3, seed=5))
    return model, anneal(weight)


def _sequential() -> Any:
    return tfd.JointDistributionSequential([tfd.Normal(tf.Variable(0.25), 1.0), lambda a: tfd.Normal(a, 2.0)])


def _named() -> Any:
    return tfd.JointDistributionNamed({"a": tfd.Normal(0.0, 1.0), "b": lambda a: tfd.Normal(a, 2.0)})


def _coroutine() -> Any:
    location = tf.Variable(0.25, name="location")

    def model() -> Any:
        first = yield tfd.JointDistributionCoroutine.Root(tfd.Normal(location, 1.0))
        yield tfd.Normal(first, 2.0)

    return tfd.JointDistributionCoroutine(model)


def _auto_batched() -> Any:
    scale = tfp.util.TransformedVariable(2.0, tfb.Softplus())
    return tfd.JointDistributionSequentialAutoBatched([tfd.Normal(0.0, scale), lambda a: tfd.Laplace(a, 2.0)])


for _prior in (_sequential, _named, _coroutine, _auto_batched):
    CASES.add(f"KLDivergenceAddLoss with a joint distribution, {_prior.__name__[1:]}")(
        functools.partial(lambda prior: _added_loss(tfd.Blockwise(prior())), _prior)
    )
