from __future__ import annotations

import datetime as dt
import itertools
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.policy.schedule import Progress, Schedule, after_batch, after_epoch, schedule_for


def saves_of(
    schedule: Schedule, *, epochs: int, batches: int, per_execution: int = 1, batch_seconds: float = 0.0
) -> list[tuple[int, int | Literal["end"]]]:
    """Run a training and list its saves: the epoch, and the index of the batch or "end".

    Keras reports the last batch of each execution, which ends early at an epoch's end.
    """
    saves: list[tuple[int, int | Literal["end"]]] = []
    progress, seconds = Progress(), 0.0
    for epoch in range(epochs):
        for first in range(0, batches, per_execution):
            batch = min(first + per_execution, batches) - 1
            seconds += batch_seconds * (batch + 1 - first)
            progress, is_due = after_batch(schedule, progress, batch=batch, seconds_since_save=seconds)
            if is_due:
                saves.append((epoch, batch))
                seconds = 0.0
        progress, is_due = after_epoch(schedule, progress)
        if is_due:
            saves.append((epoch, "end"))
            seconds = 0.0
    return saves


@pytest.mark.parametrize(
    ("save_freq", "per_execution", "saves"),
    [
        (1, 1, [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]),
        (3, 1, [(0, 2), (1, 0), (1, 3)]),
        (5, 1, [(0, 4), (1, 4)]),
        (7, 1, [(1, 1)]),
        (11, 1, []),
        (1, 2, [(0, 1), (0, 3), (0, 4), (1, 1), (1, 3), (1, 4)]),
        (2, 2, [(0, 1), (0, 3), (1, 1), (1, 3)]),
        (3, 2, [(0, 3), (1, 1), (1, 4)]),
        (3, 5, [(0, 4), (1, 4)]),
        (6, 5, [(1, 4)]),
    ],
)
def test_batches_are_counted_across_epochs_and_executions(
    save_freq: int, per_execution: int, saves: list[tuple[int, int]]
) -> None:
    """Two epochs of five batches: the count goes on over an epoch's end, and what exceeds it is dropped at a save."""
    assert saves_of(Schedule(save_freq=save_freq), epochs=2, batches=5, per_execution=per_execution) == saves


@pytest.mark.parametrize(
    ("period", "saves"),
    [
        (1, [(0, "end"), (1, "end"), (2, "end"), (3, "end"), (4, "end")]),
        (2, [(1, "end"), (3, "end")]),
        (3, [(2, "end")]),
        (6, []),
    ],
)
def test_a_period_counts_epochs(period: int, saves: list[tuple[int, str]]) -> None:
    """With period 2 every second epoch is saved, at its end."""
    assert saves_of(Schedule(period=period), epochs=5, batches=3) == saves


def test_a_period_does_not_apply_to_saves_by_batches() -> None:
    """As in ModelCheckpoint, an integer `save_freq` knows no epochs."""
    assert saves_of(Schedule(save_freq=2, period=3), epochs=2, batches=2) == [(0, 1), (1, 1)]


def test_an_interval_saves_at_the_first_end_of_a_batch_after_it() -> None:
    """With batches of 4 s and an interval of 10 s, the third ends at 12 s; the count starts again from there."""
    schedule = Schedule(save_freq=100, interval_seconds=10.0)

    assert saves_of(schedule, epochs=2, batches=4, batch_seconds=4.0) == [(0, 2), (1, 1)]


def test_an_interval_that_is_just_over_is_over() -> None:
    """At or after, not only after."""
    schedule = Schedule(interval_seconds=10.0)

    assert after_batch(schedule, Progress(), batch=0, seconds_since_save=9.9)[1] is False
    assert after_batch(schedule, Progress(), batch=0, seconds_since_save=10.0)[1] is True


def test_an_interval_moves_none_of_the_saves_by_batches() -> None:
    """Saves by `save_freq=3` stay at every third batch; the others come between."""
    schedule = Schedule(save_freq=3, interval_seconds=2.0)

    assert saves_of(schedule, epochs=1, batches=7, batch_seconds=1.0) == [(0, 1), (0, 2), (0, 4), (0, 5)]


def test_an_interval_comes_on_top_of_the_saves_by_epochs() -> None:
    """A save at an epoch's end starts the interval anew."""
    schedule = Schedule(interval_seconds=2.0)

    assert saves_of(schedule, epochs=2, batches=3, batch_seconds=1.0) == [(0, 1), (0, "end"), (1, 1), (1, "end")]


