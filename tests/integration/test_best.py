from __future__ import annotations

import datetime as dt
import math
import pathlib
import shutil
import warnings
from typing import Any

import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint, list_checkpoints, restore_best
from keras_probckpt.errors import MonitorNeverSeenError, MonitorNotFoundError
from tests.integration.tiny import Finish, X, Y, epochs_in, fit, fit_scored, weights_of

NAN, INF = math.nan, math.inf


def test_where_the_best_was_deleted_by_hand_the_next_best_is_saved(model: tfk.Sequential, run: pathlib.Path) -> None:
    """The rules go by what there is: with `save_best_only` nothing was ever saved again, without a word."""
    callback = ProbCheckpoint(run, save_best_only=True)
    delete = tfk.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _logs: epoch == 1 and remove_all(run))

    fit_scored(model, [1.0, 3.0, 4.0], callback, Finish(callback), delete)

    assert epochs_in(run) == [2]
    assert callback.best_model_score == 3.0
    assert callback.best_model_path == str(list_checkpoints(run)[0].path)


def test_where_one_of_the_best_was_deleted_by_hand_no_other_goes_for_it(
    model: tfk.Sequential, run: pathlib.Path
) -> None:
    """`save_top_k` counts what is there."""
    callback = ProbCheckpoint(run, save_top_k=2, save_last=False)
    delete = tfk.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _logs: epoch == 2 and remove_all(run))

    fit_scored(model, [1.0, 2.0, 3.0, 4.0], callback, Finish(callback), delete)

    assert epochs_in(run) == [3, 4]


def remove_all(run: pathlib.Path) -> None:
    """Delete each checkpoint, as a user does by hand."""
    for info in list_checkpoints(run):
        shutil.rmtree(info.path)


@pytest.mark.parametrize(
    ("arguments", "scores", "kept", "best"),
    [
        pytest.param({}, [3.0, 1.0, 2.0], [2, 3], 2, id="the best and the newest"),
        pytest.param({}, [3.0, 2.0, 1.0], [3], 3, id="one that is both"),
        pytest.param({}, [NAN, 2.0, NAN], [2, 3], 2, id="NaN is never best"),
        pytest.param({"mode": "max"}, [INF, 2.0, 1.0], [2, 3], 2, id="nor is infinity"),
        pytest.param({}, [-INF, 2.0, 1.0], [3], 3, id="nor its negative"),
        pytest.param({}, [1.0, 1.0, 2.0], [2, 3], 2, id="of equals the later"),
        pytest.param({"mode": "max"}, [1.0, 3.0, 2.0], [2, 3], 2, id="more is better"),
        pytest.param({"min_delta": 0.5}, [1.0, 0.8, 0.4], [3], 3, id="a gain below min_delta is none"),
        pytest.param({"min_delta": 0.5}, [1.0, 0.8, 0.7], [1, 3], 1, id="two small gains over the best neither"),
        pytest.param({"start_from_epoch": 1}, [0.1, 3.0, 4.0], [2, 3], 2, id="the first epochs do not count"),
        pytest.param({"save_top_k": 2}, [1.0, 3.0, 2.0, 4.0], [1, 3, 4], 1, id="two best and the newest"),
        pytest.param({"save_top_k": 0}, [1.0, 3.0], [2], 2, id="only the newest"),
        pytest.param({"save_top_k": -1}, [1.0, 3.0, 2.0], [1, 2, 3], 1, id="all"),
        pytest.param({"save_last": False}, [1.0, 3.0, 2.0], [1], 1, id="only the best"),
        pytest.param({"save_last": 2}, [1.0, 3.0, 4.0, 5.0], [1, 3, 4], 1, id="two newest"),
        pytest.param({"keep_every_n_epochs": 2}, [1.0, 3.0, 4.0, 5.0, 6.0], [1, 2, 4, 5], 1, id="every second"),
        pytest.param({"save_best_only": True}, [3.0, 1.0, 2.0], [2], 2, id="best only"),
        pytest.param({"save_best_only": True, "save_last": True}, [3.0, 1.0, 2.0], [2, 3], 2, id="and the newest"),
        pytest.param({"save_best_only": True, "save_top_k": 2}, [3.0, 1.0, 2.0, 4.0], [2, 3], 2, id="best two only"),
        pytest.param({"save_best_only": True, "min_delta": 0.5}, [1.0, 0.8, 0.4], [3], 3, id="best only by min_delta"),
        pytest.param(
            {"save_best_only": True, "initial_value_threshold": 1.5}, [2.0, 1.0, 1.2], [2], 2, id="best only below"
        ),
    ],
)
def test_what_is_kept_and_what_is_best(  # noqa: PLR0913, PLR0917 - a column of the table each
    arguments: dict[str, Any],
    scores: list[float],
    kept: list[int],
    best: int,
    model: tfk.Sequential,
    run: pathlib.Path,
) -> None:
    """After each training only what a rule wants is left, and the callback and the directory agree on the best."""
    callback = ProbCheckpoint(run, **arguments)

    fit_scored(model, scores, callback)

    assert epochs_in(run) == kept
    assert callback.best_model_path is not None
    assert [info.epoch for info in list_checkpoints(callback.best_model_path)] == [best]


