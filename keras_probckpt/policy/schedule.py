"""When to save."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Literal, NamedTuple

from keras_probckpt.policy.arguments import checked_count

__all__ = ["Progress", "Schedule", "after_batch", "after_epoch", "schedule_for"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """The occasions of a run to save on.

    Attributes:
        save_freq: `"epoch"`, or the number of batches between two saves.
        period: Number of epochs between two saves. Without meaning unless `save_freq` is `"epoch"`.
        interval_seconds: Besides, save at the first end of a batch at least so long after the last save.
    """

    save_freq: int | Literal["epoch"] = "epoch"
    period: int = 1
    interval_seconds: float | None = None


class Progress(NamedTuple):
    """How far a run has come since `save_freq` or `period` last asked for a save.

    Attributes:
        last_batch: Index in its epoch of the last batch seen, counted from 0; -1 before the first.
        batches_since_save: Batches seen.
        epochs_since_save: Epochs ended.
    """

    last_batch: int = -1
    batches_since_save: int = 0
    epochs_since_save: int = 0


def schedule_for(
    save_freq: int | Literal["epoch"] = "epoch",
    *,
    period: int = 1,
    train_time_interval: dt.timedelta | None = None,
) -> Schedule:
    """Check when a user wants to save.

    Args:
        save_freq: `"epoch"`, or the number of batches between two saves.
        period: Number of epochs between two saves, with `save_freq="epoch"`.
        train_time_interval: Besides, save at the first end of a batch at least so long after the last save.

    Raises:
        TypeError: If `period` is not a whole number or `train_time_interval` not a `datetime.timedelta`.
        ValueError: If `save_freq` is neither `"epoch"` nor a positive whole number, or another is not positive.
    """
    return Schedule(
        save_freq=_checked_freq(save_freq),
        period=checked_count(period, name="period", least=1, reason="it counts the epochs from one save to the next"),
        interval_seconds=None if train_time_interval is None else _seconds_of(train_time_interval),
    )


def _checked_freq(save_freq: object) -> int | Literal["epoch"]:
    if save_freq == "epoch":
        return "epoch"
    if isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq >= 1:
        return save_freq
    raise ValueError(
        f"save_freq must be 'epoch' or a whole number of batches of at least 1, got {save_freq!r} "
        f"({type(save_freq).__name__}). Nothing was saved. To save after every n-th epoch, pass period=n."
    )


def _seconds_of(interval: object) -> float:
    if not isinstance(interval, dt.timedelta):
        raise TypeError(
            f"train_time_interval must be a datetime.timedelta, got {interval!r} ({type(interval).__name__}): a bare "
            "number does not say its unit. Nothing was saved. Pass, for one, datetime.timedelta(minutes=30)."
        )
    if interval <= dt.timedelta(0):
        raise ValueError(
            f"train_time_interval must be longer than nothing, got {interval}. Nothing was saved. To save after every "
            "batch, pass save_freq=1."
        )
    return interval.total_seconds()


def after_batch(
    schedule: Schedule, progress: Progress, *, batch: int, seconds_since_save: float = 0.0
) -> tuple[Progress, bool]:
    """Count a batch, or the batches of one execution, and tell whether to save now.

    A save for the interval adds to those that `save_freq` asks for and moves none of them.

    Args:
        schedule: When to save.
        progress: How far the run had come.
        batch: Index in its epoch of the batch that ended, counted from 0. With `steps_per_execution=N` it goes up by N.
        seconds_since_save: Time since the last save for whatever reason, or since the start.

    Source: `tf_keras.callbacks.ModelCheckpoint._should_save_on_batch`.
    """
    is_new_epoch = batch <= progress.last_batch
    seen = progress.batches_since_save + (batch + 1 if is_new_epoch else batch - progress.last_batch)
    is_due = schedule.save_freq != "epoch" and seen >= schedule.save_freq
    is_overdue = schedule.interval_seconds is not None and seconds_since_save >= schedule.interval_seconds
    # To 0 and not by save_freq: what an execution ran beyond it is not carried over, as in ModelCheckpoint.
    since_save = 0 if is_due else seen
    now = Progress(last_batch=batch, batches_since_save=since_save, epochs_since_save=progress.epochs_since_save)
    return now, is_due or is_overdue


def after_epoch(schedule: Schedule, progress: Progress) -> tuple[Progress, bool]:
    """Count an epoch that ended and tell whether to save now.

    Source: `tf_keras.callbacks.ModelCheckpoint.on_epoch_end` and `_save_model`.
    """
    ended = progress.epochs_since_save + 1
    is_due = schedule.save_freq == "epoch" and ended >= schedule.period
    return progress._replace(epochs_since_save=0 if is_due else ended), is_due
