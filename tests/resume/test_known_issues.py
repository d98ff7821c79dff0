from __future__ import annotations

import pathlib
from typing import Any

import pytest
import tf_keras as tfk

from keras_probckpt import list_checkpoints
from tests.resume.trainings import X, arrays, as_if_stopped, attempt, attempts, plain_model


class Scores(tfk.callbacks.Callback):
    """Sets a score for each epoch: the best comes before the crash."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Write it into the logs."""
        logs["val_loss"] = [2.0, 1.0, 3.0, 1.5][epoch]


@pytest.mark.parametrize("best_only", [True, False])
def test_after_a_restart_a_worse_epoch_does_not_overwrite_the_best(run: pathlib.Path, *, best_only: bool) -> None:
    """tf-keras#430: ModelCheckpoint forgets its best score when the script is run again, and saves over the best."""
    resumed = attempts(
        run,
        crashes=[(2, 1)],
        new_model=plain_model,
        new_callbacks=lambda: [Scores()],
        monitor="val_loss",
        save_best_only=best_only,
        fit={"epochs": 4},
    )

    assert resumed.checkpoint.best == 1.0
    assert resumed.checkpoint.best_model_path == str(run / "step-0000000012")
    assert [info.step for info in list_checkpoints(run)] == ([12] if best_only else [12, 24])


def test_the_patience_of_a_callback_is_not_begun_again(run: pathlib.Path) -> None:
    """keras#11420: EarlyStopping and ReduceLROnPlateau know nothing of the epochs before a restart."""

    def new_callbacks() -> list[tfk.callbacks.Callback]:
        return [
            Scores(),
            tfk.callbacks.EarlyStopping("val_loss", patience=2, baseline=1.2),
            tfk.callbacks.ReduceLROnPlateau("val_loss", patience=2, factor=0.5),
        ]

    resumed = attempts(run, crashes=[(3, 1)], new_model=plain_model, new_callbacks=new_callbacks, fit={"epochs": 4})

    _, stopping, plateau = resumed.callbacks
    assert (stopping.best, stopping.wait, stopping.stopped_epoch) == (1.0, 2, 3)
    assert (plateau.best, plateau.wait) == (1.0, 0)
    assert float(resumed.model.optimizer.learning_rate) == pytest.approx(0.05)


def test_an_epoch_that_was_cut_is_finished_and_not_begun_again(run: pathlib.Path) -> None:
    """lightning#19764: a training resumed within an epoch sees batches twice or never, and logs half of the epoch."""
    script: dict[str, Any] = {
        "new_model": plain_model,
        "new_data": lambda: arrays(shuffle=True),
        "save_freq": 4,
        "fit": {"epochs": 2},
    }
    whole = attempt(run, save_top_k=-1, **script)

    resumed = attempt(as_if_stopped(run, after=4), **script)

    epoch = [row for batch in (*whole.seen[:4], *resumed.seen[:2]) for row in batch]
    assert sorted(epoch) == X[:, 0].tolist()
    assert resumed.history == whole.history
    assert resumed.model.history.epoch == [0, 1]
