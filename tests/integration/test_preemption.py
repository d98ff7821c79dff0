"""A training that is told to stop: it saves, everything is left in order, and the process does as the signal asks."""

from __future__ import annotations

import json
import pathlib
import signal
import threading
from typing import Any

import numpy as np
import pytest
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint, list_checkpoints
from tests.conftest import FreshPython
from tests.integration import preempted_fit
from tests.integration.tiny import BATCHES, X, Y, epochs_in, fit, fit_scored, new_model, weights_of


class Fail(tfk.callbacks.Callback):
    """Raises an error at a batch of the second epoch, as a train step may."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error, self._epoch = error, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Know the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Raise."""
        if self._epoch == 1 and batch == 1:
            raise self._error


def trained(fresh_python: FreshPython, run: pathlib.Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Train in a new process, which must end with this exit code; give what it said, if it came to that."""
    ended = fresh_python(preempted_fit.__file__, str(run), *arguments, succeeds=code == 0)
    assert ended.returncode == code, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[0]) if lines else {}


def test_a_process_that_is_terminated_saves_first_and_is_resumed_where_it_was(
    fresh_python: FreshPython, run: pathlib.Path
) -> None:
    """In the midst of an epoch and in a validation; it dies of the signal, and not a batch is trained twice."""
    trained(fresh_python, run, "SIGTERM", "batch-1", code=-signal.SIGTERM)
    in_epoch = [(info.epoch, info.batch) for info in list_checkpoints(run)]
    trained(fresh_python, run, "SIGTERM", "validation-1", code=-signal.SIGTERM)
    in_validation = [(info.epoch, info.batch) for info in list_checkpoints(run)]
    said = trained(fresh_python, run, "SIGTERM", "never")

    assert in_epoch == [(1, None), (2, 2)]
    assert in_validation == [(1, None), (2, 2), (2, 3)]
    assert [(info.step, info.epoch) for info in list_checkpoints(run)] == [(9, 3)]
    assert said["handlers are back"]
    assert len(said["history"]["loss"]) == len(said["history"]["val_loss"]) == 3
    assert said["history"]["loss"][1] > 0.0


@pytest.mark.parametrize("name", preempted_fit.SIGNALS)
def test_a_handler_that_lets_the_process_live_lets_it_train_on(
    name: str, model: tfk.Sequential, run: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called once the checkpoint is there, and is the handler again afterwards."""
    found: list[list[int | None]] = []
    number = signal.Signals[name]
    before = signal.signal(number, lambda *_: found.append(epochs_in(run)))
    try:
        checkpoint = ProbCheckpoint(run, save_before_preemption=True, monitor="loss", save_top_k=-1)
        fit(model, preempted_fit.Send(name, "batch-1"), checkpoint, epochs=3)
        handler = signal.getsignal(number)
    finally:
        signal.signal(number, before)

    assert found == [[1, 2]]
    assert callable(handler)
    assert handler.__qualname__.startswith("test_a_handler")
    assert [(info.epoch, info.batch) for info in list_checkpoints(run)] == [(1, None), (2, 2), (2, None), (3, None)]


def test_ctrl_c_ends_the_training_after_the_batch(model: tfk.Sequential, run: pathlib.Path) -> None:
    """With the KeyboardInterrupt it would have been, once the batch is saved."""
    checkpoint = ProbCheckpoint(run, save_before_preemption=True, monitor="loss")

    with pytest.raises(KeyboardInterrupt):
        fit(model, preempted_fit.Send("SIGINT", "batch-1"), checkpoint, epochs=3)

    assert [(info.epoch, info.batch) for info in list_checkpoints(run)] == [(1, None), (2, 2)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (run / ".lock").read_bytes() == b""


def test_a_second_ctrl_c_does_not_wait(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Who presses it twice wants to be out."""
    checkpoint = ProbCheckpoint(run, save_before_preemption=True, monitor="loss")
    presses = [preempted_fit.Send("SIGINT", "batch-1") for _ in range(2)]

    with pytest.raises(KeyboardInterrupt):
        fit(model, *presses, checkpoint, epochs=3)

    assert epochs_in(run) == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_the_process_ignores_is_ignored(model: tfk.Sequential, run: pathlib.Path) -> None:
    """As where `nohup` started it."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        checkpoint = ProbCheckpoint(run, save_before_preemption=True, monitor="loss", save_top_k=-1)
        fit(model, preempted_fit.Send("SIGUSR1", "batch-1"), checkpoint, epochs=2)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert [info.batch for info in list_checkpoints(run)] == [None, None]


def test_signals_are_left_alone_without_the_wish(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Handlers are the whole process's."""
    before = [signal.getsignal(signal.Signals[name]) for name in preempted_fit.SIGNALS]
    found: list[Any] = []
    look = tfk.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: found.extend(signal.getsignal(signal.Signals[name]) for name in preempted_fit.SIGNALS)
    )

    fit(model, ProbCheckpoint(run, monitor="loss"), look)

    assert found == before


def test_a_training_in_another_thread_is_told_that_no_signal_arrives_there(
    model: tfk.Sequential, run: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Python hands signals to the main thread only; the training goes on without."""
    checkpoint = ProbCheckpoint(run, save_before_preemption=True, monitor="loss")

    thread = threading.Thread(target=lambda: fit(model, checkpoint))
    thread.start()
    thread.join()

    assert "fit does not run in the main thread" in caplog.text
    assert epochs_in(run) == [1]


def test_what_is_saved_for_a_signal_stays_whatever_the_rules_say(model: tfk.Sequential, run: pathlib.Path) -> None:
    """With `save_best_only` a batch in between is no best; nothing is removed for it, and the next save is by rule."""
    checkpoint = ProbCheckpoint(run, save_before_preemption=True, save_best_only=True)

    with pytest.raises(KeyboardInterrupt):
        fit_scored(model, [2.0, 1.0], preempted_fit.Send("SIGINT", "batch-1"), checkpoint)
    between = [(info.epoch, info.batch) for info in list_checkpoints(run)]
    resumed = ProbCheckpoint(run, save_best_only=True, resume=True)
    fit_scored(model, [2.0, 1.0], resumed)

    assert between == [(1, None), (2, 2)]
    assert epochs_in(run) == [2]
    assert resumed.best == 1.0


@pytest.mark.parametrize("error", [ZeroDivisionError("a bad batch"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_an_error_in_a_step_leaves_everything_in_order(
    error: BaseException, model: tfk.Sequential, run: pathlib.Path
) -> None:
    """What was saved is on disk, the directory given back, the best weights in the model; the error goes its way."""
    checkpoint = ProbCheckpoint(run, monitor="loss", restore_best_weights=True)

    with pytest.raises(type(error)):
        fit(model, Fail(error), checkpoint, epochs=3)

    assert epochs_in(run) == [1]
    assert (run / ".lock").read_bytes() == b""
    expected = new_model()
    checkpoint._running_manager.model = expected
    checkpoint._running_manager.restore_best()
    assert weights_of(model) == weights_of(expected)


@pytest.mark.parametrize(
    "place", ["on_epoch_begin", "on_test_batch_end", "on_test_end", "on_epoch_end", "on_train_end"]
)
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_an_error_outside_of_the_steps_leaves_everything_in_order(
    place: str, model: tfk.Sequential, run: pathlib.Path, *, is_before: bool
) -> None:
    """In a validation or in the hook of another callback, before or after ours, all of it is as in a step."""
    checkpoint = ProbCheckpoint(run, save_top_k=2, restore_best_weights=True)
    calls: list[int] = []

    def fail(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 2 or place == "on_train_end":
            raise ZeroDivisionError

    other = tfk.callbacks.Callback()
    setattr(other, place, fail)
    with pytest.raises(ZeroDivisionError):
        fit_scored(
            model,
            [1.0, 2.0, 3.0],
            *([other, checkpoint] if is_before else [checkpoint, other]),
            validation_data=(X, Y),
            validation_batch_size=6,
        )

    assert (run / ".lock").read_bytes() == b""
    assert "evaluate" not in vars(model)
    assert checkpoint.best == 1.0
    expected = new_model()
    checkpoint._running_manager.model = expected
    checkpoint._running_manager.restore_best()
    assert weights_of(model) == weights_of(expected)


def test_a_fit_that_an_error_ended_is_gone_on_with_by_the_same_callback(
    model: tfk.Sequential, run: pathlib.Path
) -> None:
    """As in a notebook, where the cell is run again."""
    checkpoint = ProbCheckpoint(run, monitor="loss", resume=True)
    with pytest.raises(KeyboardInterrupt):
        fit(model, Fail(KeyboardInterrupt()), checkpoint, epochs=3)

    history = fit(model, checkpoint, epochs=3)

    assert history.epoch == [0, 1, 2]
    assert [info.step for info in list_checkpoints(run)][-1] == 3 * BATCHES


def test_a_training_that_diverged_is_rolled_back(model: tfk.Sequential, run: pathlib.Path) -> None:
    """The NaN is saved, and the point before it stays: resuming goes on from there, and the NaN is removed."""
    diverge = tfk.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, _: epoch == 2 and model.layers[0].kernel.assign([[np.nan, np.nan]])
    )
    fit(
        model,
        diverge,
        tfk.callbacks.TerminateOnNaN(),
        ProbCheckpoint(run, monitor="loss", mode="max", resume=True),
        epochs=5,
    )
    diverged = [(info.epoch, bool(np.isfinite(info.logs["loss"]))) for info in list_checkpoints(run)]

    history = fit(new_model(), ProbCheckpoint(run, monitor="loss", mode="max", resume=True), epochs=5)

    assert diverged == [(1, True), (2, True), (3, False)]
    assert history.epoch == [0, 1, 2, 3, 4]
    assert np.isfinite(history.history["loss"]).all()
    assert epochs_in(run)[-1] == 5
    assert all(np.isfinite(info.logs["loss"]) for info in list_checkpoints(run))


@pytest.mark.parametrize("stop", ["early", "nan", "end"])
def test_the_best_weights_are_put_back_whatever_ended_the_training(
    stop: str, model: tfk.Sequential, run: pathlib.Path
) -> None:
    """Early stopping, a NaN, or the last epoch."""
    kept: list[list[bytes]] = []
    ends = {
        "early": [tfk.callbacks.EarlyStopping("val_loss", patience=1)],
        "nan": [
            tfk.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, _: epoch == 2 and model.layers[0].kernel.assign([[np.nan, np.nan]])
            ),
            tfk.callbacks.TerminateOnNaN(),
        ],
        "end": [],
    }
    look = tfk.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: epoch == 0 and kept.append(weights_of(model)))

    fit_scored(model, [1.0, 2.0, 3.0], look, *ends[stop], ProbCheckpoint(run, restore_best_weights=True))

    assert weights_of(model) == kept[0]
