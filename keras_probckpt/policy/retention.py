"""Which checkpoints of a run stay. Choosing is done here; removing is the store's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from keras_probckpt.policy.arguments import checked_count
from keras_probckpt.policy.objective import (
    AnyCheckpoint,
    Rankable,
    best_of,
    in_order,
    is_improvement,
    rank,
    record_bests,
    score_of,
)
from keras_probckpt.policy.resume_point import has_finite_loss
from keras_probckpt.records import Objective

__all__ = ["Retention", "is_wanted_unscored", "is_worth_saving", "plan_removals", "retention_for"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retention:
    """The rules by which checkpoints stay. One goes only when no rule wants it.

    Attributes:
        save_top_k: How many of the best to keep; `None`: every checkpoint, whatever its score.
        save_last: How many of the newest to keep. Where the loss of none of them is finite, one that has a finite loss
            stays besides, the point to resume from.
        keep_every_n_epochs: Keep what was saved at the end of every n-th epoch; `None`: no such rule.
    """

    save_top_k: int | None
    save_last: int
    keep_every_n_epochs: int | None = None

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is ever removed."""
        return self.save_top_k is None


def retention_for(
    *,
    save_top_k: int | None = None,
    save_last: bool | int | None = None,
    keep_every_n_epochs: int | None = None,
    save_best_only: bool = False,
    names_each_checkpoint: bool = False,
) -> Retention:
    """Check the rules a user gave and settle those left open.

    Args:
        save_top_k: How many of the best to keep: -1 is all, 0 none on merit. `None` is 1, or all where `filepath` names
            each checkpoint, as `ModelCheckpoint` would leave them.
        save_last: How many of the newest to keep; `True` is 1 and `False` 0. `None` is 1, the point to resume from, or
            0 with `save_best_only`.
        keep_every_n_epochs: Keep what was saved at the end of every n-th epoch.
        save_best_only: Whether only improvements are saved.
        names_each_checkpoint: Whether `filepath` is a template.

    Raises:
        TypeError: If one is not a whole number.
        ValueError: If one is too small, or the rules together would keep nothing.
    """
    retention = Retention(
        save_top_k=_settled_top_k(save_top_k, names_each_checkpoint=names_each_checkpoint),
        save_last=_settled_last(save_last=save_last, save_best_only=save_best_only),
        keep_every_n_epochs=None
        if keep_every_n_epochs is None
        else checked_count(keep_every_n_epochs, name="keep_every_n_epochs", least=1, reason="None is no such rule"),
    )
    if retention.save_top_k == 0 and save_best_only:
        raise ValueError(
            "save_best_only=True saves what enters the best, and save_top_k=0 keeps none of the best. Pass "
            "save_top_k=1, or save_best_only=False to keep the newest only."
        )
    if retention == Retention(save_top_k=0, save_last=0):
        raise ValueError(
            f"save_top_k=0 and save_last={save_last} would keep no checkpoint at all. Pass save_top_k=1 to keep the "
            "best, save_last=True to keep the newest, or keep_every_n_epochs=."
        )
    return retention


def _settled_top_k(save_top_k: int | None, *, names_each_checkpoint: bool) -> int | None:
    if save_top_k is None:
        return None if names_each_checkpoint else 1
    reason = "-1 keeps all, 0 none on merit, and a larger number so many of the best"
    count = checked_count(save_top_k, name="save_top_k", least=-1, reason=reason)
    return None if count == -1 else count


def _settled_last(*, save_last: bool | int | None, save_best_only: bool) -> int:
    if save_last is None:
        return 0 if save_best_only else 1
    if isinstance(save_last, bool):
        return int(save_last)
    return checked_count(save_last, name="save_last", least=0, reason="it is how many of the newest to keep")


