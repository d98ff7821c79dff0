from __future__ import annotations

import math
import pathlib
import pickle
import shutil
import threading
from typing import Any

import pytest
import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbCheckpoint, list_checkpoints, restore_best, verify_checkpoint
from keras_probckpt.errors import CheckpointWriteError, UnrecordableError, UnsupportedModelError
from tests.integration.tiny import Finish, Scores, epochs_in, fit, fit_scored, names_in, weights_of


class InTheWay(tfk.callbacks.Callback):
    """Puts a file of the user's where the checkpoint of an epoch should go."""

    def __init__(self, path: pathlib.Path, *, epoch: int) -> None:
        super().__init__()
        self._path = path
        self._epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Get in the way."""
        if epoch == self._epoch:
            self._path.write_text("mine")


def test_best_moves_only_after_the_commit(model: tfk.Sequential, run: pathlib.Path) -> None:
    """A save that fails leaves `best` and the best checkpoint as they were, and raises where it happened."""
    callback = ProbCheckpoint(run)
    obstacle = run / "step-0000000006"

    with pytest.raises(CheckpointWriteError) as caught:
        fit_scored(model, [2.0, 1.0], InTheWay(obstacle, epoch=1), callback)

    assert obstacle.name in caught.value.path
    assert callback.best == 2.0
    assert callback.best_model_score == 2.0
    assert callback.best_model_path == str(run / "step-0000000003")
    assert names_in(run) == ["step-0000000003", "step-0000000006"]
    assert obstacle.read_text() == "mine"


def test_after_a_save_that_failed_the_last_checkpoint_restores(model: tfk.Sequential, run: pathlib.Path) -> None:
    """What was committed before is intact."""
    weights = []
    look = tfk.callbacks.LambdaCallback(on_epoch_end=lambda _epoch, _logs: weights.append(weights_of(model)))
    with pytest.raises(CheckpointWriteError):
        fit_scored(model, [2.0, 1.0], InTheWay(run / "step-0000000006", epoch=1), look, ProbCheckpoint(run))

    (info,) = list_checkpoints(run)
    verify_checkpoint(info.path)

    assert weights_of(restore_best(run)) == weights[0]


def test_a_save_that_failed_does_not_block_the_next(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Where ModelCheckpoint takes a score for the best that it never saved, a worse one is saved here."""
    callback = ProbCheckpoint(run, save_best_only=True)
    with pytest.raises(CheckpointWriteError):
        fit_scored(model, [2.0, 0.5], InTheWay(run / "step-0000000006", epoch=1), callback)
    (run / "step-0000000006").unlink()

    fit_scored(model, [1.0], callback)

    assert callback.best == 1.0
    assert [info.logs["val_loss"] for info in list_checkpoints(run)] == [1.0]


def test_a_run_directory_that_cannot_be_made_is_said_before_the_first_batch(
    model: tfk.Sequential, tmp_path: pathlib.Path
) -> None:
    """An hour of training is not lost to a path that is a file."""
    (tmp_path / "runs").write_text("a file")
    batches: list[int] = []
    count = tfk.callbacks.LambdaCallback(on_train_batch_end=lambda batch, _logs: batches.append(batch))

    with pytest.raises(CheckpointWriteError, match="runs/exp1 was not saved"):
        fit(model, count, ProbCheckpoint(tmp_path / "runs" / "exp1"), epochs=1)

    assert batches == []


@pytest.mark.parametrize("is_background", [True, False])
def test_a_function_that_fails_on_commit_is_warned_of_once_and_counted(
    model: tfk.Sequential, run: pathlib.Path, caplog: pytest.LogCaptureFixture, *, is_background: bool
) -> None:
    """A tracker is not a save: the training goes on, what no rule wants goes, the functions after it are called."""
    heard: list[int | None] = []

    def fail(_info: object) -> None:
        raise LookupError("no such table")

    checkpoint = ProbCheckpoint(
        run, on_commit=[fail, lambda info: heard.append(info.epoch)], save_on_background=is_background
    )
    fit_scored(model, [2.0, 3.0, 4.0], checkpoint, Finish(checkpoint))

    assert epochs_in(run) == [1, 3]
    assert heard == [1, 2, 3]
    first, last = caplog.messages
    assert first.startswith("A function of on_commit failed with LookupError: no such table.")
    assert last == "The functions of on_commit failed 3 times in this training."


def test_a_run_directory_that_is_removed_while_training_is_said_to_be_gone(
    model: tfk.Sequential, run: pathlib.Path
) -> None:
    """Nothing is said of checkpoints that are still there, and the next training has a directory again."""
    checkpoint = ProbCheckpoint(run)
    remove = tfk.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _logs: epoch and shutil.rmtree(run))

    with pytest.raises(CheckpointWriteError, match=r"runs/exp1 is gone, and every checkpoint in it\. Somebody"):
        fit_scored(model, [2.0, 3.0], checkpoint, remove, Finish(checkpoint))
    fit_scored(model, [2.0], ProbCheckpoint(run))

    assert epochs_in(run) == [1]


