from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint
from tests.resume.trainings import Attempt, X, Y, as_if_stopped, attempt, attempts, density_model, plain_model

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "adam_with_ema": lambda: tfk.optimizers.Adam(0.1, use_ema=True, ema_overwrite_frequency=5),
    "nadam": lambda: tfk.optimizers.Nadam(0.1),
    "schedule": lambda: tfk.optimizers.SGD(tfk.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), momentum=0.9),
    "legacy_adam": lambda: tfk.optimizers.legacy.Adam(0.1),
    "legacy_nadam": lambda: tfk.optimizers.legacy.Nadam(0.1),
    "loss_scale": lambda: tfk.mixed_precision.LossScaleOptimizer(
        tfk.optimizers.Adam(0.1), initial_scale=8.0, dynamic_growth_steps=3
    ),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_goes_on_bit_by_bit(kind: str, run: pathlib.Path) -> None:
    """Slots, iterations, averages, loss scale, learning rate or schedule, and a product that Nadam counts in Python."""
    script: dict[str, Any] = {
        "new_model": lambda: density_model(OPTIMIZERS[kind]()),
        "save_freq": 4,
        "fit": {"epochs": 2},
    }
    whole = attempt(run, save_top_k=-1, **script)

    resumed = attempt(as_if_stopped(run, after=8), **script)

    assert len(resumed.seen) == 4
    assert resumed.result == whole.result


class Shrink(tfk.callbacks.Callback):
    """A user's callback with a state that decides what it does: it shrinks the weights each third batch."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Reset, as many callbacks do: what is put back before is lost."""
        self.count = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count."""
        self.count += 1
        if self.count % 3 == 0:
            for variable in self.model.trainable_variables:
                variable.assign(variable * 0.5)

    def get_state(self) -> dict[str, Any]:
        """Give the count."""
        return {"count": self.count}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the count."""
        self.count = state["count"]


class Scores(tfk.callbacks.Callback):
    """Sets the score that others watch: worse after the second epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Write it into the logs."""
        logs["score"] = [3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0][epoch]


def new_callbacks(directory: pathlib.Path) -> list[tfk.callbacks.Callback]:
    """Make one of each kind that knows something."""
    return [
        Scores(),
        Shrink(),
        tfk.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9 if epoch else rate),
        tfk.callbacks.ReduceLROnPlateau("score", patience=2, factor=0.5, min_delta=0),
        tfk.callbacks.EarlyStopping("score", patience=3, restore_best_weights=True),
        tfk.callbacks.CSVLogger(f"{directory}.csv", append=True),
    ]


def known_by(training: Attempt) -> dict[str, Any]:
    """Collect what the callbacks of tf_keras know at the end."""
    _, shrink, _, plateau, stopping, _ = training.callbacks
    return {
        "count": shrink.count,
        "plateau": (plateau.best, plateau.wait, plateau.cooldown_counter),
        "stopping": (stopping.best, stopping.wait, stopping.best_epoch, stopping.stopped_epoch),
        "best_weights": [weight.tobytes() for weight in stopping.best_weights],
        "steps": int(training.model._train_counter),  # What TensorBoard writes beside its values.
    }


@pytest.mark.parametrize(
    ("save_freq", "crashes"),
    [("epoch", [(1, 2), (3, 2)]), (4, [(1, 4), (3, 3)]), (8, [(2, 1), (4, 3)])],
    ids=["epoch", "within", "before the last epoch's end"],
)
def test_every_callback_goes_on_as_if_nothing_had_been(
    save_freq: Any, crashes: list[tuple[int, int]], tmp_path: pathlib.Path
) -> None:
    """Although nearly all reset themselves as a training begins: it ends where it would have, after two crashes."""
    script: dict[str, Any] = {"new_model": plain_model, "save_freq": save_freq, "fit": {"epochs": 7}}
    directories = tmp_path / "whole", tmp_path / "crashed"

    whole, crashed = (
        attempts(directory, crashes=at, new_callbacks=lambda at=directory: new_callbacks(at), **script)
        for directory, at in zip(directories, ([], crashes), strict=True)
    )

    assert crashed.result == whole.result
    assert known_by(crashed) == known_by(whole)
    assert len(whole.history["loss"]) == 5
    rows, expected = (pathlib.Path(f"{directory}.csv").read_text() for directory in reversed(directories))
    assert rows == expected
    assert rows.count("\n") == 6


def test_the_history_of_the_callback_and_of_the_model_are_one(run: pathlib.Path) -> None:
    """`model.history` after a resume is of the whole training, epochs included."""
    whole = attempt(run, new_model=plain_model, save_top_k=-1)

    resumed = attempt(as_if_stopped(run, after=12), new_model=plain_model)

    assert resumed.model.history.epoch == [0, 1, 2]
    assert resumed.model.history.history == whole.history
    assert resumed.checkpoint.best_model_score == min(whole.history["loss"])


def test_a_complete_training_is_not_begun_again(run: pathlib.Path, said: pytest.LogCaptureFixture) -> None:
    """The script run once more trains nothing, and ends with the same model and history."""
    whole = attempt(run, new_model=plain_model)

    again = attempt(run, new_model=plain_model)

    assert again.seen == []
    assert again.result == whole.result
    assert said.messages == [f"Training was complete: 3 of 3 epochs were done ({run / 'step-0000000018'})."]


def test_more_epochs_go_on_from_a_complete_training(run: pathlib.Path, said: pytest.LogCaptureFixture) -> None:
    """As those of a training that had them from the begin."""
    whole = attempt(run.with_name("whole"), new_model=plain_model, fit={"epochs": 4})
    attempt(run, new_model=plain_model)
    said.clear()

    longer = attempt(run, new_model=plain_model, fit={"epochs": 4})

    assert longer.result == whole.result
    assert said.messages[0] == "epochs was 3 before and is 4 now; the new value is taken."


def test_a_save_holds_what_callbacks_behind_it_know(run: pathlib.Path) -> None:
    """The order of the callbacks does not matter: each has seen the epoch that is saved."""

    class Behind(Shrink):
        pass

    class Fails(tfk.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise ZeroDivisionError

    def training(*more: tfk.callbacks.Callback) -> Behind:
        behind = Behind()
        callbacks = [ProbCheckpoint(run, "loss", resume=True, rehearse=False), behind, *more]
        plain_model().fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=callbacks)
        return behind

    with pytest.raises(ZeroDivisionError):
        training(Fails())

    assert training().count == 12
