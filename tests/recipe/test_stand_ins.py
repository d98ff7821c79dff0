from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from keras_probckpt.recipe.code_uses import used_by
from tests.recipe.journeys import Written, written

ROWS = np.full((400, 7), 1234.5678, np.float32)  # Private.
TENSOR = tf.constant(ROWS)
NAMES = ["Ada", "Grace"]


def closing_over(rows: Any) -> Callable[[float], Any]:
    """Return a function that closes over rows."""
    return lambda x: x / rows.shape[0]


def nested(x: float) -> float:
    """Read the length in a function inside."""

    def inner() -> float:
        return x / len(ROWS)

    return inner()


def read_inside(x: float) -> Any:
    """Read a row in a function inside, and only the length outside."""

    def inner() -> Any:
        return ROWS[0, 0] * x

    return inner() + len(ROWS)


# As a script has them, whose functions no other process can import.
nested.__module__ = read_inside.__module__ = "__main__"


def bytes_of(stored: Written) -> bytes:
    """Return all that the files hold."""
    return (stored.code or b"") + b"".join(array.tobytes() for array in stored.arrays.values())


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x / ROWS.shape[0], 2.0),
        (lambda x: x / len(ROWS), 2.0),
        (lambda x: (x, ROWS.ndim, ROWS.size, ROWS.dtype, ROWS.shape[1:]), (800, 2, 2800, np.dtype("float32"), (7,))),
        (nested, 2.0),
        (closing_over(ROWS), 2.0),
        (lambda x, rows=ROWS: x / rows.shape[0], 2.0),
        (lambda x, *, rows=ROWS: x / len(rows), 2.0),
        (lambda x: x / TENSOR.shape[0], 2.0),
        (lambda x: x * len(NAMES), 1600),
    ],
)
def test_data_of_which_only_the_size_is_read_is_not_taken_along(function: Any, expected: Any) -> None:
    """Neither its bytes nor a copy of its size in zeros; the function gives what it gave."""
    stored = written(function)

    content = bytes_of(stored)
    assert ROWS[0, :2].tobytes() not in content
    assert b"Grace" not in content
    assert len(content) < 4000
    assert stored.read()(800) == expected


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / ROWS.shape[0] + ROWS[0, 0],
        lambda x: x / ROWS.mean(),
        lambda x: len(ROWS) * sum(ROWS[0]) + x,
        lambda x: x * float(TENSOR[0, 0]),
        read_inside,
    ],
)
def test_data_that_is_read_is_taken_along(function: Any) -> None:
    """A function that reads a row needs the row."""
    stored = written(function)

    assert ROWS[0, :2].tobytes() in bytes_of(stored)
    assert stored.read()(800) == function(800)


def test_two_functions_of_one_module_read_each_what_they_read() -> None:
    """One only the shape, the other the rows: the first one's stand-in is not the other's data."""
    holder = type("Holder", (), {"a": staticmethod(lambda: len(ROWS)), "b": staticmethod(lambda: float(ROWS[0, 0]))})

    found = written(holder).read()

    assert (found.a(), found.b()) == (400, float(ROWS[0, 0]))


def test_what_is_described_of_it_is_its_shape() -> None:
    """A recipe's description is read by people; the live function and the rebuilt one must be described alike."""
    (used,) = [value for name, value in used_by(lambda x: x / ROWS.shape[0]) if name == "ROWS"]

    assert (used.shape, used.dtype, used.any()) == ((400, 7), np.dtype("float32"), np.False_)


LARGE = np.ones((1024, 513), np.float32)


def test_large_data_that_is_read_is_named_once_and_written_once() -> None:
    """With its size: whoever gets the checkpoint gets the data."""
    make = lambda: lambda x: x * LARGE.sum()  # noqa: E731

    with pytest.warns(UserWarning, match=r"reads LARGE \(2 MB\)") as caught:
        stored = written([make(), make()])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written(make())
    assert len(caught) == 1
    assert [array.shape for array in stored.arrays.values()] == [(1024, 513)]
    assert len(stored.code or b"") < 4000
    assert [function(1.0) for function in stored.read()] == [1024.0 * 513, 1024.0 * 513]
