from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from tests.resume.trainings import X, Y, arrays, as_if_stopped, attempt, plain_model

PUT_BACK = "In the data: the data iterator was put back."
READ_3 = "In the data: the 3 batches used before were read again."
READ_6 = "In the data: the 6 batches used before were read again."
READ_9 = "In the data: the 9 batches used before were read again."
BEGIN = "In the data: the data begin with an epoch."


class Shuffled(tfk.utils.Sequence):
    """Puts its rows in another order after each epoch, as many do with numpy's generator."""

    def __init__(self) -> None:
        self._order = np.arange(12)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        rows = self._order[2 * index : 2 * index + 2]
        return X[rows], Y[rows]

    def on_epoch_end(self) -> None:
        """Shuffle."""
        np.random.shuffle(self._order)  # noqa: NPY002 - what users do


def endless() -> Iterator[tuple[Any, Any]]:
    """Yield batches for ever, in an order that does not end with the epoch."""
    rows = np.random.default_rng(0)
    while True:
        chosen = rows.integers(0, 12, 2)
        yield X[chosen], Y[chosen]


def rows() -> tf.data.Dataset:
    """Give the rows one by one."""
    return tf.data.Dataset.from_tensor_slices((X, Y))


def from_generator() -> tf.data.Dataset:
    """Give the batches out of Python."""
    signature = (tf.TensorSpec((2, 1)), tf.TensorSpec((2, 1)))
    batches = [(X[begin : begin + 2], Y[begin : begin + 2]) for begin in range(0, 12, 2)]
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)


def interleaved() -> tf.data.Dataset:
    """Give the rows of four parts in turn: how many there are is not known."""
    parts = tf.data.Dataset.range(4).interleave(lambda part: rows().skip(3 * part).take(3), cycle_length=2)
    return parts.shuffle(5).batch(2)


# What to train on; how the place in it is found within an epoch, and at the end of one.
DATA: dict[str, tuple[Callable[[], Mapping[str, Any]], str, str]] = {
    "shuffled_arrays": (lambda: arrays(shuffle=True), PUT_BACK, READ_6),
    "arrays_and_validation": (lambda: {**arrays(), "validation_data": (X, Y)}, PUT_BACK, BEGIN),
    "shuffle_and_prefetch": (lambda: {"x": rows().shuffle(12).batch(2).prefetch(2)}, PUT_BACK, BEGIN),
    "repeat": (lambda: {"x": rows().shuffle(9).repeat().batch(2), "steps_per_epoch": 6}, PUT_BACK, PUT_BACK),
    "interleave": (lambda: {"x": interleaved()}, PUT_BACK, BEGIN),
    "generator_dataset": (lambda: {"x": from_generator()}, READ_3, BEGIN),
    "sequence": (lambda: {"x": Shuffled()}, READ_3, BEGIN),
    "sequence_and_workers": (lambda: {"x": Shuffled(), "workers": 3, "max_queue_size": 2}, READ_3, BEGIN),
    "generator": (lambda: {"x": endless(), "steps_per_epoch": 6}, READ_9, READ_6),
}


def way_in_data(said: pytest.LogCaptureFixture) -> list[str]:
    """Find what was said of the place in the data."""
    return [message for message in said.messages if message.startswith("In the data")]


@pytest.mark.parametrize("kind", DATA)
def test_within_an_epoch_come_the_batches_that_were_still_to_come(
    kind: str, run: pathlib.Path, said: pytest.LogCaptureFixture
) -> None:
    """In the same order, in this epoch and the next, and one line says how; the epoch's logs are of all of it."""
    new_data, within, _ = DATA[kind]
    script: dict[str, Any] = {"new_model": plain_model, "new_data": new_data, "save_freq": 3}
    whole = attempt(run, save_top_k=-1, **script)

    resumed = attempt(as_if_stopped(run, after=9), **script)

    assert resumed.seen == whole.seen[9:]
    assert resumed.result == whole.result
    assert way_in_data(said) == [within]


