from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.model.equality import is_same


class Holder:
    """Holds something."""

    def __init__(self, value: Any) -> None:
        self.value = value


def scaled(factor: Any) -> Any:
    """Close over a factor."""

    def scale(x: Any) -> Any:
        return factor * x

    return scale


SAME: list[tuple[Any, Any]] = [
    (float("nan"), float("nan")),
    ([1, (2, {"a": 3})], [1, (2, {"a": 3})]),
    (np.array([1.0, np.nan]), np.array([1.0, np.nan])),
    (tf.constant([1.0]), tf.constant([1.0])),
    (scaled(2.0), scaled(2.0)),
    (functools.partial(max, 1, key=None), functools.partial(max, 1, key=None)),
    (Holder([1]), Holder([1])),
    (tf.ragged.constant([[1], [2, 3]]), tf.ragged.constant([[1], [2, 3]])),
    (tfk.initializers.Constant(2.0), tfk.initializers.Constant(2.0)),
]
DIFFERENT: list[tuple[Any, Any]] = [
    (1, 1.0),
    (1, True),
    ([1], (1,)),
    ({"a": 1}, {"a": 1, "b": 2}),
    (np.zeros(2, "float32"), np.zeros(2, "float64")),
    (np.zeros((2, 1)), np.zeros((1, 2))),
    (tf.constant([1.0]), tf.constant([2.0])),
    (scaled(2.0), scaled(3.0)),
    (lambda x: x + 1, lambda x: x + 2),
    (Holder(1), Holder(2)),
    (tf.sparse.from_dense([[1.0]]), tf.sparse.from_dense([[2.0]])),
    (tfk.regularizers.L2(0.1), tfk.regularizers.L2(0.2)),
    (tfk.layers.Dense(1), tfk.layers.Dense(1)),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_values_that_hold_the_same_are_the_same(one: Any, other: Any) -> None:
    """Wherever they are kept."""
    assert is_same(one, other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_values_that_a_reader_could_tell_apart_are_not(one: Any, other: Any) -> None:
    """Types, shapes and dtypes count; variables and layers are the same only as one object."""
    assert not is_same(one, other)


def test_values_that_contain_themselves_end() -> None:
    """A cycle is compared once."""
    one, other = [1], [1]
    one.append(one)  # type: ignore[arg-type] # a cycle
    other.append(other)  # type: ignore[arg-type] # a cycle

    assert is_same(one, other)


def test_pieces_that_are_made_while_comparing_do_not_pass_for_others() -> None:
    """Python gives their addresses away again; many closures in a row once compared as the same by that."""
    pairs = [(scaled([index]), scaled([index + (index == 99)])) for index in range(100)]

    assert [is_same(*pair) for pair in pairs] == [True] * 99 + [False]
