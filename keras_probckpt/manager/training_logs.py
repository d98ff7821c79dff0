"""What `fit` logs, and what is said of it: at each save, and at the end of a training that saved nothing."""

from __future__ import annotations

import difflib
import logging
import numbers
import pathlib
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from tf_keras.src.utils import io_utils, tf_utils

from keras_probckpt.errors import MonitorNeverSeenError
from keras_probckpt.policy.schedule import Schedule

__all__ = ["print_save", "require_monitor_seen", "scalars_of", "warn_of_no_occasion"]

_logger = logging.getLogger("keras_probckpt")


def scalars_of(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Bring logs from the device and leave out those that are not single numbers."""
    values = dict(logs or {})
    if all(type(value) is float for value in values.values()):  # As `fit` gives them at the end of an epoch.
        return values
    values = tf_utils.sync_to_numpy_or_python_type(values)
    return {name: float(value) for name, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    is_scalar = isinstance(value, numbers.Real) or (isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0)
    return is_scalar and np.asarray(value).dtype.kind in "biuf"


def print_save(
    epoch: int, *, monitor: str, score: float | None, bests: tuple[float, float], path: pathlib.Path | None
) -> None:
    """Print what is done at an occasion to save, in the words of `ModelCheckpoint`; what is not said is not so.

    Args:
        epoch: Number of the epoch, counted from 1.
        monitor: Key of the logs by which the best is chosen.
        score: Its value now; None if there is none.
        bests: The best before and after. Equal where the best is not what decides on saving.
        path: Where the checkpoint goes; None if none is saved.
    """
    place, saving = f"\nEpoch {epoch}: ", f"saving model to {path}"
    before, after = bests
    if after != before:
        io_utils.print_msg(f"{place}{monitor} improved from {before:.5f} to {after:.5f}, {saving}")
    elif path is not None:
        io_utils.print_msg(f"{place}{saving}")
    elif score is not None:
        io_utils.print_msg(f"{place}{monitor} did not improve from {before:.5f}")


def warn_of_no_occasion(directory: pathlib.Path, *, schedule: Schedule, batches: int) -> None:
    """Say why a training saved nothing in which no moment to save came.

    Args:
        directory: The run directory.
        schedule: When to save.
        batches: How many batches were trained; without any there was nothing to save.
    """
    if not batches:
        return
    if schedule.save_freq != "epoch":
        rule = f"save_freq={schedule.save_freq} batches"
    else:
        rule = "the end of an epoch" if schedule.period == 1 else f"period={schedule.period} epochs"
    if schedule.interval_seconds is not None:
        rule += f", or train_time_interval of {schedule.interval_seconds:g} seconds"
    # In the log: where ModelCheckpoint saves nothing it warns of nothing, and warnings may be errors there.
    _logger.warning(
        "No checkpoint was saved in %s: the training ended after %d batches, before the first moment to save, which is "
        "%s. Save more often, for example with save_freq='epoch'.",
        *(directory, batches, rule),
    )


def require_monitor_seen(directory: pathlib.Path, *, monitor: str, best: float, seen: Collection[str]) -> None:
    """Say why a training with `save_best_only` saved nothing.

    Args:
        directory: The run directory.
        monitor: Key of the logs by which the best is chosen.
        best: What it had to improve on.
        seen: Names that were in the logs.

    Raises:
        MonitorNeverSeenError: If the monitor was in no log.
    """
    if monitor in seen:
        warnings.warn(
            f"No checkpoint was saved in {directory}: no value of {monitor} was finite, better than {best} and past "
            "the epochs that start_from_epoch passes over.",
            stacklevel=3,
        )
        return
    closest = difflib.get_close_matches(monitor, seen, n=1)
    raise MonitorNeverSeenError(
        path=str(directory), monitor=monitor, seen=tuple(sorted(seen)), closest=closest[0] if closest else None
    )
