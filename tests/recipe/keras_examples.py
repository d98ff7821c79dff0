"""One example of each class in the tables of tf_keras, with arguments that are not its defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tf_keras as tfk

layers = tfk.layers
legacy = tfk.optimizers.legacy
schedules = tfk.optimizers.schedules

__all__ = ["EXAMPLES", "NOT_MADE", "classes_in", "difference_of_squares"]


def difference_of_squares(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Stand for a user's own loss or metric."""
    return tf.reduce_mean(y_true**2 - y_pred**2, axis=-1)


def classes_in(namespace: Any) -> Iterator[type]:
    """Give each class of a namespace of tf_keras."""
    for name in dir(namespace):
        value = getattr(namespace, name)
        if isinstance(value, type) and not name.startswith("_"):
            yield value


# Bases, of which nobody makes an object, and values that are not described by a config.
NOT_MADE: dict[type, str] = {
    layers.AbstractRNNCell: "a base",
    layers.InputSpec: "no Keras object: layers make theirs themselves",
    layers.Wrapper: "a base",
    layers.DenseFeatures: "its feature columns are no Keras objects; tf_keras deprecates it",
    tfk.constraints.Constraint: "a base",
    tfk.initializers.Initializer: "a base",
    tfk.losses.Loss: "a base",
    tfk.losses.Reduction: "names of strings",
    tfk.metrics.Metric: "a base",
    tfk.optimizers.Optimizer: "a base",
    legacy.Optimizer: "a base",
    schedules.LearningRateSchedule: "a base",
    tfk.regularizers.Regularizer: "a base",
}

_ACTIVATIONS = [
    layers.Activation("gelu", name="act"),
    layers.Activation(tf.nn.softplus),
    layers.ELU(alpha=0.3),
    layers.LeakyReLU(alpha=0.1),
    layers.PReLU(alpha_initializer="ones", alpha_regularizer="l2", alpha_constraint="non_neg", shared_axes=[1]),
    layers.ReLU(max_value=6.0, negative_slope=0.1, threshold=0.5),
    layers.Softmax(axis=1),
    layers.ThresholdedReLU(theta=0.7),
]

_CONVOLUTIONS = [
    layers.Conv1D(3, 2, strides=2, padding="causal", activation="tanh", kernel_regularizer=tfk.regularizers.L1(0.1)),
    layers.Conv1DTranspose(3, 2, strides=2, output_padding=1),
    layers.Conv2D(4, (3, 2), groups=2, kernel_constraint=tfk.constraints.MaxNorm(2.0), bias_initializer="ones"),
    layers.Conv2DTranspose(4, (3, 2), padding="same", use_bias=False),
    layers.Conv3D(2, 3, dilation_rate=(1, 2, 1), data_format="channels_last"),
    layers.Conv3DTranspose(2, 3, strides=(1, 2, 1)),
    layers.DepthwiseConv1D(3, depth_multiplier=2),
    layers.DepthwiseConv2D((3, 2), depth_multiplier=2, depthwise_initializer="he_normal"),
    layers.SeparableConv1D(3, 2, depthwise_regularizer="l1", pointwise_constraint="unit_norm"),
    layers.SeparableConv2D(3, (2, 3), pointwise_initializer=tfk.initializers.RandomNormal(stddev=0.2, seed=3)),
    layers.LocallyConnected1D(3, 2, implementation=2),
    layers.LocallyConnected2D(3, (2, 2), activation="relu"),
    layers.ConvLSTM1D(3, 2, return_sequences=True),
    layers.ConvLSTM2D(3, (2, 2), go_backwards=True, recurrent_activation="sigmoid"),
    layers.ConvLSTM3D(2, 3, stateful=True),
    layers.Cropping1D((1, 2)),
    layers.Cropping2D(((1, 2), (0, 1))),
    layers.Cropping3D(((1, 2), (0, 1), (1, 1))),
    layers.UpSampling1D(3),
    layers.UpSampling2D((2, 3), interpolation="bilinear"),
    layers.UpSampling3D((2, 3, 1)),
    layers.ZeroPadding1D((1, 2)),
    layers.ZeroPadding2D(((1, 2), (0, 1))),
    layers.ZeroPadding3D(((1, 2), (0, 1), (1, 1))),
]

