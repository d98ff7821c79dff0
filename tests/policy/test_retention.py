from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.policy.objective import best_of, score_of
from keras_probckpt.policy.retention import (
    Retention,
    is_wanted_unscored,
    is_worth_saving,
    plan_removals,
    retention_for,
)
from keras_probckpt.records import Objective
from tests.policy.runs import LEAST_LOSS, MOST_LOG_PROB, Saved, as_infos, objectives, retentions, runs, scores, steps_of

BEST_AND_NEWEST = Retention(save_top_k=1, save_last=1)
BEST_ONLY = Retention(save_top_k=1, save_last=0)


def left_of(run: list[Saved], *, retention: Retention, objective: Objective | None) -> list[Saved]:
    """Take from a run what is planned to be removed."""
    removed = plan_removals(run, retention=retention, objective=objective)
    return [info for info in run if info not in removed]


def played(run: list[Saved], *, retention: Retention, objective: Objective) -> list[Saved]:
    """Save a run one checkpoint at a time, removing after each what is planned to be removed."""
    kept: list[Saved] = []
    for info in run:
        kept = left_of([*kept, info], retention=retention, objective=objective)
    return kept


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, Retention(save_top_k=1, save_last=1)),
        ({"names_each_checkpoint": True}, Retention(save_top_k=None, save_last=1)),
        ({"names_each_checkpoint": True, "save_top_k": 2}, Retention(save_top_k=2, save_last=1)),
        ({"save_best_only": True}, Retention(save_top_k=1, save_last=0)),
        ({"save_best_only": True, "save_last": True}, Retention(save_top_k=1, save_last=1)),
        ({"save_top_k": -1}, Retention(save_top_k=None, save_last=1)),
        ({"save_top_k": 0}, Retention(save_top_k=0, save_last=1)),
        ({"save_top_k": 3, "save_last": False}, Retention(save_top_k=3, save_last=0)),
        ({"save_last": 0}, Retention(save_top_k=1, save_last=0)),
        ({"save_last": 4}, Retention(save_top_k=1, save_last=4)),
        ({"keep_every_n_epochs": 5}, Retention(save_top_k=1, save_last=1, keep_every_n_epochs=5)),
        (
            {"save_top_k": 0, "save_last": False, "keep_every_n_epochs": 5},
            Retention(save_top_k=0, save_last=0, keep_every_n_epochs=5),
        ),
    ],
)
def test_what_a_user_leaves_open_is_settled(arguments: dict[str, Any], expected: Retention) -> None:
    """The defaults are the best and the newest; a template keeps all; `save_best_only` keeps no newest."""
    assert retention_for(**arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_top_k": -2}, "save_top_k must be at least -1, got -2"),
        ({"save_last": -1}, "save_last must be at least 0, got -1"),
        ({"keep_every_n_epochs": 0}, "keep_every_n_epochs must be at least 1, got 0"),
        ({"save_top_k": 0, "save_last": False}, "save_top_k=0 and save_last=False would keep no checkpoint"),
        ({"save_top_k": 0, "save_last": 0}, "save_top_k=0 and save_last=0 would keep no checkpoint"),
        ({"save_top_k": 0, "save_best_only": True}, "save_best_only=True saves .* save_top_k=0 keeps none"),
        ({"save_top_k": 0, "save_best_only": True, "save_last": 1}, "save_best_only=True saves .* Pass save_top_k=1"),
    ],
)
def test_rules_that_make_no_sense_are_rejected(arguments: dict[str, Any], message: str) -> None:
    """The error shows the values and what to pass instead."""
    with pytest.raises(ValueError, match=message):
        retention_for(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"save_top_k": True}, r"save_top_k must be a whole number of at least -1, got True \(bool\)"),
        ({"save_top_k": 1.0}, r"save_top_k must be a whole number of at least -1, got 1.0 \(float\)"),
        ({"save_last": "1"}, r"save_last must be a whole number of at least 0, got '1' \(str\)"),
        ({"keep_every_n_epochs": True}, r"keep_every_n_epochs must be a whole number of at least 1, got True"),
    ],
)
def test_rules_of_another_kind_are_rejected(arguments: dict[str, Any], message: str) -> None:
    """A bool is a number only for `save_last`."""
    with pytest.raises(TypeError, match=message):
        retention_for(**arguments)


def test_only_a_retention_without_a_number_keeps_all() -> None:
    """All is told apart from many."""
    assert Retention(save_top_k=None, save_last=0).keeps_all
    assert not Retention(save_top_k=1000, save_last=0).keeps_all


