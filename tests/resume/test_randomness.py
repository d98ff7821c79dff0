from __future__ import annotations

import pathlib
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tests.integration.tiny import negative_log_likelihood
from tests.resume.trainings import X, Y, arrays, as_if_stopped, attempt, attempts

tfd = tfp.distributions

# What TFP's own layers do.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`layer.add_variable` is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:The initializer RandomNormal is unseeded:UserWarning"),
]

_DRAWN: list[float] = []


@tfk.utils.register_keras_serializable("tests.resume")
class Noise(tfk.layers.Layer):
    """Adds noise of its own generator and of TensorFlow's, and notes what it drew of the second."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.generator = tf.random.Generator.from_seed(3)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:  # noqa: FBT001 - Keras's signature
        """Add noise while training."""
        if not training:
            return inputs
        drawn = tf.random.normal(())
        tf.numpy_function(lambda value: _DRAWN.append(float(value)), [drawn], [])
        return inputs + 0.1 * drawn + 0.1 * self.generator.normal(tf.shape(inputs))


def posterior(kernel_size: int, bias_size: int, dtype: Any = None) -> tfk.Model:
    """Make the distribution of the weights."""
    size = kernel_size + bias_size
    return tfk.Sequential(
        [
            tfp.layers.VariableLayer(2 * size, dtype=dtype),
            tfp.layers.IndependentNormal(size),
        ]
    )


def prior(kernel_size: int, bias_size: int, dtype: Any = None) -> Any:
    """Make what they are measured against."""
    size = kernel_size + bias_size
    return lambda _: tfd.Independent(tfd.Normal(tf.zeros(size, dtype), 1.0), reinterpreted_batch_ndims=1)


def flipout_model() -> tfk.Sequential:
    """Draw weights, units to drop, noise of two kinds, and outputs for a metric."""
    model = tfk.Sequential(
        [
            tfk.Input((1,)),
            Noise(),
            tfp.layers.DenseFlipout(3, "relu"),
            tfk.layers.Dropout(0.3),
            tfk.layers.Dense(2),
            tfp.layers.IndependentNormal(1),
        ]
    )
    model.compile(tfk.optimizers.Adam(0.1), negative_log_likelihood, metrics=["mse"])
    return model


def variational_model() -> tfk.Sequential:
    """Draw weights from a posterior that is a model of its own."""
    model = tfk.Sequential(
        [
            tfk.Input((1,)),
            tfp.layers.DenseVariational(2, posterior, prior, kl_weight=1 / 12),
            tfk.layers.Dropout(0.1, seed=5),
            tfp.layers.IndependentNormal(1),
        ]
    )
    model.compile("sgd", negative_log_likelihood)
    return model


@pytest.mark.parametrize(
    ("new_model", "save_freq", "crashes"),
    [
        (flipout_model, 4, [(0, 5), (1, 3)]),
        (variational_model, "epoch", [(1, 1)]),
    ],
    ids=["within", "epoch"],
)
def test_a_reproducible_training_ends_in_the_same_bits_however_often_it_crashed(
    new_model: Any, save_freq: Any, crashes: list[tuple[int, int]], tmp_path: pathlib.Path
) -> None:
    """Weights, optimizer and history, although each batch draws weights, masks, noise and the order of the rows."""
    script: dict[str, Any] = {
        "new_model": new_model,
        "new_data": lambda: {**arrays(shuffle=True), "validation_data": (X, Y)},
        "save_freq": save_freq,
        "reproducible": True,
        "fit": {"epochs": 2},
    }
    new_model()  # The first of a process draws more: TFP's layers share initializers, which take their seeds then.

    whole = attempts(tmp_path / "whole", crashes=[], **script)
    crashed = attempts(tmp_path / "crashed", crashes=crashes, **script)

    assert crashed.result == whole.result
    assert len(set(whole.history["loss"])) == 2


def test_resuming_draws_no_noise_a_second_time(run: pathlib.Path) -> None:
    """probability#1286: a script that sets its seed draws, after a restore, the very samples that it began with."""
    _DRAWN.clear()
    attempt(run, new_model=flipout_model, save_top_k=-1, fit={"epochs": 2})
    before = list(_DRAWN)

    attempt(as_if_stopped(run, after=6), new_model=flipout_model, fit={"epochs": 2})

    after = _DRAWN[len(before) :]
    assert len(set(before)) == 12
    assert len(set(after)) == 6
    assert not set(after) & set(before)


def test_a_reproducible_training_without_a_seed_is_refused_before_anything_is_trained(run: pathlib.Path) -> None:
    """What cannot be had is not promised, and the call that is missing is named."""
    with pytest.raises(ValueError, match=r"tf_keras.utils.set_random_seed\(1\)"):
        attempt(run, seed=None, reproducible=True)
