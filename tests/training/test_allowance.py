from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.calls import symbolic_call
from keras_probckpt.training.allowance import allowance_for, variables_within

LIMIT_BYTES = 1_000_000
HUGE = 10**9


def called(layer: Any, *shape: int | None) -> Callable[[], Any]:
    """Build a layer by a call on placeholders."""
    return lambda: symbolic_call(layer, [tf.TensorSpec(shape)], {})


HUGE_THINGS = {
    "a layer with an input shape": lambda: tfk.Sequential([tfk.layers.Dense(HUGE, input_shape=(4,))]),
    "a layer that is called": called(tfk.layers.Dense(HUGE), None, 4),
    "a layer on a huge input": called(tfk.layers.BatchNormalization(), None, HUGE),
    "an embedding": called(tfk.layers.Embedding(HUGE, HUGE), None, 4),
    "a recurrent layer": called(tfk.layers.LSTM(10**6), None, 4, 4),
    "a layer with a distribution over its weights": called(tfp.layers.DenseReparameterization(HUGE), None, 4),
    "a variable as a layer": lambda: tfp.layers.VariableLayer((HUGE,)),
    "a metric": lambda: tfk.metrics.MeanIoU(10**6),
    "a variable of its own": lambda: tf.Variable(tf.zeros, shape=(HUGE,)),
    "many small ones": lambda: [tf.Variable(np.zeros(1000)) for _ in range(200)],
}


@pytest.mark.parametrize("make", HUGE_THINGS.values(), ids=HUGE_THINGS.keys())
@pytest.mark.filterwarnings("ignore:`layer.add_variable` is deprecated:UserWarning")
def test_what_would_take_more_than_was_saved_is_refused(make: Callable[[], Any]) -> None:
    """Before its memory is taken: each of them would be of many gigabytes."""
    with pytest.raises(MalformedRecipeError, match="where those that were saved allow for 1000000"), limited():
        make()


def limited() -> Any:
    """Allow for a million bytes."""
    return variables_within(LIMIT_BYTES)


def test_what_was_saved_is_made() -> None:
    """Up to the last byte; after the context there is no limit."""
    with limited():
        variable = tf.Variable(np.zeros(LIMIT_BYTES // 8))
    another = tf.Variable(np.zeros(LIMIT_BYTES // 8 + 1))

    assert variable.shape == (125_000,)
    assert another.shape == (125_001,)


@pytest.mark.parametrize("initial", [lambda: tf.ones((3,)), tf.ones((3,)), [1.0, 2.0, 3.0]])
def test_a_variable_of_whatever_initial_value_is_made(initial: Any) -> None:
    """One that is not known before it is computed is let through: only Python code that is trusted can ask for it."""
    with limited():
        assert tf.Variable(initial).shape == (3,)


def test_another_error_is_not_taken_for_a_refusal() -> None:
    """It goes through as it is."""
    with pytest.raises(ZeroDivisionError), limited():
        1 // 0  # noqa: B018 - for its error


def test_the_allowance_goes_by_the_values_that_were_read() -> None:
    """Room for every optimizer's state, and for metrics, which are not saved."""
    assert allowance_for({}) == 64 * 1024 * 1024
    assert allowance_for({"a": np.zeros(100, "float32"), "b": np.zeros(1)}) == 8 * 408 + 64 * 1024 * 1024


def test_every_optimizer_of_tf_keras_has_room_for_its_state() -> None:
    """With all that can be switched on, its variables take less than the factor allows."""
    kernel = np.ones((1000, 1000), "float32")
    for name in (
        "Adam",
        "Adamax",
        "AdamW",
        "Adadelta",
        "Adafactor",
        "Adagrad",
        "Ftrl",
        "Lion",
        "Nadam",
        "RMSprop",
        "SGD",
    ):
        optimizer = getattr(tfk.optimizers, name)(use_ema=True)
        for switch in ("amsgrad", "centered"):
            if hasattr(optimizer, switch):
                setattr(optimizer, switch, True)
        with variables_within(7 * kernel.nbytes + 10_000):
            optimizer.build([tf.Variable(kernel)])
