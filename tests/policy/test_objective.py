from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.policy.objective import (
    best_of,
    in_order,
    is_improvement,
    objective_for,
    rank,
    record_bests,
    score_of,
)
from keras_probckpt.records import Objective
from tests.policy.runs import LEAST_LOSS, MOST_LOG_PROB, Saved, as_infos, objectives, runs, steps_of


def test_auto_tells_the_direction_from_the_name() -> None:
    """Keras would minimize this and keep the worst model."""
    assert objective_for("val_log_prob") == Objective(
        monitor="val_log_prob", mode="max", min_delta=0.0, start_from_epoch=0
    )


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_mode_that_is_given_is_taken(mode: Any) -> None:
    """What the user says outweighs what the name suggests."""
    assert objective_for("val_loss", mode=mode).mode == mode
    assert objective_for("val_accuracy", mode=mode).mode == mode


def test_an_objective_carries_the_other_wishes() -> None:
    """Numbers of NumPy become plain ones, so that they can be written down."""
    objective = objective_for("loss", min_delta=np.float32(0.5), start_from_epoch=np.int64(3))  # type: ignore[arg-type]

    assert objective == Objective(monitor="loss", mode="min", min_delta=0.5, start_from_epoch=3)
    assert type(objective.min_delta) is float
    assert type(objective.start_from_epoch) is int


@pytest.mark.parametrize(
    ("mode", "hint"),
    [("mni", "Did you mean 'min'?"), ("maximum", "Did you mean 'max'?"), ("Auto", "Did you mean 'auto'?")],
)
def test_a_mistyped_mode_is_rejected_with_the_one_meant(mode: Any, hint: str) -> None:
    """ModelCheckpoint would go on with "auto"."""
    with pytest.raises(ValueError, match="mode must be 'auto', 'min' or 'max', got") as caught:
        objective_for("loss", mode=mode)

    assert repr(mode) in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize("mode", ["upward", "", None, 1])
def test_a_mode_like_none_of_the_three_is_rejected_without_a_hint(mode: Any) -> None:
    """A hint is given only where one is likely."""
    with pytest.raises(ValueError, match=r"got .*\. Nothing was saved") as caught:
        objective_for("loss", mode=mode)

    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("min_delta", [-0.1, math.nan, math.inf, -math.inf])
def test_a_min_delta_that_is_no_size_is_rejected(min_delta: float) -> None:
    """EarlyStopping takes the absolute value of a negative one; that is a guess."""
    with pytest.raises(ValueError, match=f"min_delta must be finite and at least 0, got {min_delta}"):
        objective_for("loss", min_delta=min_delta)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"monitor": None}, "monitor must be the name of a metric, such as 'val_loss', got None"),
        ({"min_delta": "0.1"}, r"min_delta must be a number, got '0.1' \(str\)"),
        ({"min_delta": True}, r"min_delta must be a number, got True \(bool\)"),
        ({"start_from_epoch": 1.5}, r"start_from_epoch must be a whole number of at least 0, got 1.5 \(float\)"),
        ({"start_from_epoch": True}, r"start_from_epoch must be a whole number of at least 0, got True \(bool\)"),
    ],
)
def test_an_argument_of_another_kind_is_rejected(arguments: dict[str, Any], message: str) -> None:
    """The error names the argument, the value and its type."""
    with pytest.raises(TypeError, match=message):
        objective_for(**{"monitor": "loss", **arguments})


def test_a_negative_start_is_rejected() -> None:
    """The error names the value."""
    with pytest.raises(ValueError, match="start_from_epoch must be at least 0, got -1"):
        objective_for("loss", start_from_epoch=-1)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, None])
def test_a_score_that_is_missing_or_not_finite_does_not_compete(score: float | None) -> None:
    """ModelCheckpoint would take an infinity for the best there can be."""
    (info,) = as_infos({1: score})

    assert score_of(info, LEAST_LOSS) is None


@pytest.mark.parametrize(("epoch", "score"), [(1, None), (2, None), (3, 0.5), (None, 0.5)])
def test_the_first_epochs_do_not_compete(epoch: int | None, score: float | None) -> None:
    """Epochs count from 1, so the first two of them are 1 and 2; outside of `fit` there are none."""
    info = Saved(step=10, epoch=epoch, batch=None, logs={"val_loss": 0.5})

    assert score_of(info, dataclasses.replace(LEAST_LOSS, start_from_epoch=2)) == score


@pytest.mark.parametrize(
    ("mode", "min_delta", "score", "best", "improves"),
    [
        ("min", 0.0, 0.5, None, True),
        ("min", 0.0, 0.4, 0.5, True),
        ("min", 0.0, 0.5, 0.5, False),
        ("min", 0.0, 0.6, 0.5, False),
        ("min", 0.25, 0.5, 1.0, True),
        ("min", 0.25, 0.75, 1.0, False),
        ("min", 0.25, 1.5, None, True),
        ("max", 0.0, 0.6, 0.5, True),
        ("max", 0.0, 0.5, 0.5, False),
        ("max", 0.0, 0.4, 0.5, False),
        ("max", 0.25, 1.5, 1.0, True),
        ("max", 0.25, 1.25, 1.0, False),
    ],
)
def test_an_improvement_is_better_by_more_than_min_delta(
    mode: Any, min_delta: float, score: float, best: float | None, *, improves: bool
) -> None:
    """As in EarlyStopping: an equal score, or a change of exactly min_delta, is none."""
    objective = Objective(monitor="val_loss", mode=mode, min_delta=min_delta)

    assert is_improvement(score, best=best, objective=objective) is improves


