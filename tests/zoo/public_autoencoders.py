"""Autoencoders as public repositories write them, re-told at the smallest size that trains.

Nothing is copied: the structure is the case, and each names the repository and the path that it re-tells.
In a module that a later process can import.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from tests.zoo.cases import Cases, Made, compiled

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers
layers = tfk.layers

CASES = Cases()
public = functools.partial(CASES.add, control="a step further")


class ClusterPrior(layers.Layer):
    """A mixture that is trained by an optimizer of its own, and has its name as a property."""

    def __init__(self, *, latent: int, clusters: int, rate: float, **_: Any) -> None:
        super().__init__()
        self.latent, self.clusters = latent, clusters
        self.optimizer = tfk.optimizers.Adam(rate)
        self.batch_size = tf.constant(6.0)
        self.prior_alpha = tfd.Gamma(1.0, 1.0)
        self.alpha = tfp.util.TransformedVariable(1.0, tfb.Softplus(), name="alpha")
        self.logits = tf.Variable(tf.zeros(clusters), name="logits")
        self.tril = tfp.util.TransformedVariable(tf.eye(latent, batch_shape=[clusters]), tfb.FillScaleTriL(), name="L")
        self.mu = tf.Variable(tf.random.normal([clusters, latent]), name="mu")
        self.tracker = tfk.metrics.Mean("prior")

    @property
    def name(self) -> str:
        """Give the name."""
        return "ClusterPrior"

    def pz(self) -> Any:
        """Give the mixture."""
        parts = tfd.MultivariateNormalTriL(self.mu, self.tril)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=self.logits), parts)

    def inference_step(self, code: Any) -> None:
        """Improve the prior alone."""
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(self.pz().log_prob(code)) - self.prior_alpha.log_prob(self.alpha) / self.batch_size
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self.tracker.update_state(loss)


class Clustering(tfk.Model):
    """Adds to the encoder that it is given, and keeps lists of which variables are whose."""

    def __init__(self, encoder: tfk.Sequential, decoder: tfk.Sequential, prior: ClusterPrior) -> None:
        super().__init__()
        encoder.add(layers.Dense(tfpl.MultivariateNormalTriL.params_size(prior.latent)))
        encoder.add(tfpl.MultivariateNormalTriL(prior.latent))
        self.qz, self.decoder, self.prior = encoder, decoder, prior
        self.scale = tfp.util.TransformedVariable(1.0, tfb.Softplus(), name="scale")
        self.encode = lambda x, **options: self.qz(x, **options)  # noqa: PLW0108 - as users write
        self.elbo_tracker = tfk.metrics.Mean("elbo")
        mine = {id(variable) for variable in self.prior.trainable_variables}
        self.model_params = [variable for variable in self.trainable_variables if id(variable) not in mine]

    def call(self, inputs: Any) -> Any:
        """Give the likelihood."""
        return tfd.Independent(tfd.Normal(self.decoder(self.encode(inputs)), self.scale), 1)

    def train_step(self, data: Any) -> Any:
        """Improve the networks, then the prior."""
        x, _ = data
        with tf.GradientTape() as tape:
            posterior = self.encode(x, training=True)
            code = posterior.sample()
            likelihood = tfd.Independent(tfd.Normal(self.decoder(code), self.scale), 1)
            loss = tf.reduce_mean(posterior.log_prob(code) - self.prior.pz().log_prob(code) - likelihood.log_prob(x))
        gradients = tape.gradient(loss, self.model_params)
        self.optimizer.apply_gradients(zip(gradients, self.model_params, strict=True))
        self.prior.inference_step(code)
        self.elbo_tracker.update_state(-loss)
        return {"loss": loss, "elbo": self.elbo_tracker.result()}


def _clustering() -> Made:
    encoder = tfk.Sequential([layers.InputLayer((2,)), layers.Flatten(), layers.Dense(3, "relu")], name="encoder")
    decoder = tfk.Sequential([layers.InputLayer((2,)), layers.Dense(3, "relu"), layers.Dense(2)], name="decoder")
    return compiled(Clustering(encoder, decoder, ClusterPrior(latent=2, clusters=3, rate=0.01)), loss=None)


# astirn/VampPrior-Mixture-Model: models.py, priors.py
public("public: a clustering VAE whose prior has an optimizer of its own")(_clustering)


class PseudoInputs(tfd.Distribution):
    """A mixture of the posteriors of learned inputs; it holds a layer and a method of the model it is the prior of."""

    def __init__(self, size: int, encode: Any, count: int = 3) -> None:
        super().__init__(tf.float32, tfd.NOT_REPARAMETERIZED, False, True, parameters={}, name="PseudoInputs")  # noqa: FBT003 - as users write
        self.count, self.encode = count, encode
        self.means = layers.Dense(size, use_bias=False, kernel_initializer=tfk.initializers.RandomNormal(-0.05, 0.5))
        self.means.build((None, count))
        self.idle = tf.eye(count)

    def _log_prob(self, code: Any) -> Any:
        posterior = self.encode(self.means(self.idle))
        scores = posterior.log_prob(tf.expand_dims(code, 1)) - tf.math.log(float(self.count))
        return tf.reduce_logsumexp(scores, -1)

    def _event_shape(self) -> Any:
        return tf.TensorShape([2])


class PseudoInputAutoencoder(ProbModelMixin, tfk.Model):
    """Replaces the prior of its latents when it is built."""

    def __init__(self, latent: int = 2) -> None:
        super().__init__()
        self.encoder = tfk.Sequential(
            [layers.Dense(3, "tanh"), layers.Dense(2 * latent), tfpl.IndependentNormal(latent)]
        )
        self.decoder = tfk.Sequential([layers.Dense(4), tfpl.IndependentNormal(2)])
        self.prior = tfd.MultivariateNormalDiag(tf.zeros(latent), tf.ones(latent))

    def build(self, input_shape: Any) -> None:
        """Make the prior of the posterior."""
        self.prior = PseudoInputs(input_shape[-1], self.encode)
        self.built = True

    def encode(self, inputs: Any) -> Any:
        """Give the posterior."""
        return self.encoder(inputs)

    def call(self, inputs: Any) -> Any:
        """Reconstruct, at the cost of the divergence."""
        posterior = self.encode(inputs)
        code = tf.convert_to_tensor(posterior)
        self.add_loss(tf.reduce_mean(posterior.log_prob(code) - self.prior.log_prob(code)))
        return self.decoder(code)


# trungnt13/odin-ai: odin/bay/vi/autoencoder/vamprior.py
@public("public: a VampPrior that is a distribution with a layer and a method of its model", targets=(2,))
def _pseudo_inputs() -> Made:
    return compiled(PseudoInputAutoencoder())


class WarmDivergence(tfpl.KLDivergenceAddLoss):
    """A divergence that grows with the updates of an optimizer."""

    def __init__(self, *args: Any, iterations: Any, warm_up: int, mode: str = "linear", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_placeholder = True
        self.iterations, self.warm_up, self.mode = iterations, warm_up, mode

    def call(self, inputs: Any) -> Any:
        """Add the loss as it is weighed now."""
        weight = tf.minimum(tf.cast(self.iterations, tf.float32) / self.warm_up, 1.0)
        self.add_loss(weight * tf.reduce_mean(self._regularizer(inputs)), inputs=[inputs])
        return inputs


class MixtureLatent(layers.Layer):
    """Draws its prior when it is made, and holds the optimizer that it is trained by."""

    def __init__(self, components: int, latent: int, optimizer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.components, self.latent, self.optimizer = components, latent, optimizer
        self.z_cat = layers.Dense(components, "softmax", activity_regularizer=tfk.regularizers.l1_l2(0.01, 0.01))
        self.z_params = layers.Dense(2 * components * latent, kernel_initializer="he_uniform")
        self.posterior = tfpl.DistributionLambda(self._mixture, "sample", name="encoding")
        self.prior = tfd.MixtureSameFamily(
            tfd.Categorical(probs=tf.ones(components) / components),
            tfd.MultivariateNormalDiag(
                tf.random_uniform_initializer(-1, 1)([components, latent]),
                tfb.Exp()(tf.ones([components, latent]) / components),
            ),
        )

        self.divergence = WarmDivergence(
            self.prior,
            test_points_fn=lambda q: q.sample(4),
            test_points_reduce_axis=0,
            iterations=self.optimizer.iterations,
            warm_up=9,
        )

    def _mixture(self, made: Any) -> Any:
        halves = made[1][..., : self.latent, :], tf.math.exp(made[1][..., self.latent :, :])
        normals = [tfd.Normal(halves[0][..., k], 1e-3 + halves[1][..., k]) for k in range(self.components)]
        return tfd.Mixture(tfd.Categorical(probs=made[0]), [tfd.Independent(normal, 1) for normal in normals])

    def call(self, inputs: Any) -> Any:
        """Give a code and its clusters."""
        cat = self.z_cat(inputs)
        params = tf.reshape(self.z_params(inputs), (-1, 2 * self.latent, self.components))
        code = self.posterior([cat, params])
        return self.divergence(code), cat


class MixtureAutoencoder(ProbModelMixin, tfk.Model):
    """Shares its optimizer with a layer."""

    def __init__(self, components: int, optimizer: Any) -> None:
        super().__init__()
        self.latent_layer = MixtureLatent(components, 2, optimizer)
        self.decoder = tfk.Sequential([layers.Dense(4), tfpl.IndependentNormal(2)])

    def call(self, inputs: Any) -> Any:
        """Reconstruct."""
        code, _ = self.latent_layer(inputs)
        return self.decoder(tf.convert_to_tensor(code))


# mlfpm/deepof: deepof/model_utils.py, GaussianMixtureLatent and KLDivergenceLayer
@public(
    "public: a mixture of latents over a drawn prior, weighed by the iterations of the optimizer",
    control="made anew",
    targets=(2,),
)
def _mixture_latent() -> Made:
    optimizer = tfk.optimizers.Nadam(0.01)
    return compiled(MixtureAutoencoder(3, optimizer), optimizer=optimizer)


class Quantizer(layers.Layer):
    """Replaces codes by the nearest of a book, and writes how far the book's entries are apart."""

    def __init__(self, entries: int, size: int, beta: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.entries, self.size, self.beta = entries, size, beta
        start = tf.random_uniform_initializer()
        self.book = tf.Variable(start((size, entries)), trainable=True, name="codebook")
        self.scales = tf.Variable(tf.ones([entries]), trainable=False, name="scales")

    def call(self, inputs: Any) -> Any:
        """Quantize, with a straight-through gradient."""
        distances = tf.reduce_sum((inputs[..., None] - self.book) ** 2, 1)
        quantized = tf.transpose(tf.gather(self.book, tf.argmin(distances, 1), axis=1))
        self.scales.assign(tf.math.reduce_std(self.book, 0))
        self.add_loss(self.beta * tf.reduce_mean((tf.stop_gradient(quantized) - inputs) ** 2))
        self.add_loss(tf.reduce_mean((quantized - tf.stop_gradient(inputs)) ** 2))
        return inputs + tf.stop_gradient(quantized - inputs)


# mlfpm/deepof: deepof/model_utils.py, VectorQuantizer
@public("public: a vector quantizer in a Functional model", targets=(2,))
def _quantizer() -> Made:
    inputs = tfk.Input((2,))
    code = Quantizer(4, 3, beta=0.25, name="quantizer")(layers.Dense(3)(inputs))
    return compiled(tfk.Model(inputs, tfpl.IndependentNormal(2)(layers.Dense(4)(code))))


class DistributionDense(layers.Layer):
    """Makes its distribution layer by an alias, when it is first asked for it, and keeps what it gave last."""

    ALIASES = {"normal": tfpl.IndependentNormal, "mvntril": tfpl.MultivariateNormalTriL}  # noqa: RUF012 - as users write

    def __init__(self, event_size: int, posterior: str = "normal", prior: Any = None, **kwargs: Any) -> None:
        init_args = dict(locals())
        for name in ("self", "__class__", "kwargs"):
            del init_args[name]
        self._init_args = {**init_args, **kwargs}
        self._posterior_class, self._layer, self._prior = self.ALIASES[posterior], None, prior
        self._event_size = event_size
        super().__init__(**{"name": f"dense_{posterior}", **kwargs})
        self._dense = layers.Dense(self._posterior_class.params_size(event_size))
        self._last = None

    @property
    def posterior_layer(self) -> Any:
        """Give the distribution layer."""
        if self._layer is None:
            self._layer = self._posterior_class(self._event_size, convert_to_tensor_fn=self._sample)
        return self._layer

    @property
    def prior(self) -> Any:
        """Give the prior."""
        return self._prior

    @prior.setter
    def prior(self, value: Any) -> None:
        self._prior = value

    def _sample(self, distribution: Any) -> Any:
        return distribution.sample()

    def call(self, inputs: Any) -> Any:
        """Give the posterior, and remember it."""
        self._last = self.posterior_layer(self._dense(inputs))
        return self._last

    def divergence(self) -> Any:
        """Compare what it gave last with the prior."""
        return tf.reduce_mean(self._last.log_prob(tf.convert_to_tensor(self._last)) - self.prior.log_prob(self._last))


class Latents(ProbModelMixin, tfk.Model):
    """Asks a layer for the divergence of what it gave last; its prior is set after it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = DistributionDense(2, "mvntril")
        self.decoder = DistributionDense(2)

    def call(self, inputs: Any) -> Any:
        """Reconstruct."""
        code = self.latents(inputs)
        self.add_loss(self.latents.divergence())
        return self.decoder(tf.convert_to_tensor(code))


# trungnt13/odin-ai: odin/bay/layers/dense_distribution.py
@public("public: distribution layers by alias, that remember what they gave last", targets=(2,))
def _distribution_dense() -> Made:
    model = Latents()
    model.latents.prior = tfd.MultivariateNormalDiag([0.5, -0.5], [2.0, 1.0])
    return compiled(model)
