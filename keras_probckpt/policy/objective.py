"""Which checkpoint is best."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Literal, Protocol, TypeVar, cast, get_args

from keras_probckpt.policy.arguments import checked_count
from keras_probckpt.policy.direction import is_known_direction, mode_for
from keras_probckpt.records import Mode, Objective

__all__ = [
    "Rankable",
    "best_of",
    "in_order",
    "is_improvement",
    "is_known_direction",
    "objective_for",
    "rank",
    "record_bests",
    "score_of",
]

_MODES = ("auto", *get_args(Mode))


class Rankable(Protocol):
    """What the policies look at of a checkpoint: any `Manifest` or `CheckpointInfo` has it."""

    @property
    def step(self) -> int:
        """Completed optimizer updates."""

    @property
    def epoch(self) -> int | None:
        """Number of its epoch, counted from 1; `None` outside of `fit`."""

    @property
    def batch(self) -> int | None:
        """Completed batches of that epoch where it was saved inside one; `None` at an epoch's end."""

    @property
    def logs(self) -> Mapping[str, float]:
        """The metrics known at the save, by name."""


AnyCheckpoint = TypeVar("AnyCheckpoint", bound=Rankable)


def objective_for(
    monitor: str,
    *,
    mode: Literal["auto", "min", "max"] = "auto",
    min_delta: float = 0.0,
    start_from_epoch: int = 0,
) -> Objective:
    """Settle what "best" means.

    Args:
        monitor: Key of the logs that is compared.
        mode: Whether less or more is better; `"auto"` tells it from the name (see `direction.mode_for`).
        min_delta: Smallest change that counts as an improvement, in units of the monitor.
        start_from_epoch: Number of first epochs whose checkpoints never count as best.

    Raises:
        TypeError: If `monitor` is not a name, `min_delta` no number or `start_from_epoch` no whole number.
        ValueError: If `mode` is unknown, or a number is negative or not finite.
    """
    reason = "it counts the epochs to pass over"
    return Objective(
        monitor=_checked_monitor(monitor),
        mode=_settled_mode(mode, monitor=monitor),
        min_delta=_checked_min_delta(min_delta),
        start_from_epoch=checked_count(start_from_epoch, name="start_from_epoch", least=0, reason=reason),
    )


def _checked_monitor(monitor: object) -> str:
    if not isinstance(monitor, str):
        raise TypeError(
            f"monitor must be the name of a metric, such as 'val_loss', got {monitor!r} ({type(monitor).__name__}). "
            "For a metric object, pass its name: monitor='val_' + metric.name."
        )
    return monitor


def _settled_mode(mode: str, *, monitor: str) -> Mode:
    if mode == "auto":
        return mode_for(monitor)
    if mode in get_args(Mode):
        return cast("Mode", mode)
    closest = difflib.get_close_matches(str(mode), _MODES, n=1, cutoff=0.5)
    hint = f" Did you mean {closest[0]!r}?" if closest else ""
    raise ValueError(
        f"mode must be 'auto', 'min' or 'max', got {mode!r}.{hint} Nothing was saved: a guess could keep the "
        "worst model."
    )


def _checked_min_delta(min_delta: object) -> float:
    if isinstance(min_delta, bool) or not isinstance(min_delta, numbers.Real):
        raise TypeError(f"min_delta must be a number, got {min_delta!r} ({type(min_delta).__name__}).")
    size = float(min_delta)
    if not (math.isfinite(size) and size >= 0):
        raise ValueError(
            f"min_delta must be finite and at least 0, got {size}: it is the size of a change, whatever the mode."
        )
    return size


def score_of(info: Rankable, objective: Objective) -> float | None:
    """Read the score by which a checkpoint competes, or `None` where it does not.

    Missing, NaN and infinite values do not compete, nor do the first `start_from_epoch` epochs. A checkpoint saved
    outside of `fit` has no epoch, so for it there are none to pass over.
    """
    score = info.logs.get(objective.monitor)
    if score is None or not math.isfinite(score):
        return None
    if info.epoch is not None and info.epoch <= objective.start_from_epoch:
        return None
    return float(score)


def is_improvement(score: float, *, best: float | None, objective: Objective) -> bool:
    """Tell whether a score is better than the best so far by more than `min_delta`; an equal one is not.

    Args:
        score: A finite score.
        best: The best so far; `None` when there is none yet.
        objective: What "better" means.

    Source: `tf_keras.callbacks.EarlyStopping`.
    """
    if best is None:
        return True
    if objective.mode == "min":
        return score + objective.min_delta < best
    return score - objective.min_delta > best


def best_of(infos: Iterable[AnyCheckpoint], objective: Objective) -> AnyCheckpoint | None:
    """Choose the best checkpoint of one run; `None` when none has a score.

    With `min_delta` 0, of equals the later wins. With a larger one, a later checkpoint must be better than the best
    before it by more than that, as the run itself would have judged while it went on.
    """
    return next(reversed(record_bests(infos, objective)), None)


def record_bests(infos: Iterable[AnyCheckpoint], objective: Objective) -> list[AnyCheckpoint]:
    """List the checkpoints that were best when they were saved, in order of steps: the last is `best_of` all."""
    bests: list[AnyCheckpoint] = []
    best: float | None = None
    for info in in_order(infos):
        score = score_of(info, objective)
        if score is None:
            continue
        is_later_equal = objective.min_delta == 0 and score == best
        if is_later_equal or is_improvement(score, best=best, objective=objective):
            bests.append(info)
            best = score
    return bests


def rank(infos: Iterable[AnyCheckpoint], objective: Objective) -> list[AnyCheckpoint]:
    """Sort the checkpoints of one run, best first.

    First comes `best_of` them, then the others by score, of equals the later first. Those without a score are left out.
    """
    infos = in_order(infos)
    sign = 1 if objective.mode == "min" else -1
    scored = [(score, info) for info in reversed(infos) if (score := score_of(info, objective)) is not None]
    by_score = [info for _, info in sorted(scored, key=lambda pair: sign * pair[0])]
    best = best_of(infos, objective) if objective.min_delta else next(iter(by_score), None)
    return [] if best is None else [best, *(info for info in by_score if info is not best)]


def in_order(infos: Iterable[AnyCheckpoint]) -> list[AnyCheckpoint]:
    """Sort the checkpoints of one run as they were saved: at one step, inside of an epoch comes before its end."""
    return sorted(infos, key=lambda info: (info.step, info.epoch or 0, math.inf if info.batch is None else info.batch))
