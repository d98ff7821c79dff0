from __future__ import annotations

import logging
import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk
from tf_keras.src.engine import data_adapter

from keras_probckpt.training import data_position
from keras_probckpt.training.data_position import (
    begin_again,
    is_sequence,
    put_back_iterator,
    put_back_length,
    put_back_position,
    read_earlier_epochs,
    skip_batches,
    state_of_iterator,
)
from keras_probckpt.training.randomness import python_state

UNSAVABLE = tf.TensorSpec((), tf.int64)


def numbers() -> tf.data.Dataset:
    """Count to 20."""
    return tf.data.Dataset.range(20)


def generated() -> tf.data.Dataset:
    """Count to 20 in Python."""
    return tf.data.Dataset.from_generator(lambda: iter(range(20)), output_signature=UNSAVABLE)


def add_noise(number: tf.Tensor) -> tf.Tensor:
    """Draw within the pipeline."""
    return number + 100 * tf.random.uniform((), 0, 9, tf.int64)


def used(dataset: tf.data.Dataset, count: int) -> Any:
    """Make an iterator and use some of it."""
    iterator = iter(dataset)
    for _ in range(count):
        next(iterator)
    return iterator


def rest_of(iterator: Any) -> list[int]:
    """Use all that is left."""
    return [int(value) for value in iterator]


PIPELINES: dict[str, Any] = {
    "shuffle": lambda: numbers().shuffle(7).repeat(2).prefetch(3),
    "order_kept": lambda: numbers().shuffle(7, reshuffle_each_iteration=False).repeat(2),
    "interleave": lambda: numbers().interleave(lambda n: tf.data.Dataset.range(n, n + 3), cycle_length=4),
    "cache": lambda: numbers().cache().shuffle(5),
    "mixed": lambda: tf.data.Dataset.sample_from_datasets([numbers(), numbers().map(lambda n: -n)]),
}


@pytest.mark.parametrize("kind", PIPELINES)
@pytest.mark.parametrize("is_exact", [False, True])
def test_an_iterator_goes_on_where_another_was(kind: str, *, is_exact: bool) -> None:
    """Shuffle buffers, orders and places in many files at once are part of its position."""
    tf.random.set_seed(1)
    iterator = used(PIPELINES[kind](), 5)
    state = state_of_iterator(iterator, is_exact=is_exact)
    expected = rest_of(iterator)
    tf.random.set_seed(1)  # A later pass has the order that its seed gives.
    other = iter(PIPELINES[kind]())
    assert state is not None

    assert put_back_iterator(other, state)
    assert rest_of(other) == expected


@pytest.mark.parametrize(
    ("dataset", "is_exact", "has_state"),
    [
        (generated, False, False),
        (generated, True, False),
        (lambda: numbers().map(add_noise), False, True),
        (lambda: numbers().map(add_noise), True, False),
    ],
)
def test_what_cannot_be_written_down_has_no_position(dataset: Any, *, is_exact: bool, has_state: bool) -> None:
    """A generator of Python's; and, where each bit matters, numbers that the pipeline draws."""
    state = state_of_iterator(used(dataset(), 2), is_exact=is_exact)

    assert (state is not None) is has_state


def test_an_iterator_of_python_has_no_position() -> None:
    """And none can be put back into it."""
    assert state_of_iterator(iter([1, 2]), is_exact=False) is None
    state = state_of_iterator(used(numbers(), 2), is_exact=False)
    assert state is not None
    assert not put_back_iterator(iter([1, 2]), state)


@pytest.mark.parametrize("state", [b"", b"no tensor"])
def test_bytes_that_are_no_position_leave_the_iterator_as_it_is(state: bytes) -> None:
    """Whatever is in the file: the answer is no."""
    iterator = iter(numbers())

    assert not put_back_iterator(iterator, state)
    assert rest_of(iterator) == list(range(20))


def test_the_position_in_another_pipeline_is_refused() -> None:
    """What is put back is the same pipeline's or nothing."""
    state = state_of_iterator(used(numbers().shuffle(7), 2), is_exact=False)
    iterator = iter(numbers().map(lambda number: number + 1))
    assert state is not None

    assert not put_back_iterator(iterator, state)


def test_data_begin_again() -> None:
    """With an iterator that a compiled step may hold already."""
    iterator = used(numbers(), 5)

    begin_again(iterator)

    assert rest_of(iterator) == list(range(20))


