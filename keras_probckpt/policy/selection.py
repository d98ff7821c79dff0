"""What a run saves and what it keeps: objective, retention and threshold as one set of rules."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence

from keras_probckpt.policy.objective import AnyCheckpoint, best_of, score_of
from keras_probckpt.policy.retention import (
    Retention,
    is_wanted_unscored,
    is_worth_saving,
    plan_removals,
    retention_for,
)
from keras_probckpt.records import Objective

__all__ = ["Candidate", "Selection", "selection_for"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A checkpoint that might be saved.

    Attributes:
        step: Completed optimizer updates.
        epoch: Number of the epoch, counted from 1; `None` outside of `fit`.
        batch: Completed batches of that epoch; `None` at its end.
        logs: Metrics by name.
    """

    step: int
    epoch: int | None
    batch: int | None
    logs: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """The rules of one run.

    Attributes:
        objective: What "best" means; `None` where nothing is monitored.
        retention: What stays.
        save_best_only: Whether only what enters the best is saved.
        threshold: A score that the first best must improve on.
    """

    objective: Objective | None
    retention: Retention
    save_best_only: bool = False
    threshold: float | None = None

    def wants(self, candidate: Candidate, infos: Sequence[AnyCheckpoint]) -> bool:
        """Tell whether to save a checkpoint, given those the run has."""
        if not self.save_best_only or self.objective is None:
            return True
        if is_wanted_unscored(self.retention, epoch=candidate.epoch, batch=candidate.batch):
            return True
        return is_worth_saving(
            score_of(candidate, self.objective),
            infos,
            retention=self.retention,
            objective=self.objective,
            threshold=self.threshold,
        )

    def problem_with(self, logs: Mapping[str, float]) -> str:
        """Say what it means that the monitor is not among the logs; empty if it is, or nothing is monitored."""
        if self.objective is None or self.objective.monitor in logs:
            return ""
        monitor = self.objective.monitor
        closest = difflib.get_close_matches(monitor, logs, n=1)
        hint = f" Did you mean {closest[0]!r}?" if closest else ""
        consequence = "is not saved while it is missing" if self.save_best_only else "is saved without a rank"
        return (
            f"The monitor {monitor!r} is not among the metrics, so the checkpoint {consequence}. "
            f"There are: {', '.join(sorted(logs)) or 'none'}.{hint}"
        )

    def best(self, infos: Sequence[AnyCheckpoint]) -> AnyCheckpoint | None:
        """Choose the best; `None` if none has a finite score or nothing is monitored."""
        return best_of(infos, self.objective) if self.objective else None

    def removals(self, infos: Sequence[AnyCheckpoint]) -> list[AnyCheckpoint]:
        """Choose what no rule wants, oldest first."""
        return plan_removals(infos, retention=self.retention, objective=self.objective)


def selection_for(  # noqa: PLR0913 - one for each rule a user may set
    *,
    objective: Objective | None,
    save_top_k: int | None = None,
    save_last: bool | int | None = None,
    keep_every_n_epochs: int | None = None,
    save_best_only: bool = False,
    threshold: float | None = None,
    names_each_checkpoint: bool = False,
) -> Selection:
    """Check the rules that a user gave; see `retention.retention_for`.

    Raises:
        TypeError: If a number is not one.
        ValueError: If rules contradict each other, or would keep nothing.
    """
    if save_best_only and objective is None:
        raise ValueError("save_best_only=True needs a monitor, got monitor=None: without one there is no best.")
    retention = retention_for(
        save_top_k=save_top_k,
        save_last=save_last,
        keep_every_n_epochs=keep_every_n_epochs,
        save_best_only=save_best_only,
        names_each_checkpoint=names_each_checkpoint,
    )
    return Selection(objective=objective, retention=retention, save_best_only=save_best_only, threshold=threshold)