@pytest.mark.parametrize(
    ("retention", "removed"),
    [
        (Retention(save_top_k=None, save_last=0), []),
        (Retention(save_top_k=1, save_last=0), [10, 30, 40, 50]),
        (Retention(save_top_k=1, save_last=1), [10, 30, 40]),
        (Retention(save_top_k=2, save_last=1), [10, 30]),
        (Retention(save_top_k=0, save_last=2), [10, 20, 30]),
        (Retention(save_top_k=1, save_last=9), []),
        (Retention(save_top_k=1, save_last=0, keep_every_n_epochs=2), [10, 30, 50]),
        (Retention(save_top_k=0, save_last=0, keep_every_n_epochs=3), [10, 20, 40, 50]),
        (Retention(save_top_k=0, save_last=0, keep_every_n_epochs=9), [10, 20, 30, 40]),
    ],
)
def test_a_checkpoint_goes_only_when_no_rule_wants_it(retention: Retention, removed: list[int]) -> None:
    """The best, the newest and every n-th epoch's stay, and the last of all where no rule wants any."""
    run = as_infos({10: 0.9, 20: 0.5, 30: 0.8, 40: 0.6, 50: 0.7})

    assert steps_of(plan_removals(run, retention=retention, objective=LEAST_LOSS)) == removed


def test_a_run_that_diverges_keeps_the_model_from_before() -> None:
    """A NaN in the newest checkpoint is not "best", although it sorts last."""
    run = as_infos({1: 0.9, 2: 0.7, 3: math.nan})

    assert steps_of(plan_removals(run, retention=BEST_AND_NEWEST, objective=LEAST_LOSS)) == [1]
    assert steps_of(plan_removals(run, retention=BEST_ONLY, objective=LEAST_LOSS)) == [1, 3]


def test_among_scored_ones_an_unscored_checkpoint_never_stays_on_merit() -> None:
    """A place among the top that nobody takes stays empty."""
    run = as_infos({1: None, 2: 0.7, 3: math.inf, 4: 0.9})

    assert steps_of(plan_removals(run, retention=Retention(save_top_k=4, save_last=0), objective=MOST_LOG_PROB)) == [
        1,
        3,
    ]


@pytest.mark.parametrize(
    ("losses", "removed"),
    [
        ([0.5, 0.9, 0.7, math.nan, math.nan], [10, 20, 40]),
        ([0.5, 0.9, 0.7, math.nan, 0.8], [10, 20, 30, 40]),
        ([math.nan, math.inf], [10]),
    ],
)
def test_a_run_that_diverged_keeps_the_last_point_to_resume_from(losses: list[float], removed: list[int]) -> None:
    """The newest stays too; a finite loss after it makes the older point needless."""
    run = [
        Saved(step=10 * number, epoch=number, batch=None, logs={"loss": loss})
        for number, loss in enumerate(losses, start=1)
    ]

    assert steps_of(plan_removals(run, retention=BEST_AND_NEWEST, objective=LEAST_LOSS)) == removed


@pytest.mark.parametrize("objective", [None, LEAST_LOSS])
@pytest.mark.parametrize("save_last", [0, 1])
def test_where_nothing_can_be_ranked_the_newest_stays(objective: Objective | None, save_last: int) -> None:
    """A run whose monitor never appeared is not left without a checkpoint."""
    run = as_infos({1: None, 2: None, 3: None})
    retention = Retention(save_top_k=2, save_last=save_last)

    assert steps_of(plan_removals(run, retention=retention, objective=objective)) == [1, 2]


def test_inside_of_an_epoch_no_checkpoint_is_an_nth_epochs() -> None:
    """Only an epoch's end is kept for its number; outside of `fit` there are no epochs."""
    run = [
        Saved(step=5, epoch=2, batch=5, logs={}),
        Saved(step=8, epoch=2, batch=None, logs={}),
        Saved(step=9, epoch=None, batch=None, logs={}),
        Saved(step=11, epoch=3, batch=3, logs={}),
    ]
    retention = Retention(save_top_k=0, save_last=1, keep_every_n_epochs=2)

    assert steps_of(plan_removals(run, retention=retention, objective=None)) == [5, 9]


def test_of_nothing_nothing_is_removed() -> None:
    """A new run has no checkpoint yet."""
    assert plan_removals([], retention=BEST_AND_NEWEST, objective=LEAST_LOSS) == []


