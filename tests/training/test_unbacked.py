from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.training.unbacked import unbacked_variables

MEGABYTE = 2**20


def resident_bytes() -> int:
    """Read how much memory this process has now."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096


def refuse(*_: Any, **__: Any) -> Any:
    """Stand for an initializer that must not run."""
    raise AssertionError("it ran")


def test_a_large_layer_takes_no_memory() -> None:
    """200 MB of weights that nobody writes to are not there, and read as zeros."""
    layer = tfk.layers.Dense(5000)
    before = resident_bytes()

    with unbacked_variables():
        layer.build((None, 10_000))

    assert layer.kernel.shape == (10_000, 5000)
    assert resident_bytes() - before < 20 * MEGABYTE
    assert float(tf.reduce_sum(layer.kernel[:10])) == 0.0


def test_a_large_value_that_is_there_is_not_copied() -> None:
    """A table that a user's code holds stays the one copy of it."""
    table = np.ones((50, MEGABYTE // 4), "float32")
    before = resident_bytes()

    with unbacked_variables():
        variable = tf.Variable(table)

    assert variable.shape == table.shape
    assert resident_bytes() - before < 10 * MEGABYTE


@pytest.mark.parametrize(
    "dtype",
    ["bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "float8_e5m2"],
)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)], ids=str)
def test_a_variable_has_its_shape_and_dtype(shape: tuple[int, ...], dtype: str) -> None:
    """Of whatever kind; no initializer ran for it."""
    with unbacked_variables():
        variable = tf.Variable(refuse, shape=shape, dtype=dtype)

    assert (variable.shape, variable.dtype.name) == (shape, dtype)
    assert np.asarray(tf.cast(variable, "float32")).tolist() == np.zeros(shape).tolist()


@pytest.mark.parametrize(
    ("initial", "value"),
    [
        pytest.param(3, 3, id="a number"),
        pytest.param([1.0, 2.0], [1.0, 2.0], id="a list"),
        pytest.param(np.float32([4.0]), [4.0], id="an array"),
        pytest.param("text", b"text", id="a string"),
        pytest.param(
            lambda: tf.ones(2) + 1, [0.0, 0.0], id="a function whose result is of a shape that it alone knows"
        ),
        pytest.param(lambda: ["text"], [b"text"], id="a function that makes no numbers"),
    ],
)
def test_a_small_value_that_is_there_is_kept(initial: Any, value: Any) -> None:
    """A counter begins where it would; only what would have to be computed is not."""
    with unbacked_variables():
        variable = tf.Variable(initial)

    assert np.asarray(variable.numpy()).tolist() == value


def test_an_initializer_that_cannot_be_traced_runs() -> None:
    """It knows the shape, and nobody else does."""

    def initial() -> Any:
        return np.full(int(tf.constant(2)), 5.0) if tf.executing_eagerly() else tf.constant(1).numpy()

    with unbacked_variables():
        variable = tf.Variable(initial)

    assert variable.numpy().tolist() == [5.0, 5.0]


def of_a_layer() -> tf.Variable:
    """Make a variable by a layer that is built in a graph."""
    layer = tfk.layers.Dense(2, kernel_initializer=refuse)
    layer(tf.compat.v1.placeholder("float32", [None, 3]))
    return layer.kernel


def of_an_optimizer() -> tf.Variable:
    """Make a variable that begins with zeros of the graph."""
    optimizer = tfk.optimizers.SGD(momentum=0.9)
    optimizer.build([tf.Variable([1.0, 2.0, 3.0])])
    return optimizer.momentums[0]


@pytest.mark.parametrize("make", [of_a_layer, of_an_optimizer])
def test_variables_that_are_made_in_a_graph_are_eager_ones(make: Callable[[], tf.Variable]) -> None:
    """A model is called on placeholders to be built, and its variables outlive that graph."""
    with unbacked_variables(), tf.__internal__.FuncGraph("graph").as_default():
        variable = make()

    assert float(tf.reduce_sum(variable)) == 0.0


def test_variables_made_afterwards_are_as_ever() -> None:
    """The next layer of the user's is initialized."""
    with unbacked_variables():
        tf.Variable(tf.ones, shape=(), dtype="float32")

    assert tf.Variable(lambda: tf.ones(2)).numpy().tolist() == [1.0, 1.0]
