"""What is left of a run when saves that wait are dropped for newer ones before they are written."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.policy.objective import best_of
from keras_probckpt.policy.retention import Retention, plan_removals
from keras_probckpt.records import Objective
from tests.policy.runs import LEAST_LOSS, Saved, as_infos, objectives, retentions, runs, steps_of


def kept_one_by_one(run: list[Saved], retention: Retention, objective: Objective | None) -> list[Saved]:
    """Commit each checkpoint before the next is saved."""
    kept: list[Saved] = []
    for saved in run:
        kept = without_removals([*kept, saved], retention, objective)
    return kept


def kept_with_some_waiting(
    run: list[Saved], retention: Retention, objective: Objective | None, *, chance: random.Random
) -> list[Saved]:
    """Let saves wait, up to four, until the writer happens to be free or there is no room."""
    kept: list[Saved] = []
    waiting: list[Saved] = []
    for saved in run:
        waiting = without_removals([*kept, *waiting, saved], retention, objective, among=[*waiting, saved])
        while len(waiting) > 4 or (waiting and chance.random() < 0.4):
            kept = without_removals([*kept, waiting.pop(0)], retention, objective)
    for saved in waiting:
        kept = without_removals([*kept, saved], retention, objective)
    return kept


def without_removals(
    infos: list[Saved], retention: Retention, objective: Objective | None, *, among: list[Saved] | None = None
) -> list[Saved]:
    """Leave out what no rule wants, of all or of some."""
    removed = plan_removals(infos, retention=retention, objective=objective)
    return [info for info in (infos if among is None else among) if not any(info is item for item in removed)]


@given(runs(), retentions(), st.one_of(st.none(), objectives(min_delta=st.just(0.0))), st.randoms())
def test_the_same_checkpoints_are_left_as_if_each_had_been_written(
    run: list[Saved], retention: Retention, objective: Objective | None, chance: random.Random
) -> None:
    """Dropping a save that waits changes what is written, and nothing of what is there in the end."""
    left = kept_with_some_waiting(run, retention, objective, chance=chance)

    assert steps_of(left) == steps_of(kept_one_by_one(run, retention, objective))


@given(runs(), retentions(save_top_k=st.integers(1, 4)), objectives(), st.randoms())
def test_with_a_smallest_change_the_best_is_the_same(
    run: list[Saved], retention: Retention, objective: Objective, chance: random.Random
) -> None:
    """Which earlier bests are kept besides may differ; which one is best may not."""
    left = kept_with_some_waiting(run, retention, objective, chance=chance)

    best = best_of(run, objective)
    found = best_of(left, objective)
    assert (best and best.step) == (found and found.step)


def test_the_comparison_sees_a_best_that_was_dropped() -> None:
    """The tests above could fail."""
    run = as_infos({1: 0.5, 2: 0.1, 3: 0.7})
    keeps_newest = Retention(save_top_k=0, save_last=1)

    left = kept_with_some_waiting(run, keeps_newest, LEAST_LOSS, chance=random.Random(0))  # noqa: S311 - not a secret

    assert steps_of(left) != steps_of(kept_one_by_one(run, Retention(save_top_k=1, save_last=1), LEAST_LOSS))