@pytest.mark.parametrize("kind", DATA)
def test_an_epoch_may_be_cut_twice(kind: str, run: pathlib.Path) -> None:
    """What a resumed training saves within the epoch that it went on with serves as well."""
    script: dict[str, Any] = {"new_model": plain_model, "new_data": DATA[kind][0], "save_freq": 2}
    whole = attempt(run, save_top_k=-1, **script)
    once = as_if_stopped(run, after=8)
    attempt(once, save_top_k=-1, **script)

    resumed = attempt(as_if_stopped(once, after=10), **script)

    assert resumed.seen == whole.seen[10:]
    assert resumed.result == whole.result


@pytest.mark.parametrize(
    "kind", ["shuffled_arrays", "repeat", "interleave", "sequence", "sequence_and_workers", "generator"]
)
def test_the_next_epoch_has_the_order_that_it_would_have_had(
    kind: str, run: pathlib.Path, said: pytest.LogCaptureFixture
) -> None:
    """A training with a seed does not see the order of its first epoch again after each resume."""
    new_data, _, at_end = DATA[kind]
    script: dict[str, Any] = {"new_model": plain_model, "new_data": new_data}
    whole = attempt(run, save_top_k=-1, **script)

    resumed = attempt(as_if_stopped(run, after=6), **script)

    assert resumed.seen == whole.seen[6:]
    assert resumed.result == whole.result
    assert way_in_data(said) == [at_end]


def test_several_steps_in_one_call_go_on_together(run: pathlib.Path) -> None:
    """With `steps_per_execution`, a save comes at the end of such a call, and training goes on with the next."""

    def new_model() -> tfk.Sequential:
        model = plain_model()
        model.compile("sgd", model.loss, steps_per_execution=2)
        return model

    whole = attempt(run, new_model=new_model, save_top_k=-1, save_freq=4)

    resumed = attempt(as_if_stopped(run, after=8), new_model=new_model, save_freq=4)

    assert resumed.seen == whole.seen[8:]
    assert resumed.result == whole.result


def test_a_count_that_running_out_of_data_adds_is_not_added_twice(run: pathlib.Path) -> None:
    """Adam counts an update before it learns that no data are left; a length that was learnt is not learnt again."""
    script: dict[str, Any] = {"new_data": lambda: {"x": rows().filter(lambda _x, _y: True).batch(2)}}
    whole = attempt(run, save_top_k=-1, **script)

    resumed = attempt(as_if_stopped(run, after=12), **script)

    assert int(whole.model.optimizer.iterations) == 19
    assert resumed.result == whole.result


def test_fewer_data_than_were_used_are_said(run: pathlib.Path, said: pytest.LogCaptureFixture) -> None:
    """Then the epoch is begun again with what there is."""
    few = {"x": from_generator().take(4), "steps_per_epoch": 4}
    script: dict[str, Any] = {"new_model": plain_model, "save_freq": 5, "fit": {"epochs": 1}}
    whole = attempt(run, new_data=lambda: {"x": from_generator()}, **script)
    said.clear()

    stopped = attempt(run, new_data=lambda: few, **script)

    assert way_in_data(said) == [
        "In the data: they hold fewer than the 5 batches that were used, and the epoch is begun again."
    ]
    assert stopped.seen == whole.seen[:4]


def test_an_unseeded_order_is_a_new_one(run: pathlib.Path, said: pytest.LogCaptureFixture) -> None:
    """Nothing is read again where the order is not to be had again."""
    script: dict[str, Any] = {"new_model": plain_model, "new_data": lambda: arrays(shuffle=True), "seed": None}
    attempt(run, **script, fit={"epochs": 1})

    resumed = attempt(run, **script, fit={"epochs": 2})

    assert way_in_data(said) == [BEGIN]
    assert sorted(row for batch in resumed.seen for row in batch) == X[:, 0].tolist()


def test_a_batch_of_another_size_begins_the_epoch_again(run: pathlib.Path, said: pytest.LogCaptureFixture) -> None:
    """A number of batches says nothing then, and that is said."""
    attempt(run, new_model=plain_model, save_top_k=-1, save_freq=4)
    stopped = as_if_stopped(run, after=8)
    said.clear()

    resumed = attempt(stopped, new_model=plain_model, new_data=lambda: arrays(batch_size=3), save_freq=4)

    assert resumed.seen[0] == X[:3, 0].tolist()
    assert len(resumed.seen) == 8
    assert said.messages[:2] == [
        "batch_size was 2 before and is 3 now; the new value is taken.",
        "The data are not those that were trained on: epoch 2 is begun again.",
    ]