_POOLING = [
    layers.AveragePooling1D(3, strides=2, padding="same"),
    layers.AveragePooling2D((3, 2), strides=1),
    layers.AveragePooling3D((3, 2, 1)),
    layers.MaxPooling1D(3, strides=2, padding="same"),
    layers.MaxPooling2D((3, 2), strides=1),
    layers.MaxPooling3D((3, 2, 1)),
    layers.GlobalAveragePooling1D(keepdims=True),
    layers.GlobalAveragePooling2D(keepdims=True),
    layers.GlobalAveragePooling3D(data_format="channels_last"),
    layers.GlobalMaxPooling1D(keepdims=True),
    layers.GlobalMaxPooling2D(keepdims=True),
    layers.GlobalMaxPooling3D(data_format="channels_last"),
]

_CORE = [
    layers.Layer(name="plain", trainable=False, dtype="float64"),
    layers.InputLayer((3, None), batch_size=2, dtype="int32", name="in"),
    layers.InputLayer((4,), sparse=True),
    layers.Dense(4, activation=tf.nn.softplus, kernel_initializer=tfk.initializers.Orthogonal(seed=1), name="dense"),
    layers.Dense(4, activity_regularizer=tfk.regularizers.L2(0.1), dtype="mixed_float16", trainable=False),
    layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d"),
    layers.Embedding(10, 4, embeddings_regularizer="l2", mask_zero=True, input_length=3),
    layers.Flatten(data_format="channels_first"),
    layers.Identity(name="same"),
    layers.Lambda(tf.math.square, arguments={"name": "squared"}, output_shape=(3,)),
    layers.Masking(mask_value=-1.0),
    layers.Permute((2, 1)),
    layers.RepeatVector(3),
    layers.Reshape((2, -1)),
    layers.ActivityRegularization(l1=0.1, l2=0.2),
    layers.Dropout(0.3, noise_shape=(None, 1), seed=4),
    layers.AlphaDropout(0.3, seed=4),
    layers.GaussianDropout(0.3, seed=4),
    layers.GaussianNoise(0.3, seed=4),
    layers.SpatialDropout1D(0.3),
    layers.SpatialDropout2D(0.3, data_format="channels_first"),
    layers.SpatialDropout3D(0.3),
    layers.BatchNormalization(axis=1, momentum=0.8, gamma_constraint="non_neg", moving_mean_initializer="ones"),
    layers.GroupNormalization(groups=2, epsilon=0.1, beta_regularizer="l1"),
    layers.LayerNormalization(axis=[1, 2], epsilon=0.1, center=False),
    layers.UnitNormalization(axis=1),
    layers.SpectralNormalization(layers.Dense(3), power_iterations=2),
    layers.TimeDistributed(layers.Dense(3, name="each"), name="every"),
]

_MERGING = [
    layers.Add(name="sum"),
    layers.Average(),
    layers.Concatenate(axis=1),
    layers.Dot(axes=(1, 2), normalize=True),
    layers.Maximum(),
    layers.Minimum(),
    layers.Multiply(),
    layers.Subtract(),
    layers.AdditiveAttention(use_scale=False, dropout=0.1),
    layers.Attention(use_scale=True, score_mode="concat"),
    layers.MultiHeadAttention(2, 3, value_dim=4, output_shape=5, attention_axes=(1,), kernel_regularizer="l2"),
]