def test_best_and_its_path_follow_the_training(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Other callbacks and the user read them during and after a fit."""
    callback = ProbCheckpoint(run, "val_loss")
    seen: list[Any] = []
    look = tfk.callbacks.LambdaCallback(
        on_epoch_end=lambda _epoch, _logs: seen.append(
            (callback.best, callback.best_model_score, pathlib.Path(callback.best_model_path or "none").name)
        )
    )

    fit_scored(model, [NAN, 2.0, 3.0, 1.0], callback, Finish(callback), look)

    assert seen == [
        (INF, None, "none"),
        (2.0, 2.0, "step-0000000006"),
        (2.0, 2.0, "step-0000000006"),
        (1.0, 1.0, "step-0000000012"),
    ]
    assert callback.last_model_path == str(run / "step-0000000012")


def test_before_training_there_is_no_best(run: pathlib.Path) -> None:
    """The attributes can be asked at any time."""
    callback = ProbCheckpoint(run, "val_accuracy")

    assert callback.best == -INF
    assert (callback.best_model_path, callback.best_model_score, callback.last_model_path) == (None, None, None)


def test_the_best_is_restored_and_not_the_newest(model: tfk.Sequential, run: pathlib.Path) -> None:
    """The weights that come back are those of the epoch with the best score, to the last bit."""
    weights = []
    look = tfk.callbacks.LambdaCallback(on_epoch_end=lambda _epoch, _logs: weights.append(weights_of(model)))

    fit_scored(model, [3.0, 1.0, 2.0], ProbCheckpoint(run), look)
    best = restore_best(run)

    assert weights_of(best) == weights[1]
    assert weights[1] != weights[2]


def test_an_epoch_without_a_batch_is_not_saved(
    model: tfk.Sequential, run: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Data that end too soon leave it with a loss of 0, which would be the best for good."""
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(2).repeat(2)
    callback = ProbCheckpoint(run, "loss", save_top_k=-1)

    training = model.fit(data, epochs=3, steps_per_epoch=3, verbose=0, callbacks=[callback])

    assert training.history["loss"][2] == 0.0
    assert epochs_in(run) == [1, 2]
    assert callback.best_model_score == min(training.history["loss"][:2])
    assert "Epoch 3 had no batch, for the data were at their end: it is not saved." in caplog.messages


def test_an_epoch_of_one_batch_is_saved(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Also one that a callback ends after it."""
    stop = tfk.callbacks.LambdaCallback(on_train_batch_end=lambda *_: setattr(model, "stop_training", True))

    fit(model, stop, ProbCheckpoint(run, "loss"), epochs=3)

    assert [(info.epoch, info.step) for info in list_checkpoints(run)] == [(1, 1)]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"save_freq": 1000}, "save_freq=1000 batches"),
        ({"period": 7}, "period=7 epochs"),
        (
            {"save_freq": 50, "train_time_interval": dt.timedelta(hours=2)},
            "save_freq=50 batches, or train_time_interval of 7200 seconds",
        ),
    ],
)
def test_a_training_in_which_nothing_was_due_says_so(
    arguments: dict[str, Any], rule: str, model: tfk.Sequential, run: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """DCGAN-tensorflow#338: a whole training with a checkpoint every 200 epochs leaves an empty directory."""
    fit(model, ProbCheckpoint(run, "loss", **arguments), epochs=2)

    (said,) = [record.getMessage() for record in caplog.records if "No checkpoint" in record.getMessage()]
    assert said == (
        f"No checkpoint was saved in {run}: the training ended after 6 batches, before the first moment to save, "
        f"which is {rule}. Save more often, for example with save_freq='epoch'."
    )


def test_a_missing_monitor_is_said_once_with_the_closest_name(model: tfk.Sequential, run: pathlib.Path) -> None:
    """The checkpoint is saved all the same, without a rank, and one warning names what there is."""
    callback = ProbCheckpoint(run, "val_los")

    with pytest.warns(UserWarning, match="The monitor 'val_los'") as caught:
        fit_scored(model, [3.0, 1.0, 2.0], callback)

    (said,) = [str(item.message) for item in caught]
    assert said == (
        "The monitor 'val_los' is not among the metrics, so the checkpoint is saved without a rank. "
        "There are: loss, val_loss. Did you mean 'val_loss'?"
    )
    assert epochs_in(run) == [3]
    assert callback.best_model_path is None


def test_a_restore_without_a_usable_monitor_names_those_that_could_be_used(
    model: tfk.Sequential, run: pathlib.Path
) -> None:
    """The checkpoints of a training whose monitor was mistyped are not lost."""
    with pytest.warns(UserWarning, match="val_los"):
        fit_scored(model, [3.0, 1.0, 2.0], ProbCheckpoint(run, "val_los", save_top_k=-1))

    with pytest.raises(MonitorNotFoundError) as caught:
        restore_best(run)

    assert caught.value.available == ("loss", "val_loss")
    assert caught.value.closest == "val_loss"
    restore_best(run, monitor="val_loss")


def test_best_only_with_a_monitor_that_never_comes_is_an_error_at_the_end(
    model: tfk.Sequential, run: pathlib.Path
) -> None:
    """A training that saved nothing does not end as if all were well."""
    callback = ProbCheckpoint(run, "val_los", save_best_only=True)

    with (
        pytest.warns(UserWarning, match="is not saved while it is missing"),
        pytest.raises(MonitorNeverSeenError, match="Did you mean 'val_loss'") as caught,
    ):
        fit_scored(model, [3.0, 1.0], callback)

    assert caught.value.seen == ("loss", "val_loss")
    assert list(run.iterdir()) == [run / ".lock"]


def test_best_only_with_a_monitor_that_comes_late_is_no_error(model: tfk.Sequential, run: pathlib.Path) -> None:
    """`validation_freq=3` brings the monitor in the third epoch, and that is saved."""
    callback = ProbCheckpoint(run, save_best_only=True)

    with pytest.warns(UserWarning, match="'val_loss' is not among the metrics"):
        fit(model, callback, epochs=4, validation_data=(X, Y), validation_freq=3)

    assert epochs_in(run) == [3]


def test_best_only_warns_when_the_monitor_was_never_finite(model: tfk.Sequential, run: pathlib.Path) -> None:
    """A model that diverged at once leaves nothing behind, and that is said."""
    callback = ProbCheckpoint(run, save_best_only=True)

    with pytest.warns(UserWarning, match="no value of val_loss was finite, better than inf and past"):
        fit_scored(model, [NAN, INF], callback)

    assert callback.best == INF


@pytest.mark.parametrize(
    ("restored", "epoch"),
    [({}, 2), ({"mode": "max"}, 1), ({"monitor": "loss", "mode": "max"}, None), ({"monitor": "acc"}, 3)],
)
def test_a_restore_may_rank_by_another_monitor(
    restored: dict[str, Any], epoch: int | None, model: tfk.Sequential, run: pathlib.Path
) -> None:
    """What is best is asked anew at each restore; the recorded objective is only the default."""
    weights = []

    class Metric(tfk.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            logs["acc"] = [0.1, 0.2, 0.3][epoch]
            weights.append((logs["loss"], weights_of(model)))

    fit_scored(model, [3.0, 1.0, 2.0], Metric(), ProbCheckpoint(run, save_top_k=-1))
    best = restore_best(run, **restored)

    expected = max(weights)[1] if epoch is None else weights[epoch - 1][1]
    assert weights_of(best) == expected


def test_nothing_is_said_of_a_training_in_which_all_is_well(model: tfk.Sequential, run: pathlib.Path) -> None:
    """No warning that a user would learn to pass over."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_scored(model, [3.0, 1.0], ProbCheckpoint(run))

    assert epochs_in(run) == [2]
