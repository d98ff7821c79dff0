"""What becomes of a save that fails while training goes on."""

from __future__ import annotations

import pathlib
import threading
import warnings
from typing import Any

import pytest
import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbCheckpoint, list_checkpoints, restore_best
from keras_probckpt.errors import CheckpointWriteError
from keras_probckpt.records import CheckpointInfo
from tests.integration.held import FailAtTheEnd, held_manager
from tests.integration.tiny import BATCHES, Finish, epochs_in, fit, fit_scored, names_in, new_model, weights_of


class Obstacles(tfk.callbacks.Callback):
    """Puts files of the user's where checkpoints of some steps should go, and counts batches and epochs."""

    def __init__(self, run: pathlib.Path, *steps: int) -> None:
        super().__init__()
        self.batches = 0
        self.epochs = 0
        self._paths = [run / f"step-{step:010d}" for step in steps]

    def on_train_begin(self, logs: Any = None) -> None:
        """Get in the way."""
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("mine")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count."""
        self.batches += 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Count."""
        self.epochs += 1


class Settle(tfk.callbacks.Callback):
    """Waits at each epoch's begin until the writer has nothing to do, and takes no failure from it."""

    def __init__(self, checkpoint: ProbCheckpoint) -> None:
        super().__init__()
        self._checkpoint = checkpoint

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Wait."""
        self._checkpoint._running_manager._writer.wait_until_finished()


def writer_threads() -> list[str]:
    """Name the threads of writers."""
    return [thread.name for thread in threading.enumerate() if "keras_probckpt" in thread.name]


def test_a_failure_ends_the_training_at_the_next_batch(model: tfk.Sequential, run: pathlib.Path) -> None:
    """With the error of the write itself, not an hour later at the end of the epoch."""
    checkpoint, obstacles = ProbCheckpoint(run), Obstacles(run, 6)

    with pytest.raises(CheckpointWriteError, match="step-0000000006 was not saved"):
        fit_scored(model, [3.0, 2.0, 1.0], obstacles, checkpoint, Settle(checkpoint))

    assert obstacles.batches == 2 * BATCHES + 1
    assert epochs_in(run) == [1]
    assert checkpoint.best == 3.0


def test_a_failure_ends_it_at_the_next_batch_where_no_callback_has_hooks_for_batches(
    model: tfk.Sequential, run: pathlib.Path
) -> None:
    """What is called after each batch takes time in each: tf_keras is told to call it once a save has failed."""
    checkpoint = ProbCheckpoint(run, monitor="loss", rehearse=False)
    in_the_way = Obstacles(run, BATCHES)
    in_the_way.on_train_begin()

    with pytest.raises(CheckpointWriteError, match="not a checkpoint, and it was left alone"):
        fit(model, checkpoint, Settle(checkpoint), epochs=3)

    assert not checkpoint._implements_train_batch_hooks()
    assert int(model._train_counter) == BATCHES + 1
    assert writer_threads() == []


def test_a_failure_of_the_last_save_is_raised_at_the_end_of_the_training(
    model: tfk.Sequential, run: pathlib.Path
) -> None:
    """`fit` does not return as if all were well; the directory is given back, and no thread is left."""
    checkpoint = ProbCheckpoint(run, rehearse=False)

    with pytest.raises(CheckpointWriteError):
        fit_scored(model, [2.0], FailAtTheEnd(checkpoint, path=run / "step-0000000003"), checkpoint)

    assert (run / ".lock").read_bytes() == b""
    assert writer_threads() == []


def test_training_goes_on_if_the_user_says_so(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Each failure is a warning that counts; the last good checkpoint stays until a newer one is committed."""
    checkpoint = ProbCheckpoint(run, on_save_error="warn", save_last=False)
    found: list[list[int | None]] = []
    look = tfk.callbacks.LambdaCallback(on_epoch_end=lambda _epoch, _logs: found.append(epochs_in(run)))
    obstacles = Obstacles(run, 6, 9)

    with pytest.warns(UserWarning, match="Saving has failed") as caught:
        fit_scored(model, [5.0, 4.0, 3.0, 2.0], obstacles, checkpoint, Finish(checkpoint), look)

    said = [str(warning.message) for warning in caught]
    assert len(said) == 2
    assert said[0].startswith("Saving has failed once in this training, now with CheckpointWriteError: The checkpoint ")
    assert said[1].startswith("Saving has failed 2 times in this training")
    assert "step-0000000009 was not saved" in said[1]
    assert found == [[1], [1], [1], [4]]
    assert obstacles.epochs == 4
    assert checkpoint.best == 2.0