_RECURRENT = [
    layers.GRU(3, reset_after=False, return_state=True),
    layers.GRUCell(3, recurrent_dropout=0.1, dropout=0.2),
    layers.LSTM(3, return_sequences=True, unit_forget_bias=False, recurrent_regularizer="l1"),
    layers.LSTMCell(3, activation=tf.nn.relu),
    layers.SimpleRNN(3, unroll=True, kernel_constraint="unit_norm"),
    layers.SimpleRNNCell(3, use_bias=False),
    layers.RNN(layers.LSTMCell(3), return_sequences=True, time_major=True),
    layers.RNN([layers.GRUCell(3), layers.GRUCell(2)]),
    layers.StackedRNNCells([layers.GRUCell(3), layers.SimpleRNNCell(2)]),
    layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="sum"),
]

_PREPROCESSING = [
    layers.CategoryEncoding(num_tokens=5, output_mode="one_hot"),
    layers.CenterCrop(4, 3),
    layers.Discretization(bin_boundaries=[0.0, 1.0, 2.5]),
    layers.HashedCrossing(7, output_mode="one_hot"),
    layers.Hashing(7, salt=133),
    layers.StringLookup(vocabulary=["a", "b"], num_oov_indices=2, mask_token="", name="words"),
    layers.StringLookup(vocabulary=["a", "b"], idf_weights=[0.5, 0.25], output_mode="tf_idf"),
    layers.StringLookup(invert=True, vocabulary=["a", "b"]),
    layers.IntegerLookup(vocabulary=[3, 5], output_mode="multi_hot"),
    layers.TextVectorization(vocabulary=["a", "b c"], ngrams=2, output_sequence_length=4, standardize="lower"),
    layers.Normalization(axis=None, mean=1.0, variance=2.0),
    layers.Normalization(axis=-1),
    layers.RandomBrightness(0.2, seed=5),
    layers.RandomContrast(0.2, seed=5),
    layers.RandomCrop(4, 3, seed=5),
    layers.RandomFlip("vertical", seed=5),
    layers.RandomHeight(0.2, seed=5),
    layers.RandomRotation(0.2, fill_mode="nearest", seed=5),
    layers.RandomTranslation(0.2, (-0.1, 0.3), seed=5),
    layers.RandomWidth(0.2, seed=5),
    layers.RandomZoom((-0.2, 0.1), fill_value=0.5, seed=5),
    layers.Rescaling(1.0 / 255, offset=-0.5),
    layers.Resizing(4, 3, interpolation="nearest", crop_to_aspect_ratio=True),
]

_INITIALIZERS = [
    tfk.initializers.Constant(2.5),
    tfk.initializers.GlorotNormal(seed=1),
    tfk.initializers.GlorotUniform(seed=1),
    tfk.initializers.HeNormal(seed=1),
    tfk.initializers.HeUniform(seed=1),
    tfk.initializers.Identity(gain=2.0),
    tfk.initializers.LecunNormal(seed=1),
    tfk.initializers.LecunUniform(seed=1),
    tfk.initializers.Ones(),
    tfk.initializers.Orthogonal(gain=2.0, seed=1),
    tfk.initializers.RandomNormal(mean=1.0, stddev=0.2, seed=1),
    tfk.initializers.RandomUniform(minval=-1.0, maxval=2.0, seed=1),
    tfk.initializers.TruncatedNormal(mean=1.0, stddev=0.2, seed=1),
    tfk.initializers.VarianceScaling(scale=2.0, mode="fan_avg", distribution="uniform", seed=1),
    tfk.initializers.Zeros(),
]

_REGULARIZERS_AND_CONSTRAINTS = [
    tfk.regularizers.L1(0.1),
    tfk.regularizers.L1L2(0.1, 0.2),
    tfk.regularizers.L2(0.2),
    tfk.regularizers.OrthogonalRegularizer(0.1, mode="columns"),
    tfk.constraints.MaxNorm(3.0, axis=1),
    tfk.constraints.MinMaxNorm(0.1, 2.0, rate=0.5, axis=1),
    tfk.constraints.NonNeg(),
    tfk.constraints.RadialConstraint(),
    tfk.constraints.UnitNorm(axis=1),
]