def test_the_best_is_the_least_or_the_most() -> None:
    """The same run has another best in the other direction."""
    run = as_infos({10: 0.9, 20: 0.7, 30: 0.8})

    least, most = best_of(run, LEAST_LOSS), best_of(run, MOST_LOG_PROB)

    assert least is run[1]
    assert most is run[0]


def test_a_run_that_diverges_keeps_the_best_from_before() -> None:
    """Neither a NaN nor an infinity is "best"."""
    run = as_infos({1: 0.9, 2: 0.7, 3: math.nan, 4: -math.inf})

    assert best_of(run, LEAST_LOSS) is run[1]


def test_of_equals_the_later_is_best() -> None:
    """More training at the same score is worth having."""
    run = as_infos({1: 0.7, 2: 0.9, 3: 0.7, 4: 0.8})

    assert best_of(run, LEAST_LOSS) is run[2]


def test_with_min_delta_a_small_gain_does_not_replace_the_best() -> None:
    """Each is held against the best before it, not against the one before it."""
    run = as_infos({1: 1.0, 2: 0.875, 3: 0.75, 4: 0.625, 5: 0.5})
    objective = dataclasses.replace(LEAST_LOSS, min_delta=0.25)

    assert steps_of(record_bests(run, objective)) == [1, 4]
    assert best_of(run, objective) is run[3]


def test_with_min_delta_of_equals_the_earlier_is_best() -> None:
    """An equal score is no gain of min_delta."""
    run = as_infos({1: 0.7, 2: 0.7})

    assert best_of(run, dataclasses.replace(LEAST_LOSS, min_delta=0.1)) is run[0]


@pytest.mark.parametrize("scores", [{}, {1: None, 2: math.nan}])
def test_without_any_score_none_is_best(scores: dict[int, float | None]) -> None:
    """There is nothing to choose from."""
    assert best_of(as_infos(scores), LEAST_LOSS) is None
    assert rank(as_infos(scores), LEAST_LOSS) == []


def test_the_rank_goes_by_score_and_leaves_out_what_has_none() -> None:
    """Of equals the later is first."""
    run = as_infos({1: 0.9, 2: 0.7, 3: math.nan, 4: 0.8, 5: 0.9, 6: None})

    assert steps_of(rank(run, LEAST_LOSS)) == [2, 4, 5, 1]
    assert steps_of(rank(run, MOST_LOG_PROB)) == [5, 1, 4, 2]


def test_the_first_place_is_the_best_even_where_a_small_gain_scores_better() -> None:
    """With min_delta the best may have a worse score than the second."""
    run = as_infos({1: 0.75, 2: 1.0, 3: 0.625})

    assert steps_of(rank(run, dataclasses.replace(LEAST_LOSS, min_delta=0.25))) == [1, 3, 2]


def test_at_one_step_an_epochs_end_comes_after_its_last_batch() -> None:
    """The steps are equal: no update lies between."""
    end = Saved(step=8, epoch=1, batch=None, logs={})
    inside = Saved(step=8, epoch=1, batch=8, logs={})
    outside = Saved(step=4, epoch=None, batch=None, logs={})

    assert in_order([end, inside, outside]) == [outside, inside, end]


@given(runs(), objectives())
def test_the_best_has_a_finite_score(run: list[Saved], objective: Objective) -> None:
    """NaN is never best, and there is a best as soon as there is a score."""
    best = best_of(run, objective)

    if best is None:
        assert all(score_of(info, objective) is None for info in run)
    else:
        assert math.isfinite(best.logs["val_loss"])


@given(runs(), objectives(), st.randoms())
def test_the_order_in_which_checkpoints_are_listed_does_not_matter(
    run: list[Saved], objective: Objective, random: Any
) -> None:
    """A directory may list them in any order."""
    shuffled = random.sample(run, len(run))

    assert best_of(shuffled, objective) is best_of(run, objective)
    assert steps_of(rank(shuffled, objective)) == steps_of(rank(run, objective))


@given(runs(), objectives(min_delta=st.just(0.0)))
def test_without_min_delta_no_score_is_better_than_the_best(run: list[Saved], objective: Objective) -> None:
    """Without min_delta the best is the best by score, and of equals the last."""
    best = best_of(run, objective)
    scored = [info for info in run if score_of(info, objective) is not None]

    for info in scored:
        assert best is not None
        assert not is_improvement(info.logs["val_loss"], best=best.logs["val_loss"], objective=objective)
        assert info.logs["val_loss"] != best.logs["val_loss"] or info.step <= best.step


@given(runs(), objectives())
def test_the_best_is_what_a_run_tells_save_by_save(run: list[Saved], objective: Objective) -> None:
    """Reading all checkpoints afterwards finds the score that the run itself had for its best."""
    best = None
    for info in run:
        score = score_of(info, objective)
        if score is not None and is_improvement(score, best=best, objective=objective):
            best = score

    found = best_of(run, objective)

    assert (found and found.logs["val_loss"]) == best


@given(runs(), objectives())
def test_a_rank_holds_each_scored_checkpoint_once(run: list[Saved], objective: Objective) -> None:
    """The first is the best, and the others never get better."""
    ranked = rank(run, objective)
    others = [info.logs["val_loss"] for info in ranked[1:]]

    assert sorted(steps_of(ranked)) == [info.step for info in run if score_of(info, objective) is not None]
    assert ranked[:1] == [best for best in [best_of(run, objective)] if best]
    assert others == sorted(others, reverse=objective.mode == "max")