def test_an_earlier_best_stays_where_the_best_would_look_like_a_small_gain_without_it() -> None:
    """With min_delta 0.1, 0.78 is a gain on 0.90 but not on 0.85, which was itself too small a gain on 0.90."""
    run = as_infos({1: 0.90, 2: 0.85, 3: 0.78, 4: 0.99})
    objective = dataclasses.replace(LEAST_LOSS, min_delta=0.1)

    kept = left_of(run, retention=Retention(save_top_k=2, save_last=0), objective=objective)

    assert steps_of(kept) == [1, 2, 3]
    assert best_of(kept, objective) is run[2]
    assert best_of(run[1:3], objective) is run[1]


@pytest.mark.parametrize(
    ("save_last", "keep_every_n_epochs", "epoch", "batch", "wanted"),
    [
        (1, None, 1, None, True),
        (0, None, 1, None, False),
        (0, 2, 2, None, True),
        (0, 2, 3, None, False),
        (0, 2, 2, 4, False),
        (0, 2, None, None, False),
        (1, 2, 3, 4, True),
    ],
)
def test_the_newest_and_the_nth_epochs_are_wanted_unscored(
    save_last: int, keep_every_n_epochs: int | None, epoch: int | None, batch: int | None, *, wanted: bool
) -> None:
    """What will be kept in any case is saved in any case."""
    retention = Retention(save_top_k=1, save_last=save_last, keep_every_n_epochs=keep_every_n_epochs)

    assert is_wanted_unscored(retention, epoch=epoch, batch=batch) is wanted


@pytest.mark.parametrize(
    ("save_top_k", "score", "is_worth"),
    [
        (1, 0.4, True),
        (1, 0.5, False),
        (1, 0.6, False),
        (1, None, False),
        (2, 0.6, True),
        (2, 0.7, False),
        (3, 0.8, True),
        (3, 0.9, False),
        (4, 2.0, True),
        (0, 0.1, False),
        (None, 0.4, True),
        (None, 0.5, False),
        (None, 0.6, False),
    ],
)
def test_only_what_enters_the_best_is_worth_saving(
    save_top_k: int | None, score: float | None, *, is_worth: bool
) -> None:
    """Equal is not better; where all are kept, as with a template, each save must improve on the best."""
    run = as_infos({1: 0.9, 2: 0.5, 3: 0.7})
    retention = Retention(save_top_k=save_top_k, save_last=0)

    assert is_worth_saving(score, run, retention=retention, objective=LEAST_LOSS) is is_worth


def test_the_first_score_is_worth_saving() -> None:
    """Anything is better than nothing, unless there is nothing to compare."""
    unscored = as_infos({1: None})

    assert is_worth_saving(9.0, [], retention=BEST_ONLY, objective=LEAST_LOSS)
    assert is_worth_saving(9.0, unscored, retention=BEST_ONLY, objective=LEAST_LOSS)
    assert not is_worth_saving(None, [], retention=BEST_ONLY, objective=LEAST_LOSS)


@pytest.mark.parametrize(("score", "is_worth"), [(0.4, True), (0.5, False), (0.6, False)])
def test_a_score_that_misses_the_threshold_is_not_worth_saving(score: float, *, is_worth: bool) -> None:
    """`initial_value_threshold` stands in for a best that was seen before."""
    retention = Retention(save_top_k=3, save_last=0)

    assert is_worth_saving(score, [], retention=retention, objective=LEAST_LOSS, threshold=0.5) is is_worth


def test_under_min_delta_a_small_gain_is_worth_a_place_but_not_the_first() -> None:
    """One place goes to gains of more than min_delta only; further ones go by score."""
    run = as_infos({1: 1.0, 2: 0.85})
    objective = dataclasses.replace(LEAST_LOSS, min_delta=0.25)

    def is_worth(score: float, *, save_top_k: int) -> bool:
        return is_worth_saving(score, run, retention=Retention(save_top_k=save_top_k, save_last=0), objective=objective)

    assert not is_worth(0.8, save_top_k=1)
    assert is_worth(0.7, save_top_k=1)
    assert is_worth(0.8, save_top_k=2)
    assert not is_worth(0.9, save_top_k=2)


@given(runs(), retentions(save_top_k=st.integers(1, 4)), objectives())
def test_the_best_is_never_removed(run: list[Saved], retention: Retention, objective: Objective) -> None:
    """What is left has the same best as the run."""
    kept = left_of(run, retention=retention, objective=objective)

    assert best_of(kept, objective) is best_of(run, objective)