_LOSSES = [
    tfk.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
    tfk.losses.BinaryFocalCrossentropy(gamma=3.0, apply_class_balancing=True),
    tfk.losses.CategoricalCrossentropy(label_smoothing=0.1, axis=1),
    tfk.losses.CategoricalFocalCrossentropy(alpha=0.3),
    tfk.losses.CategoricalHinge(reduction="sum"),
    tfk.losses.CosineSimilarity(axis=1),
    tfk.losses.Hinge(name="hinge"),
    tfk.losses.Huber(delta=2.0),
    tfk.losses.KLDivergence(reduction="none"),
    tfk.losses.LogCosh(name="cosh"),
    tfk.losses.MeanAbsoluteError(reduction="sum"),
    tfk.losses.MeanAbsolutePercentageError(),
    tfk.losses.MeanSquaredError(reduction="sum_over_batch_size", name="mse"),
    tfk.losses.MeanSquaredLogarithmicError(),
    tfk.losses.Poisson(reduction="sum"),
    tfk.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
    tfk.losses.SquaredHinge(),
]

_METRICS = [
    tfk.metrics.AUC(num_thresholds=7, curve="PR", multi_label=True, num_labels=3, name="auc"),
    tfk.metrics.AUC(thresholds=[0.2, 0.6], label_weights=[0.5, 1.5], multi_label=True),
    tfk.metrics.Accuracy(dtype="float64"),
    tfk.metrics.BinaryAccuracy(threshold=0.7),
    tfk.metrics.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
    tfk.metrics.BinaryIoU(target_class_ids=[0], threshold=0.3),
    tfk.metrics.CategoricalAccuracy(name="acc"),
    tfk.metrics.CategoricalCrossentropy(label_smoothing=0.1),
    tfk.metrics.CategoricalHinge(),
    tfk.metrics.CosineSimilarity(axis=1),
    tfk.metrics.F1Score(average="macro", threshold=0.4),
    tfk.metrics.FBetaScore(average="weighted", beta=2.0, threshold=0.4),
    tfk.metrics.FalseNegatives(thresholds=[0.2, 0.6]),
    tfk.metrics.FalsePositives(thresholds=0.3),
    tfk.metrics.Hinge(),
    tfk.metrics.IoU(num_classes=3, target_class_ids=[0, 2]),
    tfk.metrics.KLDivergence(),
    tfk.metrics.LogCoshError(),
    tfk.metrics.Mean(name="average", dtype="float64"),
    tfk.metrics.MeanAbsoluteError(),
    tfk.metrics.MeanAbsolutePercentageError(),
    tfk.metrics.MeanIoU(num_classes=3, ignore_class=1),
    tfk.metrics.MeanMetricWrapper(difference_of_squares, name="squares"),
    tfk.metrics.MeanMetricWrapper(tfk.losses.huber, name="huber", delta=2.0),
    tfk.metrics.MeanRelativeError(normalizer=[1.0, 2.0]),
    tfk.metrics.MeanSquaredError(),
    tfk.metrics.MeanSquaredLogarithmicError(),
    tfk.metrics.MeanTensor(shape=(2,)),
    tfk.metrics.OneHotIoU(num_classes=3, target_class_ids=[1], ignore_class=0),
    tfk.metrics.OneHotMeanIoU(num_classes=3),
    tfk.metrics.Poisson(),
    tfk.metrics.Precision(top_k=2, class_id=1),
    tfk.metrics.PrecisionAtRecall(0.4, num_thresholds=7),
    tfk.metrics.R2Score(class_aggregation="variance_weighted_average", num_regressors=2),
    tfk.metrics.Recall(thresholds=[0.2, 0.6]),
    tfk.metrics.RecallAtPrecision(0.4, class_id=1),
    tfk.metrics.RootMeanSquaredError(),
    tfk.metrics.SensitivityAtSpecificity(0.4),
    tfk.metrics.SparseCategoricalAccuracy(),
    tfk.metrics.SparseCategoricalCrossentropy(from_logits=True, axis=1),
    tfk.metrics.SparseTopKCategoricalAccuracy(k=2),
    tfk.metrics.SpecificityAtSensitivity(0.4),
    tfk.metrics.SquaredHinge(),
    tfk.metrics.Sum(),
    tfk.metrics.TopKCategoricalAccuracy(k=2),
    tfk.metrics.TrueNegatives(thresholds=[0.2, 0.6]),
    tfk.metrics.TruePositives(thresholds=0.3),
]

