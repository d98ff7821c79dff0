from __future__ import annotations

import datetime as dt
import logging
import pathlib
from typing import Any

import pytest
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbCheckpoint, ProbModelMixin, list_checkpoints
from tests.integration.tiny import (
    Finish,
    epochs_in,
    fit,
    fit_scored,
    names_in,
    negative_log_likelihood,
    new_model,
    weights_of,
)


def test_an_unknown_keyword_is_a_type_error_that_names_the_closest(run: pathlib.Path) -> None:
    """A typo is rejected where it was typed; it does not silently keep one checkpoint in place of three."""
    with pytest.raises(TypeError, match=r"has no argument 'save_topk'\. Did you mean 'save_top_k'\?"):
        ProbCheckpoint(run, save_topk=3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mode": "mni"}, ValueError, "mode must be 'auto', 'min' or 'max', got 'mni'. Did you mean 'min'"),
        ({"save_freq": "epochs"}, ValueError, "save_freq must be 'epoch' or a whole number"),
        ({"save_freq": 0}, ValueError, "got 0"),
        ({"save_top_k": -2}, ValueError, "save_top_k must be at least -1, got -2"),
        ({"save_top_k": 0, "save_last": False}, ValueError, "would keep no checkpoint at all"),
        ({"save_top_k": 0, "save_best_only": True}, ValueError, "keeps none of the best"),
        ({"min_delta": -0.1}, ValueError, "min_delta must be finite and at least 0, got -0.1"),
        ({"start_from_epoch": 1.5}, TypeError, "start_from_epoch must be a whole number"),
        ({"train_time_interval": 60}, TypeError, "train_time_interval must be a datetime.timedelta"),
        ({"period": 0}, ValueError, "period must be at least 1, got 0"),
        ({"monitor": None}, TypeError, "monitor must be the name of a metric"),
    ],
)
def test_an_argument_without_meaning_is_refused_before_training(
    arguments: dict[str, Any], error: type[Exception], message: str, run: pathlib.Path
) -> None:
    """What cannot work is said by the constructor, and nothing is on disk then."""
    with pytest.raises(error, match=message):
        ProbCheckpoint(run, **arguments)

    assert not run.exists()


def test_a_bad_placeholder_is_a_key_error_that_names_the_known_ones(model: tfk.Sequential, run: pathlib.Path) -> None:
    """The logs there are, and the closest of them, are in the message."""
    callback = ProbCheckpoint(run / "{epoch}-{los}", "loss")

    with pytest.raises(KeyError, match=r"asks for {los}; known are epoch, loss, step\. Did you mean {loss}\?"):
        fit(model, callback, epochs=1)


def test_a_placeholder_before_the_last_part_is_refused(run: pathlib.Path) -> None:
    """A directory called `{epoch}` is nobody's wish: one run has one directory."""
    with pytest.raises(ValueError, match=r"only the last part .* may hold {\.\.\.}"):
        ProbCheckpoint(run / "{epoch:02d}" / "model")


def test_the_placeholder_batch_needs_saves_inside_of_an_epoch(model: tfk.Sequential, run: pathlib.Path) -> None:
    """As in ModelCheckpoint; here the message says what to pass."""
    callback = ProbCheckpoint(run / "{epoch}-{batch}", "loss")

    with pytest.raises(KeyError, match=r"{batch} is known only at saves inside of an epoch: pass save_freq="):
        fit(model, callback, epochs=1)


def test_an_unknown_direction_is_said_once(caplog: pytest.LogCaptureFixture, run: pathlib.Path) -> None:
    """Keras's rule is followed for a name nobody knows, and the user learns which way it went."""
    with caplog.at_level(logging.WARNING, "keras_probckpt"):
        ProbCheckpoint(run, "val_wobble")
        ProbCheckpoint(run, "val_log_prob")
        ProbCheckpoint(run, "val_wobble", mode="max")

    assert caplog.messages == ["Whether more or less val_wobble is better is not known; mode='min' is taken."]


