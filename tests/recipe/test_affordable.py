from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.recipe.probe import is_affordable_call, trace_call


def model_of(*layers: Any, shape: tuple[Any, ...] = (3,)) -> tfk.Model:
    """Make a small model."""
    return tfk.Sequential([tfk.Input(shape), *layers])


CHEAP = {
    "dense": lambda: model_of(tfk.layers.Dense(4, "relu"), tfk.layers.Dense(1)),
    "convolution": lambda: model_of(tfk.layers.Conv2D(4, 3), tfk.layers.Flatten(), shape=(8, 8, 3)),
    "open length": lambda: model_of(tfk.layers.Conv1D(4, 3, padding="same"), shape=(None, 3)),
}
DEAR = {
    "a tensor made of nothing": lambda: model_of(tfk.layers.Lambda(lambda x: x[0, 0] + tf.zeros([30_000, 30_000]))),
    "an input": lambda: model_of(tfk.layers.GlobalAveragePooling1D(), shape=(2**24, 3)),
    "a size that numbers say": lambda: model_of(
        tfk.layers.Lambda(lambda x: tf.zeros([tf.cast(tf.reduce_sum(x), tf.int32)]))
    ),
    "a loop": lambda: model_of(tfk.layers.LSTM(2), shape=(5, 3)),
    "a sampler that rejects": lambda: model_of(tfk.layers.Lambda(lambda x: tf.random.gamma([3], x))),
    "a product": lambda: model_of(
        tfk.layers.Lambda(lambda x: tf.matmul(tf.zeros([2000, 2**12]), tf.zeros([2**12, 2**12])) + x[0, 0])
    ),
}


@pytest.mark.parametrize("name", CHEAP)
def test_a_small_call_is_affordable(name: str) -> None:
    """So that a stranger's model too is proved by its numbers."""
    trace = trace_call(CHEAP[name]())

    assert trace is not None
    assert is_affordable_call(trace)


@pytest.mark.parametrize("name", DEAR)
def test_a_call_that_could_take_long_or_much_is_not(name: str) -> None:
    """What it would take is told from its graph: nothing of it is run."""
    trace = trace_call(DEAR[name]())

    assert trace is not None
    assert not is_affordable_call(trace)
