from __future__ import annotations

import logging
import pathlib
import threading

import pytest
import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbCheckpoint, list_checkpoints, restore_best, restore_latest
from keras_probckpt.errors import CheckpointNotFoundError, RunLockedError
from tests.conftest import FreshPython
from tests.integration.tiny import Scores, epochs_in, fit, fit_scored, names_in, new_model, weights_of


class MistakeError(RuntimeError):
    """What stops a training in these tests."""


class Stop(tfk.callbacks.Callback):
    """Ends a training by an error, as a user's mistake does."""

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Fail."""
        raise MistakeError


def test_a_second_training_starts_beside_the_first(
    model: tfk.Sequential, run: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of the older run is removed, and one line says that there is one."""
    fit_scored(model, [1.0, 2.0], ProbCheckpoint(run))
    first = list_checkpoints(run)

    with caplog.at_level(logging.WARNING, "keras_probckpt"):
        fit_scored(model, [5.0, 6.0], ProbCheckpoint(run))

    found = list_checkpoints(run)
    second = found[-1].run
    assert found[:2] == first
    assert [(info.run_number, info.epoch) for info in found] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [info.name.endswith(f"-{second}") for info in found] == [False, False, True, True]
    (message,) = caplog.messages
    assert message == (
        f"{run} holds 2 checkpoint(s) of earlier runs; this is run {second}, beside them. "
        "None of theirs is removed or replaced."
    )


