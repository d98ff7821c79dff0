"""Small models with constants that are drawn, or found in data, when the model is made, built or first called.

Neither constructor arguments nor variables tell them: a model that is made anew and is given all variables is another
function, which is the control of each. In a module that a later process can import.
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
from tests.zoo.tfp_layer_models import stacked

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers
layers = tfk.layers

CASES = Cases()

forgetful = functools.partial(CASES.add, control="made anew")


class Drawn(ProbModelMixin, tfk.Model):
    """Draws a mask when it is built, an order when it is first called, and groups of different sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.params, self.likelihood, self.order = layers.Dense(2), tfpl.IndependentNormal(1), None
        lengths = np.random.permutation([1, 2, 5])  # noqa: NPY002 - as users write
        self.groups = tf.RaggedTensor.from_row_lengths(tf.random.normal((8,)), lengths)

    def build(self, input_shape: Any) -> None:
        """Draw the mask."""
        self.mask = tf.cast(tf.random.uniform((input_shape[-1],)) > 0.3, tf.float32) + 0.5
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        if self.order is None:
            self.order = np.random.permutation([0, 0, 1, 1, 1])  # noqa: NPY002 - as users write
        moved = tf.gather(inputs * self.mask, self.order, axis=1)
        return self.likelihood(self.params(moved) * tf.reduce_mean(self.groups[1]))


@forgetful("drawn: what is drawn when a model is built and when it is first called")
def _drawn() -> Made:
    return Drawn()


class Rotation(tfb.Bijector):
    """Turns by a matrix that is drawn; its parameters are not recorded."""

    def __init__(self, size: int) -> None:
        self.matrix = np.linalg.qr(np.random.normal(size=(size, size)))[0].astype("float32")  # noqa: NPY002 - as users write
        super().__init__(forward_min_event_ndims=1, is_constant_jacobian=True)

    def _forward(self, x: Any) -> Any:
        return x @ self.matrix

    def _inverse(self, y: Any) -> Any:
        return y @ self.matrix.T

    def _forward_log_det_jacobian(self, x: Any) -> Any:
        return tf.zeros([], x.dtype)


class Rotated(ProbModelMixin, tfk.Model):
    """A flow over such a bijector."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        base = tfd.MultivariateNormalDiag(tf.Variable(tf.zeros(size), name="loc"), [0.5, 2.0])
        self.flow = tfd.TransformedDistribution(base, tfb.Chain([Rotation(size), tfb.Shift([0.5, 0.0])]))

    def call(self, inputs: Any) -> Any:
        """Give the log density."""
        return self.flow.log_prob(inputs)[:, None]


@forgetful("drawn: a bijector of one's own with a drawn rotation")
def _rotated() -> Made:
    return compiled(Rotated(), loss=lambda _, log_prob: -log_prob)


class Convolution(layers.Layer):
    """Spreads states along edges that are drawn: a sparse constant."""

    def __init__(self, nodes: int) -> None:
        super().__init__()
        edges = np.random.uniform(size=(nodes, nodes)) * (np.random.uniform(size=(nodes, nodes)) > 0.4)  # noqa: NPY002 - as users write
        self.edges = tf.sparse.from_dense(edges.astype("float32"))
        self.dense = tfpl.DenseReparameterization(
            nodes, kernel_divergence_fn=lambda q, p, _: 0.1 * tfd.kl_divergence(q, p)
        )

    def call(self, states: Any) -> Any:
        """Compute."""
        return tf.transpose(tf.sparse.sparse_dense_matmul(self.edges, tf.transpose(self.dense(states))))


@forgetful("drawn: a Bayesian graph convolution along drawn edges")
def _graph() -> Made:
    return stacked(layers.Dense(4, "relu"), Convolution(4), layers.Dense(2), tfpl.IndependentNormal(1))


@forgetful("drawn: edges of bins in the closure of a Lambda, found in the data")
def _closure() -> Made:
    edges = np.quantile(np.random.normal(size=50), [0.2, 0.5, 0.8]).astype("float32")  # noqa: NPY002 - as users write
    bins = layers.Lambda(lambda x: x - tf.gather(edges, tf.searchsorted(edges[:-1], tf.reshape(x, [-1])))[:, None])
    flat = layers.Lambda(lambda x: tf.reduce_sum(3 * x, -1, keepdims=True))
    return stacked(flat, bins, layers.Dense(2), tfpl.IndependentNormal(1))


class Pooling(layers.Layer):
    """Draws random features of a generator that it holds, in a tensor of another type than the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = tf.random.Generator.from_seed(5)
        self.features = tf.constant(np.random.default_rng(np.random.randint(99)).normal(size=(1, 3)))  # noqa: NPY002

    def call(self, inputs: Any) -> Any:
        """Sum what is there, row by row, with noise."""
        summed = tf.cast(tf.reduce_sum(inputs, axis=1)[:, None], tf.float64)
        return tf.cast(tf.cos(summed @ self.features), tf.float32) + 0.1 * self.generator.normal([1, 3])


@forgetful("drawn: random features of ragged rows, with a generator of one's own", inputs="ragged")
def _ragged() -> Made:
    inputs = tfk.Input((None,), ragged=True)
    return compiled(tfk.Model(inputs, tfpl.IndependentNormal(1)(layers.Dense(2)(Pooling()(inputs)))))


class Vocabulary(ProbModelMixin, tfk.Model):
    """Looks words up in a table, which is made of the words that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Any = None
        self.embedding, self.params = layers.Embedding(8, 3), layers.Dense(2)
        self.likelihood = tfpl.IndependentNormal(1)

    def learn(self, words: list[str]) -> None:
        """Make the table."""
        initializer = tf.lookup.KeyValueTensorInitializer(words, tf.range(len(words), dtype=tf.int64))
        self.table = tf.lookup.StaticVocabularyTable(initializer, 2)

    def call(self, words: Any) -> Any:
        """Give a distribution."""
        return self.likelihood(self.params(self.embedding(self.table.lookup(words))[:, 0]))


@CASES.add("drawn: a lookup table that is made of the words before it is trained", inputs="words")
def _table() -> Made:
    model = Vocabulary()
    model.learn(["green", "blue", "red"])
    return model