@pytest.mark.parametrize(
    ("batches", "how", "is_there", "first"),
    [
        (0, "the data begin with an epoch", True, 0),
        (3, "the 3 batches used before were read again", True, 3),
        (21, "they hold fewer than the 21 batches that were used, and the epoch is begun again", False, 0),
    ],
)
def test_what_has_no_position_is_read_again(batches: int, how: str, is_there: bool, first: int) -> None:  # noqa: FBT001
    """Up to the same batch, with Python's generator left as it is."""
    iterator, state = iter(generated()), random.getstate()
    position = {"batches": batches, "python": python_state()}

    assert put_back_position(iterator, position, None) == (how, is_there)
    assert int(next(iterator)) == first
    assert random.getstate() == state


def test_a_position_that_is_not_this_pipelines_is_read_again() -> None:
    """The data may have changed: the number of batches still says something."""
    iterator = iter(numbers())

    how, is_there = put_back_position(iterator, {"batches": 2, "python": python_state()}, b"another")

    assert (how, is_there) == ("the 2 batches used before were read again", True)
    assert int(next(iterator)) == 2


def test_skipping_more_than_there_is_ends_at_the_end() -> None:
    """Without an error."""
    iterator = iter(numbers())

    skip_batches(iterator, 25)

    assert rest_of(iterator) == []


def test_reading_that_takes_long_says_how_far_it_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Now and then, so that nobody thinks it hangs."""
    monkeypatch.setattr(data_position, "_PROGRESS_SECONDS", -1.0)
    monkeypatch.setattr(data_position, "_CHUNK_BATCHES", 2)

    with caplog.at_level(logging.WARNING, "keras_probckpt"):
        skip_batches(iter(numbers()), 5)

    said = "Reading the data up to where training was: batches used before, {} batches so far."
    assert caplog.messages == [said.format(count) for count in (2, 4, 5)]


class Shuffled(tfk.utils.Sequence):
    """Puts its batches in another order after each epoch."""

    def __init__(self) -> None:
        self.order = np.arange(6)
        self.epochs = 0

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        return self.order[index : index + 1, np.newaxis].astype("float32")

    def on_epoch_end(self) -> None:
        """Shuffle."""
        self.epochs += 1
        np.random.shuffle(self.order)  # noqa: NPY002 - what users do


def handler_of(data: Any, **options: Any) -> Any:
    """Wrap data as `fit` does."""
    return data_adapter.DataHandler(data, model=tfk.Sequential(), **options)


def test_a_sequence_is_put_in_the_orders_that_it_had() -> None:
    """Each with the seed that it had; a seed that is not known is none."""
    orders = []
    for seeds in ([4, 9], [4, 9], [4, 8], [None, 9]):
        sequence = Shuffled()
        handler = handler_of(sequence)
        assert is_sequence(handler)
        read_earlier_epochs(handler, {"epochs": 2, "is_exact": False, "order_seeds": seeds})
        assert sequence.epochs == 2
        orders.append(sequence.order.tolist())

    assert orders[0] == orders[1]
    assert orders[2] != orders[0]


@pytest.mark.parametrize("is_exact", [False, True])
def test_a_dataset_that_begins_anew_shuffles_as_it_would_have(*, is_exact: bool) -> None:
    """The order of its third pass comes third, after a resume too."""
    tf.random.set_seed(1)
    dataset = numbers().shuffle(20)
    expected = [rest_of(iter(dataset)) for _ in range(3)][2]
    tf.random.set_seed(1)
    handler = handler_of(numbers().shuffle(20))

    read_earlier_epochs(handler, {"epochs": 2, "is_exact": is_exact, "order_seeds": [None, None]})

    assert rest_of(iter(handler._dataset)) == expected


def test_an_iterator_for_all_epochs_is_not_read_epoch_by_epoch() -> None:
    """Arrays and generators have one that goes on."""
    handler = handler_of(np.zeros((4, 1)))

    read_earlier_epochs(handler, {"epochs": 2, "is_exact": True, "order_seeds": [None, None]})

    assert not is_sequence(handler)
    assert len(list(handler._dataset)) == 1


@pytest.mark.parametrize(
    ("dataset", "steps", "expected"), [(generated, 5, 5), (generated, None, None), (numbers, 5, 20)]
)
def test_a_length_that_was_learnt_is_known_again(dataset: Any, steps: int | None, expected: int | None) -> None:
    """One that is known without it stays."""
    handler = handler_of(dataset())

    put_back_length(handler, {"steps": steps})

    assert handler.inferred_steps == expected