def test_a_restore_takes_the_newest_run_unless_told_otherwise(
    model: tfk.Sequential, run: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The older run's better score does not hide the newer run, is said, and is one argument away."""
    fit_scored(model, [1.0], ProbCheckpoint(run))
    older, first = weights_of(model), list_checkpoints(run)[0].run
    fit_scored(model, [5.0], ProbCheckpoint(run))
    newer, second = weights_of(model), list_checkpoints(run)[-1].run
    caplog.clear()

    assert weights_of(restore_best(run)) == newer
    (message,) = caplog.messages
    assert message == (
        f"The best of run {second}, the newest in {run}, has val_loss 5; the older run {first} holds a better one, "
        f"step-0000000003 with 1. run=\"all\" restores the best of all runs, run='{first}' that of the older one."
    )
    assert weights_of(restore_latest(run)) == newer
    assert weights_of(restore_best(run, run="all")) == older
    assert weights_of(restore_latest(run, run="all")) == newer
    assert weights_of(restore_best(run, run=first)) == older
    assert weights_of(restore_latest(run, run=first)) == older


def test_a_run_that_is_not_there_is_an_error_that_names_the_others(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Which runs there are is in the message."""
    fit_scored(model, [1.0], ProbCheckpoint(run))
    (info,) = list_checkpoints(run)

    with pytest.raises(CheckpointNotFoundError, match=f"no checkpoint of run 'ffffffff'.*The runs there: {info.run}"):
        restore_best(run, run="ffffffff")


def test_fits_with_one_callback_are_one_run(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Steps go on where they were, the best of an earlier fit stays the best."""
    callback = ProbCheckpoint(run)

    fit_scored(model, [1.0, 2.0], callback)
    fit_scored(model, [3.0], callback)

    assert [(info.step, info.run_number) for info in list_checkpoints(run)] == [(3, 1), (9, 1)]
    assert callback.best_model_path == str(run / "step-0000000003")


def test_steps_go_on_after_the_model_was_compiled_anew(run: pathlib.Path) -> None:
    """A new optimizer counts from 0; the names of the run do not."""
    model, callback = new_model(), ProbCheckpoint(run, "loss", save_top_k=-1)

    fit(model, callback, epochs=2)
    model.compile("sgd", loss=model.loss)
    fit(model, callback, epochs=1)

    assert [info.step for info in list_checkpoints(run)] == [3, 6, 9]


def test_a_model_trained_before_brings_its_steps_along(model: tfk.Sequential, run: pathlib.Path) -> None:
    """A step is a completed update of the optimizer, with or without a callback to see it."""
    fit(model, epochs=2)

    fit(model, ProbCheckpoint(run, "loss"), epochs=1)

    assert [info.step for info in list_checkpoints(run)] == [9]


def test_a_template_replaces_nothing_of_an_older_run(
    model: tfk.Sequential, run: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same script run three times: each run has all its checkpoints, and one line says what the new are called."""
    for _ in range(3):
        fit_scored(model, [1.0, 2.0], ProbCheckpoint(run / "{epoch:02d}-{val_loss:.2f}"))

    found = list_checkpoints(run)
    _, second, third = dict.fromkeys(info.run for info in found)
    assert [(info.run_number, info.epoch) for info in found] == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    assert [info.name for info in found] == [
        "01-1.00",
        "02-2.00",
        f"01-1.00-{second}",
        f"02-2.00-{second}",
        f"01-1.00-{third}",
        f"02-2.00-{third}",
    ]
    assert caplog.messages[-1].endswith(
        f"None of theirs is removed or replaced. Where a name is taken, -{third} is added to the new one."
    )
    assert weights_of(restore_latest(run / "{epoch:02d}-{val_loss:.2f}")) == weights_of(model)


def test_a_template_replaces_a_checkpoint_of_its_own_run(model: tfk.Sequential, run: pathlib.Path) -> None:
    """As with ModelCheckpoint: two fits with one callback are one run."""
    callback = ProbCheckpoint(run / "{epoch:02d}")

    fit_scored(model, [1.0, 2.0], callback)
    fit_scored(model, [3.0], callback)

    assert [(info.name, info.logs["val_loss"]) for info in list_checkpoints(run)] == [("02", 2.0), ("01", 3.0)]


def test_after_a_training_that_failed_a_new_callback_takes_over(model: tfk.Sequential, run: pathlib.Path) -> None:
    """In a notebook the traceback keeps the old callback alive; the cell can be run again all the same."""
    earlier = ProbCheckpoint(run, save_top_k=-1)
    with pytest.raises(MistakeError):
        fit(model, Scores(val_loss=[1.0]), earlier, Stop(), epochs=1)

    fit_scored(model, [2.0], ProbCheckpoint(run, save_top_k=-1))

    assert [(info.run_number, info.logs["val_loss"]) for info in list_checkpoints(run)] == [(1, 1.0), (2, 2.0)]


def test_a_callback_goes_on_after_a_training_that_failed(model: tfk.Sequential, run: pathlib.Path) -> None:
    """The same callback may be passed to the next fit, which goes on with the run."""
    callback = ProbCheckpoint(run, save_top_k=-1)
    with pytest.raises(MistakeError):
        fit(model, Scores(val_loss=[1.0]), callback, Stop(), epochs=1)

    fit_scored(model, [2.0], callback)

    assert [(info.run_number, info.step) for info in list_checkpoints(run)] == [(1, 3), (1, 6)]


def test_two_callbacks_on_one_directory_are_refused_before_the_first_batch(
    model: tfk.Sequential, run: pathlib.Path
) -> None:
    """Not after the first epoch; and the directory is free for the next training, which may be of the same model."""
    batches: list[int] = []
    watch = tfk.callbacks.LambdaCallback(on_train_batch_end=lambda batch, _logs: batches.append(batch))
    kept = ProbCheckpoint(run)

    with pytest.raises(RunLockedError, match="another callback of a fit that is still running"):
        fit_scored(model, [1.0], watch, kept, ProbCheckpoint(run))
    assert batches == []
    fit_scored(model, [2.0], ProbCheckpoint(run))

    assert epochs_in(run) == [1]


def test_a_training_in_another_thread_leaves_the_directory_to_the_first(
    model: tfk.Sequential, run: pathlib.Path
) -> None:
    """The first goes on, the second is told, and after the first the directory is free."""
    errors: list[BaseException] = []

    def train() -> None:
        try:
            fit_scored(new_model(), [1.0], ProbCheckpoint(run))
        except RunLockedError as error:
            errors.append(error)

    class Beside(tfk.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            thread = threading.Thread(target=train)
            thread.start()
            thread.join()

    fit_scored(model, [2.0, 1.0], ProbCheckpoint(run), Beside())
    train()

    assert [type(error).__name__ for error in errors] == ["RunLockedError", "RunLockedError"]
    assert "is being written by another callback or manager of this process, in its thread 'MainThread'" in str(
        errors[0]
    )
    assert [(info.run_number, info.epoch) for info in list_checkpoints(run)] == [(1, 2), (2, 1)]


def test_a_writer_that_was_superseded_says_so(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Two writers of one process in turn would remove each other's checkpoints."""
    earlier, later = CheckpointManager(model, run), CheckpointManager(model, run)
    earlier.save(1)
    later.save(2)

    with pytest.raises(RunLockedError, match="a later callback or manager of this process"):
        earlier.save(3)

    later.close()
    assert [info.step for info in list_checkpoints(run)] == [1, 2]


SECOND_PROCESS = """
import pathlib, sys
from keras_probckpt.errors import RunLockedError
from keras_probckpt.storage.run import RunWriter
from keras_probckpt import list_checkpoints
try:
    RunWriter(pathlib.Path(sys.argv[1])).open()
except RunLockedError as error:
    print(error)
print(len(list_checkpoints(sys.argv[1])))
"""


def test_a_second_process_is_kept_out_while_the_first_trains_and_let_in_after(
    model: tfk.Sequential, run: pathlib.Path, fresh_python: FreshPython
) -> None:
    """A reader is never kept out."""
    printed = []

    class OtherProcess(tfk.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            printed.append(fresh_python("-c", SECOND_PROCESS, str(run)).stdout.splitlines())

    callback = ProbCheckpoint(run)
    fit_scored(model, [1.0], callback, OtherProcess())
    printed.append(fresh_python("-c", SECOND_PROCESS, str(run)).stdout.splitlines())

    assert printed[0][0].startswith(f"{run} is being written by process ")
    assert printed[0][1] == "1"
    assert printed[1] == ["1"]


def test_the_directory_is_free_after_a_fit(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Whoever comes next need not wait for this process to end."""
    callback = ProbCheckpoint(run)  # Kept: the end of the object would free it too.

    fit_scored(model, [1.0], callback)

    assert (run / ".lock").read_bytes() == b""


def test_leftovers_of_a_dead_writer_are_swept_by_the_next_training(model: tfk.Sequential, run: pathlib.Path) -> None:
    """What a kill left half-written is gone, what belongs to the user stays."""
    leftover = run / ".step-0000000099.partial-4194999-0123456789abcdef"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")
    (run / ".notes").mkdir()

    fit_scored(model, [1.0], ProbCheckpoint(run))

    assert names_in(run) == [".notes", "step-0000000003"]


def test_a_training_may_change_its_working_directory(
    model: tfk.Sequential, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means the place where training began, although the working directory changes meanwhile."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    move = tfk.callbacks.LambdaCallback(on_epoch_begin=lambda _epoch, _logs: monkeypatch.chdir(tmp_path / "elsewhere"))

    fit_scored(model, [2.0, 1.0], move, ProbCheckpoint("runs/exp1"))

    assert epochs_in(tmp_path / "runs" / "exp1") == [2]
    assert list((tmp_path / "elsewhere").iterdir()) == []