class Secret(tfk.layers.Layer):
    """A layer of which nobody knows how it was made, and that has what cannot be stored."""

    def __init__(self, factors: frozenset[float]) -> None:
        super().__init__()
        self._factor, self._lock = max(factors), threading.Lock()

    def call(self, inputs: Any) -> Any:
        """Scale."""
        return inputs * self._factor


def test_a_model_that_cannot_be_recorded_says_which_part_and_what_to_do(run: pathlib.Path) -> None:
    """The first save fails with the layer's place and the three ways out, and nothing is written."""
    model = tfk.Sequential([tfk.layers.Dense(1, input_shape=(1,)), Secret(frozenset({2.0}))])
    model.compile("sgd", "mse")

    with pytest.raises(UnrecordableError, match=r"arguments of Secret were not recorded.*_lock") as caught:
        fit(model, ProbCheckpoint(run, "loss"), epochs=1)

    assert "ProbModelMixin" in str(caught.value)
    assert "builder=" in str(caught.value)
    assert names_in(run) == []


def test_errors_of_a_training_survive_pickling(model: tfk.Sequential, run: pathlib.Path) -> None:
    """They cross a process boundary with their fields."""
    with pytest.raises(CheckpointWriteError) as caught:
        fit_scored(model, [2.0, 1.0], InTheWay(run / "step-0000000006", epoch=1), ProbCheckpoint(run))

    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - made one line above

    assert str(copy) == str(caught.value)


def test_a_keras_3_model_is_refused_with_the_way_out(run: pathlib.Path) -> None:
    """Plain `tf.keras` gives one since TensorFlow 2.16; its fit hands the callback a model that is not of tf_keras."""
    import keras

    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])

    with pytest.raises(UnsupportedModelError, match="TF_USE_LEGACY_KERAS=1") as caught:
        ProbCheckpoint(run).set_model(model)
    with pytest.raises(UnsupportedModelError):
        CheckpointManager(model, run)

    assert "keras" in caught.value.found
    assert not run.exists()


def test_a_fit_of_a_keras_3_model_is_refused_too(run: pathlib.Path) -> None:
    """The error is the one a user sees, whatever way Keras 3 calls the callback."""
    import keras

    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    with pytest.raises(UnsupportedModelError, match="import tf_keras"):
        fit(model, ProbCheckpoint(run, "loss"), epochs=1)


LINES = {
    "every epoch": (
        {},
        [2.0, 3.0],
        ["Epoch 1: saving model to {run}/step-0000000003", "Epoch 2: saving model to {run}/step-0000000006"],
    ),
    "best only": (
        {"save_best_only": True},
        [2.0, 3.0, 1.0],
        [
            "Epoch 1: val_loss improved from inf to 2.00000, saving model to {run}/step-0000000003",
            "Epoch 2: val_loss did not improve from 2.00000",
            "Epoch 3: val_loss improved from 2.00000 to 1.00000, saving model to {run}/step-0000000009",
        ],
    ),
    "best only and the newest": (
        {"save_best_only": True, "save_last": True},
        [2.0, 3.0, math.nan],
        [
            "Epoch 1: val_loss improved from inf to 2.00000, saving model to {run}/step-0000000003",
            "Epoch 2: saving model to {run}/step-0000000006",
            "Epoch 3: saving model to {run}/step-0000000009",
        ],
    ),
    "best two only": (
        {"save_best_only": True, "save_top_k": 2},
        [2.0, 3.0],
        [
            "Epoch 1: val_loss improved from inf to 2.00000, saving model to {run}/step-0000000003",
            "Epoch 2: saving model to {run}/step-0000000006",
        ],
    ),
}


@pytest.mark.parametrize(("arguments", "scores", "lines"), LINES.values(), ids=LINES.keys())
def test_verbose_says_what_is_done(  # noqa: PLR0913, PLR0917 - a column of the table each
    arguments: dict[str, Any],
    scores: list[float],
    lines: list[str],
    model: tfk.Sequential,
    run: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The lines of ModelCheckpoint, and none that claims an improvement where there was none."""
    fit_scored(model, scores, ProbCheckpoint(run, verbose=1, **arguments))

    printed = [line for line in capsys.readouterr().out.splitlines() if line]
    assert printed == [line.format(run=run) for line in lines]


def test_verbose_goes_on_where_the_monitor_is_missing(
    model: tfk.Sequential, run: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A save without a score is no improvement, and no error of formatting either."""
    callback = ProbCheckpoint(run, "val_nll", save_best_only=True, save_last=True, verbose=1)

    with pytest.warns(UserWarning, match="'val_nll' is not among the metrics"):
        fit(model, Scores(val_loss=[1.0]), callback, epochs=1)

    assert capsys.readouterr().out == f"\nEpoch 1: saving model to {run}/step-0000000003\n"
