from __future__ import annotations

from typing import Any

import pytest

from keras_probckpt.policy.retention import Retention
from keras_probckpt.policy.selection import Candidate, Selection, selection_for
from tests.policy.runs import LEAST_LOSS, as_infos, steps_of


def candidate_of(val_loss: float | None, *, epoch: int = 9, batch: int | None = None) -> Candidate:
    """Make a checkpoint that might be saved."""
    return Candidate(step=90, epoch=epoch, batch=batch, logs={} if val_loss is None else {"val_loss": val_loss})


def test_by_default_everything_is_saved_and_the_best_and_newest_stay() -> None:
    """A worse or missing score is no reason not to save."""
    selection = selection_for(objective=LEAST_LOSS)
    run = as_infos({1: 0.9, 2: 0.5, 3: 0.7, 4: 0.8})

    assert selection == Selection(objective=LEAST_LOSS, retention=Retention(save_top_k=1, save_last=1))
    assert selection.wants(candidate_of(2.0), run)
    assert selection.wants(candidate_of(None), run)
    assert selection.best(run) is run[1]
    assert steps_of(selection.removals(run)) == [1, 3]


def test_without_save_best_only_even_what_will_go_at_once_is_saved() -> None:
    """When to save is the user's wish; only `save_best_only` makes it depend on the score."""
    selection = selection_for(objective=LEAST_LOSS, save_last=False)

    assert selection.wants(candidate_of(2.0), as_infos({1: 0.5}))


def test_where_nothing_is_monitored_none_is_best() -> None:
    """Everything is saved and the newest stays."""
    selection = selection_for(objective=None)
    run = as_infos({1: 0.9, 2: 0.5})

    assert selection.wants(candidate_of(2.0), run)
    assert selection.best(run) is None
    assert steps_of(selection.removals(run)) == [1]


@pytest.mark.parametrize(("val_loss", "is_wanted"), [(0.4, True), (0.5, False), (0.6, False), (None, False)])
def test_with_save_best_only_only_an_improvement_is_saved(val_loss: float | None, *, is_wanted: bool) -> None:
    """An equal score is none."""
    selection = selection_for(objective=LEAST_LOSS, save_best_only=True)

    assert selection.wants(candidate_of(val_loss), as_infos({1: 0.9, 2: 0.5})) is is_wanted


def test_with_save_best_only_the_threshold_holds_for_the_first_best() -> None:
    """It stands in for a best that was seen before."""
    selection = selection_for(objective=LEAST_LOSS, save_best_only=True, threshold=0.3)

    assert not selection.wants(candidate_of(0.4), [])
    assert selection.wants(candidate_of(0.2), [])


@pytest.mark.parametrize(
    ("rules", "candidate", "is_wanted"),
    [
        ({"save_last": True}, candidate_of(2.0), True),
        ({"keep_every_n_epochs": 3}, candidate_of(None, epoch=9), True),
        ({"keep_every_n_epochs": 3}, candidate_of(2.0, epoch=8), False),
        ({"keep_every_n_epochs": 3}, candidate_of(2.0, epoch=9, batch=4), False),
    ],
)
def test_with_save_best_only_what_another_rule_keeps_is_saved_too(
    rules: dict[str, Any], candidate: Candidate, *, is_wanted: bool
) -> None:
    """A rule about checkpoints that are never saved would be an empty promise."""
    selection = selection_for(objective=LEAST_LOSS, save_best_only=True, **rules)

    assert selection.wants(candidate, as_infos({1: 0.5})) is is_wanted


def test_save_best_only_without_a_monitor_is_rejected() -> None:
    """There is no best to save."""
    with pytest.raises(ValueError, match="save_best_only=True needs a monitor, got monitor=None"):
        selection_for(objective=None, save_best_only=True)


def test_the_rules_are_checked_and_a_template_keeps_all() -> None:
    """As `retention_for` has it."""
    kept = selection_for(objective=LEAST_LOSS, names_each_checkpoint=True)

    assert kept.removals(as_infos({1: 0.9, 2: 0.5, 3: 0.7})) == []
    with pytest.raises(ValueError, match="save_top_k must be at least -1, got -2"):
        selection_for(objective=LEAST_LOSS, save_top_k=-2)


def test_a_monitor_among_the_metrics_is_no_problem() -> None:
    """Nor is one that nobody asked for."""
    assert selection_for(objective=LEAST_LOSS).problem_with({"val_loss": 1.0}) == ""
    assert selection_for(objective=None).problem_with({}) == ""


def test_a_missing_monitor_is_named_with_what_there_is_and_what_is_closest() -> None:
    """The typo is seen where it was made, and what it costs is said."""
    logs = {"loss": 1.0, "val_los": 2.0}

    assert selection_for(objective=LEAST_LOSS).problem_with(logs) == (
        "The monitor 'val_loss' is not among the metrics, so the checkpoint is saved without a rank. There are: loss, "
        "val_los. Did you mean 'val_los'?"
    )
    assert selection_for(objective=LEAST_LOSS, save_best_only=True).problem_with({}) == (
        "The monitor 'val_loss' is not among the metrics, so the checkpoint is not saved while it is missing. "
        "There are: none."
    )