def test_progress_is_a_value() -> None:
    """What a step leaves can be written down and gone on from."""
    progress, is_due = after_batch(Schedule(save_freq=4), Progress(), batch=2)

    assert progress == Progress(last_batch=2, batches_since_save=3, epochs_since_save=0)
    assert is_due is False
    assert after_batch(Schedule(save_freq=4), progress, batch=3) == (Progress(last_batch=3), True)
    assert after_epoch(Schedule(period=2), progress) == (
        Progress(last_batch=2, batches_since_save=3, epochs_since_save=1),
        False,
    )


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 9))
def test_without_executions_saves_are_exactly_every_nth_batch(save_freq: int, epochs: int, batches: int) -> None:
    """The n-th save is at batch n times `save_freq` of the whole run."""
    saves = saves_of(Schedule(save_freq=save_freq), epochs=epochs, batches=batches)

    numbers = [epoch * batches + int(batch) + 1 for epoch, batch in saves]
    assert numbers == list(range(save_freq, epochs * batches + 1, save_freq))


@given(st.integers(1, 9), st.integers(1, 5), st.integers(2, 9), st.integers(1, 9))
def test_with_executions_saves_are_at_least_n_batches_apart_and_less_than_an_execution_more(
    save_freq: int, epochs: int, batches: int, per_execution: int
) -> None:
    """No batch is missed and none counted twice."""
    saves = saves_of(Schedule(save_freq=save_freq), epochs=epochs, batches=batches, per_execution=per_execution)

    numbers = [0, *(epoch * batches + int(batch) + 1 for epoch, batch in saves)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(numbers)]
    assert all(save_freq <= gap < save_freq + per_execution for gap in gaps)
    assert epochs * batches - numbers[-1] < save_freq


@given(st.integers(1, 5), st.integers(0, 12), st.integers(1, 4))
def test_epochs_are_saved_once_a_period(period: int, epochs: int, batches: int) -> None:
    """The number of saves is that of whole periods, and none is inside of an epoch."""
    saves = saves_of(Schedule(period=period), epochs=epochs, batches=batches)

    assert len(saves) == epochs // period
    assert {place for _, place in saves} <= {"end"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, Schedule(save_freq="epoch", period=1, interval_seconds=None)),
        ({"save_freq": 100}, Schedule(save_freq=100)),
        ({"period": 5}, Schedule(period=5)),
        ({"train_time_interval": dt.timedelta(minutes=30)}, Schedule(interval_seconds=1800.0)),
    ],
)
def test_what_a_user_asks_for_becomes_a_schedule(arguments: dict[str, Any], expected: Schedule) -> None:
    """The defaults are ModelCheckpoint's."""
    assert schedule_for(**arguments) == expected


@pytest.mark.parametrize("save_freq", [True, False, 0, -1, 1.0, "batch", "Epoch", None])
def test_a_save_freq_that_counts_nothing_is_rejected(save_freq: Any) -> None:
    """ModelCheckpoint takes True for 1 and saves every batch for 0."""
    with pytest.raises(ValueError, match="save_freq must be 'epoch' or a whole number") as caught:
        schedule_for(save_freq)

    assert f"got {save_freq!r} ({type(save_freq).__name__})" in str(caught.value)


@pytest.mark.parametrize("interval", [1800, 0.5, "30m", True])
def test_an_interval_without_a_unit_is_rejected(interval: Any) -> None:
    """The error shows how to write one."""
    with pytest.raises(TypeError, match=r"datetime\.timedelta\(minutes=30\)") as caught:
        schedule_for(train_time_interval=interval)

    assert f"got {interval!r} ({type(interval).__name__})" in str(caught.value)


@pytest.mark.parametrize("interval", [dt.timedelta(0), dt.timedelta(seconds=-1)])
def test_an_interval_of_no_length_is_rejected(interval: dt.timedelta) -> None:
    """The error says how to save after every batch."""
    with pytest.raises(ValueError, match=f"must be longer than nothing, got {interval}.*save_freq=1"):
        schedule_for(train_time_interval=interval)


@pytest.mark.parametrize(("period", "kind"), [(0, ValueError), (-3, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_period_that_counts_nothing_is_rejected(period: Any, kind: type[Exception]) -> None:
    """The error shows the value."""
    with pytest.raises(kind, match=f"period must be .*got {period}"):
        schedule_for(period=period)