@pytest.mark.parametrize(
    ("monitor", "best"),
    [("val_log_prob", 2), ("val_elbo", 2), ("val_accuracy", 2), ("val_loss", 1), ("val_nll", 1), ("val_crps", 1)],
)
def test_auto_knows_the_direction_of_probabilistic_metrics(
    monitor: str, best: int, model: tfk.Sequential, run: pathlib.Path
) -> None:
    """A log-probability is maximized, where Keras's rule would keep the worst model."""

    class Metric(tfk.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            logs[monitor] = [1.0, 2.0][epoch]

    callback = ProbCheckpoint(run, monitor)
    fit(model, Metric(), callback, epochs=2)

    assert callback.best_model_score == float(best)


def test_load_weights_on_restart_goes_on_from_the_newest(run: pathlib.Path) -> None:
    """ModelCheckpoint's old keyword: a compiled model in a later training starts from the newest weights."""
    trained = new_model()
    fit(trained, ProbCheckpoint(run, "loss"), epochs=2)
    saved = weights_of(trained)
    later, seen = new_model(), []
    look = tfk.callbacks.LambdaCallback(on_train_begin=lambda _logs: seen.append(weights_of(later)))

    fit(later, ProbCheckpoint(run, "loss", load_weights_on_restart=True), look, epochs=1)

    assert seen == [saved]


class Unbuilt(ProbModelMixin, tfk.Model):
    """A model without variables until it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = tfk.layers.Dense(2)
        self.likelihood = tfp.layers.IndependentNormal(1)

    def call(self, inputs: Any) -> Any:
        """Predict a distribution."""
        return self.likelihood(self.dense(inputs))


def test_load_weights_on_restart_works_for_a_model_that_was_not_called_yet(run: pathlib.Path) -> None:
    """Its layers are built as they were when the weights were saved."""
    trained, later, seen = Unbuilt(), Unbuilt(), []
    for model in (trained, later):
        model.compile("sgd", negative_log_likelihood)
    fit(trained, ProbCheckpoint(run, "loss"), epochs=1)
    look = tfk.callbacks.LambdaCallback(on_train_begin=lambda _logs: seen.append(weights_of(later)))

    fit(later, ProbCheckpoint(run, "loss", load_weights_on_restart=True), look, epochs=1)

    assert seen == [weights_of(trained)]


def test_load_weights_on_restart_starts_afresh_where_there_is_nothing(model: tfk.Sequential, run: pathlib.Path) -> None:
    """As in ModelCheckpoint, the first training is none the worse for it."""
    fit(model, ProbCheckpoint(run, "loss", load_weights_on_restart=True), epochs=1)

    assert epochs_in(run) == [1]


def test_save_weights_only_leaves_out_the_state_of_training(model: tfk.Sequential, run: pathlib.Path) -> None:
    """The recipe is there all the same; optimizer and counters are not."""
    fit(model, ProbCheckpoint(run, "loss", save_weights_only=True), epochs=1)
    (info,) = list_checkpoints(run)

    assert info.is_weights_only
    assert sorted(info.files) == ["model.safetensors", "recipe.json", "recipe.safetensors"]


def test_a_full_checkpoint_holds_optimizer_and_counters(model: tfk.Sequential, run: pathlib.Path) -> None:
    """What a training needs to go on."""
    fit(model, ProbCheckpoint(run, "loss"), epochs=1)
    (info,) = list_checkpoints(run)

    assert {"optimizer.safetensors", "training.json"} < set(info.files)
    assert not info.is_weights_only


def test_custom_metadata_is_in_each_manifest(model: tfk.Sequential, run: pathlib.Path) -> None:
    """What the user says of a run is found again by listing it."""
    callback = ProbCheckpoint(run, "loss", custom_metadata={"fold": 3, "notes": ["a", None]}, save_top_k=-1)

    fit(model, callback, epochs=2)

    assert [dict(info.custom_metadata) for info in list_checkpoints(run)] == [{"fold": 3, "notes": ["a", None]}] * 2


def test_on_commit_is_called_with_each_durable_checkpoint(model: tfk.Sequential, run: pathlib.Path) -> None:
    """By the time a function hears of a checkpoint, it is whole on disk."""
    heard = []
    callback = ProbCheckpoint(run, on_commit=[lambda info: heard.append((info.epoch, names_in(info.path)))])

    fit_scored(model, [2.0, 1.0], callback, Finish(callback))

    assert [epoch for epoch, _ in heard] == [1, 2]
    assert all("manifest.json" in files and "model.safetensors" in files for _, files in heard)


def test_train_time_interval_adds_saves_inside_of_an_epoch(model: tfk.Sequential, run: pathlib.Path) -> None:
    """With an interval shorter than any batch, each batch is an occasion besides the epoch's end."""
    callback = ProbCheckpoint(run, "loss", train_time_interval=dt.timedelta(microseconds=1), save_top_k=-1)

    fit(model, callback, epochs=1)

    # The save at the epoch's end is of the same step as that of its last batch, and takes its place.
    assert [(info.step, info.batch) for info in list_checkpoints(run)] == [(1, 1), (2, 2), (3, None)]


def test_a_long_train_time_interval_leaves_the_epochs_alone(model: tfk.Sequential, run: pathlib.Path) -> None:
    """An hour does not pass in two epochs of milliseconds."""
    callback = ProbCheckpoint(run, "loss", train_time_interval=dt.timedelta(hours=1), save_top_k=-1)

    fit(model, callback, epochs=2)

    assert [(info.epoch, info.batch) for info in list_checkpoints(run)] == [(1, None), (2, None)]


def test_logs_that_are_no_numbers_are_left_out(model: tfk.Sequential, run: pathlib.Path) -> None:
    """A text, a vector or None that another callback puts into the logs stops no training."""

    class Notes(tfk.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            logs.update(note="warm", vector=[1.0, 2.0], nothing=None, is_warm=True)

    fit(model, Notes(), ProbCheckpoint(run, "loss"), epochs=1)

    (info,) = list_checkpoints(run)
    assert sorted(info.logs) == ["is_warm", "loss"]
    assert info.logs["is_warm"] == 1.0


@pytest.mark.parametrize("make", [ProbCheckpoint, lambda filepath: CheckpointManager(new_model(), filepath)])
@pytest.mark.parametrize("filepath", ["", " "])
def test_an_empty_path_is_refused_where_it_is_given(make: Any, filepath: str) -> None:
    """As of an unset variable: the working directory is nobody's run."""
    with pytest.raises(ValueError, match="The filepath is empty"):
        make(filepath)