_SCHEDULES = [
    schedules.CosineDecay(0.1, 100, alpha=0.1, warmup_target=0.2, warmup_steps=3),
    schedules.CosineDecayRestarts(0.1, 100, t_mul=3.0, m_mul=0.5, alpha=0.1),
    schedules.ExponentialDecay(0.1, 100, 0.9, staircase=True),
    schedules.InverseTimeDecay(0.1, 100, 0.9, staircase=True),
    schedules.PiecewiseConstantDecay([10, 20], [0.3, 0.2, 0.1]),
    schedules.PolynomialDecay(0.1, 100, end_learning_rate=0.01, power=2.0, cycle=True),
]

_OPTIMIZERS = [
    tfk.optimizers.Adadelta(0.1, rho=0.9, clipnorm=1.0),
    tfk.optimizers.Adafactor(0.1, relative_step=False),
    tfk.optimizers.Adagrad(0.1, initial_accumulator_value=0.2, clipvalue=0.5),
    tfk.optimizers.Adam(schedules.ExponentialDecay(0.1, 100, 0.9), amsgrad=True, use_ema=True, ema_momentum=0.9),
    tfk.optimizers.AdamW(0.1, weight_decay=0.02, global_clipnorm=1.0),
    tfk.optimizers.Adamax(0.1, beta_1=0.8),
    tfk.optimizers.Ftrl(0.1, l1_regularization_strength=0.1, beta=0.2),
    tfk.optimizers.Lion(0.1, beta_2=0.98),
    tfk.optimizers.Nadam(0.1, epsilon=1e-3),
    tfk.optimizers.RMSprop(0.1, momentum=0.5, centered=True, jit_compile=False),
    tfk.optimizers.SGD(0.1, momentum=0.9, nesterov=True, name="descent"),
    legacy.Adadelta(0.1, rho=0.9, clipnorm=1.0),
    legacy.Adagrad(0.1, initial_accumulator_value=0.2, clipvalue=0.5),
    legacy.Adam(schedules.PolynomialDecay(0.1, 100), amsgrad=True),
    legacy.Adamax(0.1, beta_1=0.8, decay=0.01),
    legacy.Ftrl(0.1, l1_regularization_strength=0.1),
    legacy.Nadam(0.1, epsilon=1e-3),
    legacy.RMSprop(0.1, momentum=0.5, centered=True),
    legacy.SGD(0.1, momentum=0.9, nesterov=True, global_clipnorm=1.0),
]

_PRECISION = [
    tfk.mixed_precision.Policy("mixed_bfloat16"),
    tfk.mixed_precision.LossScaleOptimizer(tfk.optimizers.Adam(0.1), initial_scale=64.0, dynamic_growth_steps=5),
    tfk.mixed_precision.LossScaleOptimizer(tfk.optimizers.SGD(0.1), dynamic=False, initial_scale=16.0),
    tfk.mixed_precision.LossScaleOptimizer(legacy.Adam(0.1), initial_scale=64.0),
]

EXAMPLES: list[Any] = [
    *_ACTIVATIONS,
    *_CONVOLUTIONS,
    *_POOLING,
    *_CORE,
    *_MERGING,
    *_RECURRENT,
    *_PREPROCESSING,
    *_INITIALIZERS,
    *_REGULARIZERS_AND_CONSTRAINTS,
    *_LOSSES,
    *_METRICS,
    *_SCHEDULES,
    *_OPTIMIZERS,
    *_PRECISION,
]
