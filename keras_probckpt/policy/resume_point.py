"""Which checkpoint a training goes on from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras_probckpt.policy.objective import AnyCheckpoint
from keras_probckpt.policy.schedule import Schedule

__all__ = ["has_finite_loss", "plan_resume_points", "require_resumable"]

_LOSS = "loss"


def has_finite_loss(info: AnyCheckpoint) -> bool:
    """Whether the loss of a checkpoint, if it has one, is a finite number."""
    return math.isfinite(info.logs.get(_LOSS, 0.0))


def plan_resume_points(infos: Sequence[AnyCheckpoint]) -> list[AnyCheckpoint]:
    """Order the checkpoints that a training may go on from, the one to take first.

    The newest first; those whose loss is not finite after all others, for what follows them is not finite either.

    Args:
        infos: Committed checkpoints of one run, oldest first.
    """
    newest_first = list(reversed(infos))
    return sorted(newest_first, key=lambda info: not has_finite_loss(info))


def require_resumable(*, resume: object, reproducible: bool, weights_only: bool, schedule: Schedule) -> None:
    """Check that what a user wants of resuming goes with what is saved, and when.

    Args:
        resume: False, or what to go on from.
        reproducible: Whether a resumed training is to end in the bits of one that never stopped.
        weights_only: Whether optimizer and training are left out of the checkpoints.
        schedule: When to save.

    Raises:
        ValueError: If it does not.
    """
    if weights_only and (resume is not False or reproducible):
        wish = "reproducible=True" if resume is False else f"resume={resume!r}"
        raise ValueError(
            f"{wish} needs the state of optimizer and training, and save_weights_only=True leaves them out. Nothing "
            "was saved. Leave one of the two out."
        )
    if reproducible and schedule.interval_seconds is not None:
        raise ValueError(
            "reproducible=True and train_time_interval do not go together: a save that depends on the clock comes at "
            "another step in each run, and new random numbers begin at each save. Nothing was saved. Use save_freq."
        )
