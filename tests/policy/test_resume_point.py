from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest

from keras_probckpt.policy.resume_point import has_finite_loss, plan_resume_points, require_resumable
from keras_probckpt.policy.schedule import schedule_for
from tests.policy.runs import Saved, steps_of

EACH_EPOCH = schedule_for()
EACH_HOUR = schedule_for(train_time_interval=dt.timedelta(hours=1))


def saved(step: int, **logs: float) -> Saved:
    """Make what was saved at the end of an epoch."""
    return Saved(step=step, epoch=step, batch=None, logs=logs)


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        ({"loss": 0.5}, True),
        ({"val_loss": math.nan}, True),
        ({}, True),
        ({"loss": math.nan}, False),
        ({"loss": -math.inf}, False),
    ],
)
def test_only_the_loss_of_training_tells_whether_it_diverged(logs: dict[str, float], *, expected: bool) -> None:
    """A loop of one's own may log none; then nothing is known against it."""
    assert has_finite_loss(saved(1, **logs)) is expected


def test_training_goes_on_from_the_newest() -> None:
    """And tries the others in turn, newest first."""
    run = [saved(1, loss=0.1), saved(2, loss=0.9), saved(3, loss=0.5)]

    assert steps_of(plan_resume_points(run)) == [3, 2, 1]


def test_a_run_that_diverged_is_taken_up_from_before() -> None:
    """What follows a NaN is NaN: such a checkpoint is taken only where there is no other."""
    run = [saved(1, loss=0.1), saved(2, loss=0.2), saved(3, loss=math.nan), saved(4, loss=math.inf)]

    assert steps_of(plan_resume_points(run)) == [2, 1, 4, 3]


@pytest.mark.parametrize(
    "wish",
    [
        {"resume": False, "reproducible": False, "weights_only": True},
        {"resume": True, "reproducible": True, "weights_only": False},
        {"resume": "runs/exp1", "reproducible": False, "weights_only": False},
    ],
)
def test_wishes_that_go_together_are_let_pass(wish: dict[str, Any]) -> None:
    """Weights alone are enough for who does not resume."""
    assert require_resumable(**wish, schedule=EACH_EPOCH) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"resume": True, "reproducible": False}, "resume=True"),
        ({"resume": "runs/exp1", "reproducible": False}, "resume='runs/exp1'"),
        ({"resume": False, "reproducible": True}, "reproducible=True"),
    ],
)
def test_nothing_can_be_resumed_from_weights_alone(wish: dict[str, Any], named: str) -> None:
    """The error names both wishes, before anything is trained."""
    with pytest.raises(ValueError, match="save_weights_only=True leaves them out") as caught:
        require_resumable(**wish, weights_only=True, schedule=EACH_EPOCH)

    assert str(caught.value).startswith(named)


def test_the_clock_decides_nothing_in_a_reproducible_training() -> None:
    """It would begin new random numbers at another step in each run."""
    with pytest.raises(ValueError, match=r"train_time_interval.*Use save_freq"):
        require_resumable(resume=True, reproducible=True, weights_only=False, schedule=EACH_HOUR)

    assert require_resumable(resume=True, reproducible=False, weights_only=False, schedule=EACH_HOUR) is None  # type: ignore[func-returns-value]
