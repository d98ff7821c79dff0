from __future__ import annotations

import pathlib
import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint
from tests.integration.tiny import negative_log_likelihood

pytestmark = [
    # The oldest tf_keras asks Python's generator for a whole number up to 1e9.
    pytest.mark.filterwarnings("ignore:non-integer arguments to randrange:DeprecationWarning"),
    # What TFP's layers warn of whenever they are built.
    pytest.mark.filterwarnings("ignore:`layer.add_variable` is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:The initializer RandomNormal is unseeded:UserWarning"),
]

X = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


class TraceAgain(tfk.callbacks.Callback):
    """Has the train step traced anew before the second epoch, as a change of the model does."""

    def on_epoch_begin(self, epoch: int, _logs: Any = None) -> None:
        """Drop what was compiled."""
        if epoch == 1:
            self.model.make_train_function(force=True)


def trained(*callbacks: tfk.callbacks.Callback) -> dict[str, Any]:
    """Train a model that draws random numbers everywhere it can; give all that a training could have changed."""
    tfk.backend.clear_session()
    tfk.utils.set_random_seed(7)
    tf.random.set_global_generator(tf.random.Generator.from_seed(7))
    draw = tf.function(lambda: tf.random.uniform(()))
    draw()
    model = tfk.Sequential(
        [
            tfk.layers.GaussianNoise(0.1),
            tfp.layers.DenseFlipout(8, "relu"),
            tfk.layers.Dropout(0.3, seed=3),
            tfk.layers.Dropout(0.2),
            tfk.layers.Dense(2),
            tfp.layers.IndependentNormal(1),
        ]
    )
    model.compile("adam", loss=negative_log_likelihood, metrics=["mae"])
    history = model.fit(X, Y, epochs=3, batch_size=8, shuffle=True, verbose=0, callbacks=[TraceAgain(), *callbacks])
    return {
        "weights": [variable.numpy().tobytes() for variable in [*model.variables, *model.optimizer.variables]],
        "history": history.history,
        "name": tfk.layers.Dense(1).name,
        "initializer": tfk.initializers.GlorotUniform()((2, 2)).numpy().tobytes(),
        "python": random.getstate(),
        "numpy": np.random.uniform(size=700).tobytes(),  # noqa: NPY002 - the generator that all code shares
        "eager": [float(tf.random.uniform(())), float(tf.random.uniform((), seed=5))],
        "compiled": float(draw()),
        "generator": float(tf.random.get_global_generator().uniform(())),
    }


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """Train without any checkpoint; not for the first time: TFP's layers share initializers, which are seeded once."""
    trained()
    return trained()


def test_a_training_says_the_same_twice(alone: dict[str, Any]) -> None:
    """So that the comparisons below speak of the callback and of nothing else."""
    assert trained() == alone


@pytest.mark.parametrize("rehearse", [False, None, True])
def test_a_training_with_the_callback_is_the_one_without(
    rehearse: bool | None,  # noqa: FBT001 - the column of the table
    alone: dict[str, Any],
    tmp_path: pathlib.Path,
) -> None:
    """To the bit: weights, optimizer, history, and the names and random numbers that come after."""
    beside = trained(ProbCheckpoint(tmp_path / "run", monitor="loss", save_top_k=-1, rehearse=rehearse))

    assert beside == alone