def plan_removals(
    infos: Iterable[AnyCheckpoint], *, retention: Retention, objective: Objective | None
) -> list[AnyCheckpoint]:
    """Choose the checkpoints to remove, oldest first.

    A pure function: it touches no files, so one rule serves a run and a dry run. The newest stays where no rule wants
    any, so a run is never left without a checkpoint. What stays has the same best as all of them had: with `min_delta`
    above 0 that can take some earlier best besides what the rules ask for.

    Args:
        infos: Every committed checkpoint of one run, in any order.
        retention: The rules.
        objective: What "best" means; `None` where nothing is monitored. A checkpoint without a finite score is never
            kept on merit.
    """
    if retention.keeps_all:
        return []
    infos = in_order(infos)
    wanted = _wanted(infos, retention=retention, objective=objective) or infos[-1:]
    stays = {id(info) for info in wanted}
    return [info for info in infos if id(info) not in stays]


def _wanted(
    infos: Sequence[AnyCheckpoint], *, retention: Retention, objective: Objective | None
) -> list[AnyCheckpoint]:
    newest = _newest(infos, retention.save_last)
    milestones = [info for info in infos if _is_milestone(retention, epoch=info.epoch, batch=info.batch)]
    if objective is None or retention.save_top_k == 0:
        return [*newest, *milestones]
    wanted = [*rank(infos, objective)[: retention.save_top_k], *newest, *milestones]
    # Without a min_delta the best of all is the best of any that it is among.
    return _with_same_best(wanted, infos=infos, objective=objective) if objective.min_delta else wanted


def _newest(infos: Sequence[AnyCheckpoint], count: int) -> list[AnyCheckpoint]:
    """Choose the newest; if training diverged before all of them, the last from before that too, to resume from."""
    newest = list(infos[max(0, len(infos) - count) :])
    if newest and not any(map(has_finite_loss, newest)):
        newest += [info for info in infos if has_finite_loss(info)][-1:]
    return newest


def _with_same_best(
    wanted: list[AnyCheckpoint], *, infos: Sequence[AnyCheckpoint], objective: Objective
) -> list[AnyCheckpoint]:
    """Add the earlier bests, latest first, without which another checkpoint than the best of all would look best.

    An example with min_delta 0.1, less being better: of 0.90, 0.85, 0.78 the last is best, for 0.85 was too small a
    gain on 0.90. Without the first, 0.78 would be too small a gain on 0.85. All the earlier bests always suffice.
    """
    bests = record_bests(infos, objective)
    if not bests:
        return wanted
    *earlier, best = bests
    while best_of(wanted, objective) is not best:
        wanted = [*wanted, earlier.pop()]
    return wanted


def is_wanted_unscored(retention: Retention, *, epoch: int | None, batch: int | None) -> bool:
    """Tell whether a checkpoint that is about to be saved will be kept whatever its score.

    Under `save_best_only` it is then saved even if `is_worth_saving` says no: a user who asks there for `save_last`
    asks for a point to resume from.

    Args:
        retention: The rules.
        epoch: Number of its epoch, counted from 1; `None` outside of `fit`.
        batch: Completed batches of that epoch; `None` at its end.
    """
    return retention.save_last > 0 or _is_milestone(retention, epoch=epoch, batch=batch)


def _is_milestone(retention: Retention, *, epoch: int | None, batch: int | None) -> bool:
    if retention.keep_every_n_epochs is None or epoch is None or batch is not None:
        return False
    return epoch % retention.keep_every_n_epochs == 0


def is_worth_saving(
    score: float | None,
    infos: Iterable[Rankable],
    *,
    retention: Retention,
    objective: Objective,
    threshold: float | None = None,
) -> bool:
    """Tell whether a score would enter the best that are kept: what `save_best_only` asks before it saves.

    Where one best or all are kept, it must be an improvement on the best; otherwise strictly better than one of the
    `save_top_k`, or one of fewer.

    Args:
        score: The new checkpoint's, by `score_of`; `None` is not worth saving.
        infos: Every committed checkpoint of the run, all older.
        retention: The rules.
        objective: What "better" means.
        threshold: A score it must improve on in any case, `ModelCheckpoint`'s `initial_value_threshold`.
    """
    if score is None or not is_improvement(score, best=threshold, objective=objective):
        return False
    places = 1 if retention.save_top_k is None else retention.save_top_k
    strict = dataclasses.replace(objective, min_delta=0.0)
    ahead = 0
    for place, rival in enumerate(rank(infos, objective)):
        asked = objective if place == 0 else strict
        ahead += not is_improvement(score, best=score_of(rival, objective), objective=asked)
    return ahead < places
