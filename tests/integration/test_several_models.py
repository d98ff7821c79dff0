from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint, list_checkpoints
from tests.integration.tiny import fit_scored, new_model, weights_of

# The best of all is the second epoch of the first model.
SCORES = [[3.0, 1.0, 2.0], [6.0, 4.0, 5.0], [9.0, 8.0, 7.0]]


def trained_one_after_another(checkpoint: ProbCheckpoint, units: list[int]) -> list[tuple[list[bytes], list[Any]]]:
    """Train a model for each list of scores with one callback: the weights it ends with, and those of each epoch."""
    ends = []
    for scores, number in zip(SCORES, units, strict=True):
        tfk.utils.set_random_seed(1)
        model, kept = new_model(number), []
        look = tfk.callbacks.LambdaCallback(
            on_epoch_end=lambda _epoch, _logs, model=model, kept=kept: kept.append(weights_of(model))
        )
        fit_scored(model, scores, look, checkpoint)
        ends.append((weights_of(model), kept))
    return ends


@pytest.mark.parametrize("best_only", [True, False])
@pytest.mark.parametrize("units", [[2, 2, 2], [2, 3, 4]], ids=["folds", "sizes"])
def test_each_model_of_one_callback_ends_with_its_own_best_weights(
    units: list[int], run: pathlib.Path, *, best_only: bool
) -> None:
    """keras#3000: a cross-validation uses one callback for all folds, and the best of all is another fold's."""
    checkpoint = ProbCheckpoint(run, restore_best_weights=True, save_best_only=best_only)

    ends = trained_one_after_another(checkpoint, units)

    assert [kept.index(weights) for weights, kept in ends] == [1, 1, 2]
    assert checkpoint.best == 1.0
    assert list_checkpoints(run)[0].logs["val_loss"] == 1.0


def test_a_model_without_a_score_is_left_as_it_is(run: pathlib.Path) -> None:
    """It has no best; that of the model before is not its."""
    checkpoint = ProbCheckpoint(run, restore_best_weights=True)
    fit_scored(new_model(), [3.0, 1.0], checkpoint)
    model, kept = new_model(), []
    look = tfk.callbacks.LambdaCallback(on_epoch_end=lambda *_: kept.append(weights_of(model)))

    fit_scored(model, [np.nan, np.nan], look, checkpoint)

    assert weights_of(model) == kept[1]


def test_a_model_trained_twice_has_the_best_of_both_trainings(run: pathlib.Path) -> None:
    """It is one model, as in a loop of fits."""
    checkpoint, model, kept = ProbCheckpoint(run, restore_best_weights=True), new_model(), []
    look = tfk.callbacks.LambdaCallback(on_epoch_end=lambda *_: kept.append(weights_of(model)))

    fit_scored(model, [3.0, 1.0], look, checkpoint)
    fit_scored(model, [3.0, 2.0], look, checkpoint)

    assert weights_of(model) == kept[1]


def test_a_model_that_was_over_before_a_crash_does_not_get_the_weights_of_the_next(
    run: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A script of two folds, stopped in the second: run again, the first fold's model is not the second's."""

    class Stop(tfk.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise ZeroDivisionError

    def script(*more: tfk.callbacks.Callback) -> tuple[list[bytes], list[bytes], Any]:
        checkpoint = ProbCheckpoint(run, resume=True, rehearse=False)
        first, second = new_model(), new_model()
        begun = weights_of(first)
        fit_scored(first, [3.0, 1.0], checkpoint)
        history = fit_scored(second, [3.0, 2.0, 1.0], checkpoint, *more)
        return begun, weights_of(first), history.epoch

    with pytest.raises(ZeroDivisionError):
        script(Stop())

    begun, first, epochs = script()

    assert first == begun
    assert epochs == [0, 1, 2]
    assert (
        "Fit 1 of this callback was over before, and fit 2 is to go on with another model: of this one no weights are "
        "there, and it stays as it is."
    ) in caplog.messages
