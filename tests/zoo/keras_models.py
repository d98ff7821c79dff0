"""Models of tf_keras's own layers, and the ways to put them together, in a module that a later process can import."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tests.zoo.cases import Cases, Made, compiled
from tests.zoo.tfp_layer_models import stacked

tfd, tfpl = tfp.distributions, tfp.layers
layers = tfk.layers

CASES = Cases()


def _head(state: Any) -> Any:
    return tfpl.IndependentNormal(1)(layers.Dense(2)(state))


@CASES.add("Bidirectional of LSTM and GRU", inputs="series")
def _bidirectional() -> Made:
    both = layers.Bidirectional(
        layers.LSTM(2, return_sequences=True),
        backward_layer=layers.GRU(2, go_backwards=True, return_sequences=True),
        merge_mode="sum",
    )
    return stacked(
        both, layers.Bidirectional(layers.SimpleRNN(2)), layers.Dense(2), tfpl.IndependentNormal(1), inputs=(5, 2)
    )


@CASES.add("TimeDistributed, and a distribution at each time", inputs="series", targets=(5, 1))
def _time_distributed() -> Made:
    inner = tfk.Sequential([layers.Dense(3, "tanh"), layers.Dense(2)])
    return stacked(
        layers.TimeDistributed(inner),
        tfpl.DistributionLambda(lambda t: tfd.Normal(t[..., :1], tf.exp(t[..., 1:]))),
        inputs=(5, 2),
    )


@CASES.add("RNN of stacked cells", inputs="series")
def _cells() -> Made:
    cells = [layers.LSTMCell(2), layers.GRUCell(3, reset_after=False), layers.SimpleRNNCell(2)]
    return stacked(
        layers.RNN(layers.StackedRNNCells(cells), return_state=False),
        layers.Dense(2),
        tfpl.IndependentNormal(1),
        inputs=(5, 2),
    )


@CASES.add("RNN of a list of cells with dropout", inputs="series")
def _list_of_cells() -> Made:
    rnn = layers.RNN([layers.LSTMCell(2, dropout=0.2, recurrent_dropout=0.1), layers.GRUCell(2)])
    return stacked(rnn, layers.Dense(2), tfpl.IndependentNormal(1), inputs=(5, 2))


@CASES.add("ConvLSTM2D", inputs="movies")
def _conv_lstm() -> Made:
    return stacked(
        layers.ConvLSTM2D(2, 2),
        layers.GlobalAveragePooling2D(),
        layers.Dense(2),
        tfpl.IndependentNormal(1),
        inputs=(3, 4, 4, 1),
    )


@CASES.add("Convolutions, pooling and their kin", inputs="images")
def _convolutions() -> Made:
    return stacked(
        layers.Conv2D(2, 2, padding="same", activation=tf.nn.relu, kernel_constraint="max_norm"),
        layers.DepthwiseConv2D(2, padding="same"),
        layers.SeparableConv2D(2, 2, padding="same"),
        layers.MaxPooling2D(),
        layers.Conv2DTranspose(1, 2, strides=2),
        layers.ZeroPadding2D(((1, 0), (0, 1))),
        layers.Cropping2D(1),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.LocallyConnected2D(1, 2),
        layers.Permute((2, 1, 3)),
        layers.Flatten(),
        layers.Dense(2),
        tfpl.IndependentNormal(1),
        inputs=(4, 4, 1),
    )


@CASES.add("MultiHeadAttention and its kin", inputs="series")
def _attention() -> Made:
    inputs = tfk.Input((5, 2))
    attended = layers.MultiHeadAttention(num_heads=2, key_dim=3, dropout=0.1)(inputs, inputs, use_causal_mask=True)
    attended = layers.LayerNormalization()(attended + inputs)
    also = layers.Attention(use_scale=True)([attended, inputs])
    additive = layers.AdditiveAttention()([also, attended])
    return compiled(tfk.Model(inputs, _head(layers.GlobalMaxPooling1D()(layers.Add()([also, additive])))))


@CASES.add("Embedding with a mask", inputs="tokens")
def _embedding() -> Made:
    inputs = tfk.Input((5,), dtype="int32")
    state = layers.LSTM(3)(layers.Embedding(5, 3, mask_zero=True, embeddings_regularizer="l1")(inputs))
    return compiled(tfk.Model(inputs, _head(state)))


@CASES.add("Masking", inputs="series")
def _masking() -> Made:
    return stacked(layers.Masking(-1.0), layers.GRU(2), layers.Dense(2), tfpl.IndependentNormal(1), inputs=(5, 2))


@CASES.add("normalization layers")
def _normalizations() -> Made:
    return stacked(
        layers.Dense(4),
        layers.BatchNormalization(momentum=0.9, beta_initializer=tfk.initializers.RandomNormal(stddev=0.1, seed=1)),
        layers.LayerNormalization(axis=-1),
        layers.GroupNormalization(groups=2),
        layers.UnitNormalization(),
        layers.Dense(2),
        tfpl.IndependentNormal(1),
    )


@CASES.add("Normalization, adapted")
def _normalization() -> Made:
    normalization = layers.Normalization()
    normalization.adapt(np.float32([[1.0, 2.0], [3.0, 5.0], [0.0, -4.0]]))
    return stacked(normalization, layers.Dense(2), tfpl.IndependentNormal(1))


@CASES.add("Normalization by mean and variance")
def _normalization_given() -> Made:
    normalization = layers.Normalization(mean=np.float32([0.5, 0.25]), variance=[2.0, 4.0])
    return stacked(normalization, layers.Dense(2), tfpl.IndependentNormal(1))


@CASES.add("Discretization, Rescaling and CategoryEncoding")
def _preprocessing() -> Made:
    return stacked(
        layers.Rescaling(2.0, offset=0.5),
        layers.Discretization([-0.5, 0.0, 0.5]),
        layers.CategoryEncoding(4, "multi_hot"),
        layers.Dense(2),
        tfpl.IndependentNormal(1),
    )


@CASES.add("Dropout and noise")
def _noise() -> Made:
    noise = [layers.GaussianNoise(0.1), layers.Dropout(0.2), layers.AlphaDropout(0.1), layers.GaussianDropout(0.1)]
    return stacked(layers.Dense(4), *noise, layers.Dense(2), tfpl.IndependentNormal(1))


def doubled(inputs: Any, offset: float = 0.0) -> Any:
    """Compute something, by a function with an importable name."""
    return 2.0 * inputs + offset


@CASES.add("Lambda of a function, a lambda and a closure")
def _lambda() -> Made:
    factor = tf.constant([0.5, 2.0])
    return stacked(
        layers.Lambda(doubled, arguments={"offset": 0.25}),
        layers.Lambda(lambda x: x * factor),
        layers.Lambda(lambda x: tf.concat([x, x**2], axis=-1), output_shape=(4,)),
        layers.Dense(2),
        tfpl.IndependentNormal(1),
    )


@CASES.add("activations, initializers, regularizers and constraints of all kinds")
def _arguments() -> Made:
    dense = layers.Dense(
        4,
        activation=lambda x: tf.nn.leaky_relu(x, 0.3),
        kernel_initializer=tfk.initializers.VarianceScaling(2.0, "fan_out", "uniform", seed=2),
        bias_initializer=lambda shape, dtype=None: tf.fill(shape, tf.constant(0.1, dtype)),
        kernel_regularizer=lambda w: 0.01 * tf.reduce_sum(w**2),
        bias_regularizer=tfk.regularizers.L1L2(0.01, 0.02),
        activity_regularizer=tfk.regularizers.L2(0.01),
        kernel_constraint=tfk.constraints.MinMaxNorm(0.1, 2.0),
        bias_constraint=lambda b: tf.clip_by_value(b, -1.0, 1.0),
    )
    orthogonal = layers.Dense(
        4,
        layers.LeakyReLU(0.2),
        kernel_initializer="orthogonal",
        kernel_regularizer=tfk.regularizers.OrthogonalRegularizer(0.1),
    )
    return stacked(dense, orthogonal, layers.PReLU(), layers.ELU(0.5), layers.Dense(2), tfpl.IndependentNormal(1))


@CASES.add("nested Sequential and Functional models")
def _nested() -> Made:
    inner_inputs = tfk.Input((3,))
    inner = tfk.Model(inner_inputs, [layers.Dense(3)(inner_inputs), layers.Dense(2)(inner_inputs)], name="inner")
    trunk = tfk.Sequential([layers.Dense(3), tfk.Sequential([layers.Dense(3, "relu")], name="deep")], name="trunk")
    inputs = tfk.Input((2,))
    left, right = inner(trunk(inputs))
    inner.layers[1].trainable = False
    return compiled(tfk.Model(inputs, _head(layers.Concatenate()([left, right]))))


@CASES.add("a Functional model inside a Sequential one, frozen")
def _frozen() -> Made:
    inputs = tfk.Input((2,))
    inner = tfk.Model(inputs, layers.Dense(3, "tanh")(inputs))
    inner.trainable = False
    return stacked(inner, layers.Dense(2), tfpl.IndependentNormal(1))


@CASES.add("a layer shared between places")
def _shared() -> Made:
    inputs = tfk.Input((2,))
    shared = layers.Dense(2, "tanh")
    once = shared(inputs)
    twice = shared(once)
    trunk = tfk.Sequential([shared, layers.Dense(2)])
    return compiled(tfk.Model(inputs, _head(layers.Concatenate()([once, twice, trunk(inputs)]))))


@CASES.add("several inputs and outputs", inputs="pair", targets=[(1,), (2,)])
def _several() -> Made:
    left, right = tfk.Input((2,)), tfk.Input((1,))
    both = layers.Concatenate()([left, right])
    second = tfpl.MultivariateNormalTriL(2)(layers.Dense(5)(both))
    losses = [lambda y, d: -d.log_prob(y), lambda y, d: -0.5 * d.log_prob(y)]
    return compiled(tfk.Model([left, right], [_head(both), second]), loss=losses, loss_weights=[1.0, 0.25])


@CASES.add("inputs and outputs in dicts", inputs="named", targets={"mean": (1,), "noise": (2,)})
def _dicts() -> Made:
    inputs = {"left": tfk.Input((2,), name="left"), "right": tfk.Input((1,), name="right")}
    both = layers.Concatenate()([inputs["left"], inputs["right"]])
    outputs = {"mean": layers.Dense(1, name="mean")(both), "noise": layers.Dense(2, name="noise")(both)}
    return compiled(tfk.Model(inputs, outputs), loss={"mean": "mse", "noise": tfk.losses.Huber(0.5)})


@CASES.add("TensorFlow functions on symbolic tensors", inputs="series")
def _operations() -> Made:
    inputs = tfk.Input((5, 2))
    state = tf.concat([inputs, inputs[:, ::-1, :]], axis=-1)
    state = tf.reshape(state, (-1, 5 * state.shape[-1])) * 2.0 - 0.5
    state = tf.where(state > 0, tf.exp(-state), 1.0 / (1.0 + tf.abs(state)))
    rows = tf.reduce_mean(tf.ones_like(state), axis=0, keepdims=True) @ tf.ones((20, 3))
    state = layers.Dense(3)(state) + rows
    state = tf.stack(tf.unstack(state, axis=1)[:2], axis=1) / tf.cast(tf.shape(inputs)[1], tf.float32)
    return compiled(tfk.Model(inputs, _head(tf.einsum("ij,jk->ik", state, tf.eye(2)))))


@CASES.add("shape properties and other tensors' methods", inputs="series")
def _properties() -> Made:
    inputs = tfk.Input((5, 2))
    flat = tf.reshape(inputs, [tf.shape(inputs)[0], inputs.shape[1] * inputs.shape[2]])
    return compiled(tfk.Model(inputs, _head(layers.Dense(3)(flat) ** 2)))


@CASES.add("layers called with keyword arguments", inputs="pair")
def _keywords() -> Made:
    left, right = tfk.Input((2,)), tfk.Input((1,))
    state = layers.Dropout(0.5)(left, training=False)
    state = layers.BatchNormalization()(inputs=state, training=True)
    state = layers.Dot(axes=-1)([layers.Dense(3)(state), layers.Dense(3)(right)])
    return compiled(tfk.Model(inputs=[left, right], outputs=_head(state)))


@CASES.add("a Functional model with added losses and metrics")
def _added() -> Made:
    inputs = tfk.Input((2,))
    state = layers.Dense(3)(inputs)
    model = tfk.Model(inputs, _head(layers.ActivityRegularization(0.1)(state)))
    model.add_loss(0.1 * tf.reduce_mean(layers.Dense(1)(state) ** 2))
    model.add_metric(tf.reduce_max(state), name="largest", aggregation="mean")
    return compiled(model)


@CASES.add("a model without an input shape until it is called")
def _deferred() -> Made:
    return compiled(
        tfk.Sequential([layers.Dense(3), layers.BatchNormalization(), layers.Dense(2), tfpl.IndependentNormal(1)])
    )


@CASES.add("merging layers and reshapes", inputs="images")
def _merging() -> Made:
    inputs = tfk.Input((4, 4, 1))
    flat = layers.Reshape((16,))(inputs)
    branches = [layers.Dense(3, name=f"branch_{index}")(flat) for index in range(2)]
    merged = [
        kind()(branches)
        for kind in (layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum)
    ]
    return compiled(tfk.Model(inputs, _head(layers.RepeatVector(2)(layers.Concatenate(axis=-1)(merged))[:, 0])))