@given(runs(min_size=1), retentions(save_last=st.integers(1, 3)), st.one_of(st.none(), objectives()))
def test_the_newest_are_never_removed(run: list[Saved], retention: Retention, objective: Objective | None) -> None:
    """A run can be resumed from where it stopped."""
    kept = left_of(run, retention=retention, objective=objective)

    assert kept[-retention.save_last :] == run[-retention.save_last :]


@given(runs(min_size=1), retentions(), st.one_of(st.none(), objectives()))
def test_a_run_is_never_left_without_a_checkpoint(
    run: list[Saved], retention: Retention, objective: Objective | None
) -> None:
    """Whatever the rules say."""
    assert left_of(run, retention=retention, objective=objective)


@given(runs(), retentions(), objectives())
def test_planning_again_removes_nothing_more(run: list[Saved], retention: Retention, objective: Objective) -> None:
    """What is left is left for good until there is a new checkpoint."""
    kept = left_of(run, retention=retention, objective=objective)

    assert plan_removals(kept, retention=retention, objective=objective) == []


@given(runs(), retentions(), objectives(), st.randoms())
def test_a_plan_is_oldest_first_in_whatever_order_checkpoints_are_listed(
    run: list[Saved], retention: Retention, objective: Objective, random: Any
) -> None:
    """A directory may list them in any order."""
    planned = plan_removals(random.sample(run, len(run)), retention=retention, objective=objective)

    assert planned == plan_removals(run, retention=retention, objective=objective)
    assert steps_of(planned) == sorted(steps_of(planned))


@given(runs(), retentions(save_top_k=st.integers(1, 3)), objectives(min_delta=st.just(0.0)))
def test_a_higher_top_k_removes_nothing_that_a_lower_one_keeps(
    run: list[Saved], retention: Retention, objective: Objective
) -> None:
    """One more place costs no other checkpoint its own."""
    more = dataclasses.replace(retention, save_top_k=(retention.save_top_k or 0) + 1)

    removed = plan_removals(run, retention=retention, objective=objective)
    removed_with_more = plan_removals(run, retention=more, objective=objective)

    assert set(steps_of(removed_with_more)) <= set(steps_of(removed))


@given(runs(), retentions(save_top_k=st.integers(1, 4)), objectives())
def test_a_run_that_removes_as_it_goes_ends_with_the_best_of_all(
    run: list[Saved], retention: Retention, objective: Objective
) -> None:
    """The best is the same whether each save was followed by a removal or none was."""
    kept = played(run, retention=retention, objective=objective)

    assert best_of(kept, objective) is best_of(run, objective)


@given(runs(), objectives())
def test_one_best_and_one_newest_never_need_an_earlier_best(run: list[Saved], objective: Objective) -> None:
    """By default a run takes the room of two checkpoints."""
    assert len(played(run, retention=BEST_AND_NEWEST, objective=objective)) <= 2


@given(runs(), st.integers(1, 4), objectives(min_delta=st.just(0.0)))
def test_without_min_delta_the_rules_are_all_that_is_kept(
    run: list[Saved], save_top_k: int, objective: Objective
) -> None:
    """No earlier best is kept besides."""
    kept = played(run, retention=Retention(save_top_k=save_top_k, save_last=1), objective=objective)

    assert len(kept) <= save_top_k + 1


@given(runs(), scores, st.integers(1, 4), objectives())
def test_what_is_worth_saving_is_then_kept(
    run: list[Saved], score: float | None, save_top_k: int, objective: Objective
) -> None:
    """A save under `save_best_only` is never removed right after."""
    *older, new = [*run, Saved(step=99, epoch=99, batch=None, logs={} if score is None else {"val_loss": score})]
    retention = Retention(save_top_k=save_top_k, save_last=0)

    if is_worth_saving(score_of(new, objective), older, retention=retention, objective=objective):
        assert new not in plan_removals([*older, new], retention=retention, objective=objective)


@given(runs(), objectives())
def test_a_run_that_saves_only_the_best_ends_with_the_best(run: list[Saved], objective: Objective) -> None:
    """As `save_best_only` does: one checkpoint, with the score that saving all would have found best."""
    kept: list[Saved] = []
    for info in run:
        if is_worth_saving(score_of(info, objective), kept, retention=BEST_ONLY, objective=objective):
            kept = left_of([*kept, info], retention=BEST_ONLY, objective=objective)

    best = best_of(run, objective)
    assert [info.logs["val_loss"] for info in kept] == [info.logs["val_loss"] for info in [best] if info]