def test_the_best_of_those_that_were_saved_is_the_best(model: tfk.Sequential, run: pathlib.Path) -> None:
    """A save that failed is nobody's best, and blocks no later one that is worse than it would have been."""
    weights = []
    look = tfk.callbacks.LambdaCallback(on_epoch_end=lambda _epoch, _logs: weights.append(weights_of(model)))
    checkpoint = ProbCheckpoint(run, on_save_error="warn", save_best_only=True)

    with pytest.warns(UserWarning, match="Saving has failed once"):
        fit_scored(model, [3.0, 1.0, 2.0], Obstacles(run, 6), look, checkpoint, Finish(checkpoint))

    assert checkpoint.best == 2.0
    assert weights_of(restore_best(run)) == weights[2]


def test_an_interrupt_in_a_save_is_never_a_mere_warning(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Whoever presses Ctrl-C wants out."""

    def interrupt(_: CheckpointInfo) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_scored(
            model,
            [2.0, 1.0],
            ProbCheckpoint(run, on_save_error="warn", on_commit=[interrupt], save_on_background=False),
        )

    assert epochs_in(run) == [1]


def test_what_cannot_be_asked_for_is_an_error_in_any_case(model: tfk.Sequential, run: pathlib.Path) -> None:
    """A mistake in an argument fails every time: to warn of it would only hide it."""
    with pytest.raises(KeyError, match=r"asks for {los}"):
        fit(model, ProbCheckpoint(run / "{epoch}-{los}", "loss", on_save_error="warn"), epochs=1)


@pytest.mark.parametrize("make", [ProbCheckpoint, lambda run, **rest: CheckpointManager(new_model(), run, **rest)])
def test_a_way_out_that_is_unknown_is_refused(make: Any, run: pathlib.Path) -> None:
    """Before training, with the closest."""
    with pytest.raises(
        ValueError, match=r"on_save_error must be 'raise' or 'warn', got 'warning'\. Did you mean 'warn'"
    ):
        make(run, on_save_error="warning")

    assert not run.exists()


@pytest.mark.parametrize("hook", ["save", "wait_until_finished", "close"])
def test_a_loop_of_ones_own_hears_of_a_failure_at_its_next_call(hook: str, run: pathlib.Path) -> None:
    """And once only."""
    manager, held = held_manager(new_model(), run)
    manager.save(2)
    held.wait_until_held()
    (run / "step-0000000002").write_text("mine")
    held.release()
    manager._writer.wait_until_finished()
    calls = {
        "save": lambda: manager.save(3),
        "wait_until_finished": manager.wait_until_finished,
        "close": manager.close,
    }

    with pytest.raises(CheckpointWriteError, match="step-0000000002"):
        calls[hook]()

    manager.save(4)
    manager.close()
    assert [info.step for info in list_checkpoints(run)] == [4]


def test_two_failures_are_both_said(run: pathlib.Path) -> None:
    """One is raised, the other a warning."""
    manager, held = held_manager(new_model(), run, save_top_k=-1)
    for step in (1, 2):
        manager.save(step)
        held.wait_until_held()
        (run / f"step-{step:010d}").write_text("mine")
    held.release()

    with (
        pytest.warns(UserWarning, match="failed 2 times .*step-0000000002 was not saved"),
        pytest.raises(CheckpointWriteError, match="step-0000000001"),
    ):
        manager.close()


def test_an_error_of_the_loop_is_not_hidden_by_one_of_a_save(run: pathlib.Path) -> None:
    """Which is a warning then."""

    def loop() -> None:
        with CheckpointManager(new_model(), run, rehearse=False) as manager:
            (run / "step-0000000001").write_text("mine")
            manager.save(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), pytest.warns(UserWarning, match="step-0000000001 was not saved"):
        loop()

    assert (run / ".lock").read_bytes() == b""


def test_a_failure_of_a_training_that_another_error_ended_is_said_at_the_next(run: pathlib.Path) -> None:
    """There was no hook left to raise it; the next training, which opens anew, is not stopped by it."""
    manager, held = held_manager(new_model(), run)
    manager.save(1)
    held.wait_until_held()
    (run / "step-0000000001").write_text("mine")
    held.release()

    with pytest.warns(UserWarning, match="step-0000000001 was not saved"):
        manager.open()

    manager.save(2)
    manager.close()
    assert [info.step for info in list_checkpoints(run)] == [2]


@pytest.mark.parametrize("is_background", [True, False])
def test_after_a_training_nothing_of_it_is_left_but_its_checkpoints(
    model: tfk.Sequential, run: pathlib.Path, *, is_background: bool
) -> None:
    """No thread, no lock, nothing pending: of many saves that came fast the best and the newest are on disk."""
    checkpoint = ProbCheckpoint(run, save_on_background=is_background)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_scored(model, [5.0, 1.0, *[2.0] * 18], checkpoint)

    assert writer_threads() == []
    assert (run / ".lock").read_bytes() == b""
    assert epochs_in(run) == [2, 20]
    assert names_in(run) == ["step-0000000006", "step-0000000060"]
    assert (checkpoint.best_model_path, checkpoint.last_model_path) == (
        str(run / "step-0000000006"),
        str(run / "step-0000000060"),
    )
