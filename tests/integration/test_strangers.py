"""The user's own run directory, into which a stranger puts checkpoints that his key did not sign."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import shutil
from collections.abc import Callable, Mapping

import pytest
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint, list_checkpoints, restore_best, restore_checkpoint, restore_latest
from keras_probckpt.errors import UntrustedCheckpointError
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.records import CheckpointInfo, Manifest
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.store import CheckpointStore
from tests.integration.tiny import epochs_in, fit_scored, new_model, weights_of


def plant(info: CheckpointInfo, name: str, **changes: object) -> None:
    """Copy a checkpoint under another name, some of its manifest changed, and without a signature."""
    fields = {field.name: getattr(info, field.name) for field in dataclasses.fields(Manifest)}
    files = {file: [(info.path / file).read_bytes()] for file in info.files}
    store = CheckpointStore(LocalFileSystem(info.path.parent), keys=KeyRing())
    store.commit(name, manifest=Manifest(**{**fields, **changes}), files=files)


def logs_of(run: pathlib.Path, *, signature: str = "own") -> Mapping[str, float]:
    """Give the score of each checkpoint that was so signed, by name."""
    return {info.name: info.logs["val_loss"] for info in list_checkpoints(run) if info.signature == signature}


@pytest.mark.parametrize("restore", [restore_best, restore_latest])
def test_a_stranger_of_a_later_run_is_passed_over_and_named(
    model: tfk.Sequential, run: pathlib.Path, restore: Callable[..., tfk.Model]
) -> None:
    """Neither his run number nor his score makes his checkpoint the user's best or newest."""
    fit_scored(model, [1.0], ProbCheckpoint(run))
    mine = weights_of(model)
    fit_scored(model, [2.0], ProbCheckpoint(run.parent / "other"))
    theirs = [array.tobytes() for array in model.get_weights()]
    (info,) = list_checkpoints(run.parent / "other")
    shutil.copytree(info.path, run / "copied")
    (copied,) = (each for each in list_checkpoints(run) if each.name == "copied")
    plant(copied, "zz", run="ffffffff", run_number=99, logs={"val_loss": -1.0})
    shutil.rmtree(copied.path)

    with pytest.warns(UserWarning, match=r"passed over beside your own: 'zz' \(unsigned\)"):
        restored = restore(run)

    assert weights_of(restored) == mine
    assert weights_of(restore_checkpoint(run / "zz", compile=False)) == theirs
    assert weights_of(restore_best(run, run="ffffffff", compile=False)) == theirs


def test_a_resume_goes_on_from_an_own_checkpoint(
    model: tfk.Sequential, run: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Although a stranger's claims to be of the same run, and later."""
    fit_scored(model, [1.0], ProbCheckpoint(run, resume=True))
    (info,) = list_checkpoints(run)
    plant(info, "step-0000000099", step=99, epoch=3)

    with caplog.at_level(logging.WARNING, "keras_probckpt"):
        fit_scored(new_model(), [1.0, 0.5], ProbCheckpoint(run, resume=True, save_top_k=-1))

    assert logs_of(run) == {"step-0000000003": 1.0, "step-0000000006": 0.5}
    assert logs_of(run, signature="unsigned") == {"step-0000000099": 1.0}
    assert f"{run} holds checkpoints that are passed over: 'step-0000000099' (unsigned)." in caplog.messages


def test_a_resume_refuses_a_directory_in_which_only_others_have_checkpoints(
    model: tfk.Sequential, run: pathlib.Path
) -> None:
    """It neither signs what a stranger wrote nor begins anew without a word, as where the key was lost."""
    fit_scored(model, [1.0], ProbCheckpoint(run))
    (info,) = list_checkpoints(run)
    plant(info, "zz")
    shutil.rmtree(info.path)

    with pytest.raises(UntrustedCheckpointError, match=r"it holds only others: 'zz' \(unsigned\)"):
        fit_scored(model, [1.0, 2.0], ProbCheckpoint(run, resume=True))

    assert [found.name for found in list_checkpoints(run)] == ["zz"]


def test_a_strangers_score_does_not_cost_the_user_his_best(model: tfk.Sequential, run: pathlib.Path) -> None:
    """What is not own counts for no rule: `save_top_k` keeps the best of one's own."""
    fit_scored(model, [1.0], ProbCheckpoint(run, resume=True))
    (info,) = list_checkpoints(run)
    plant(info, "step-0000000001", step=1, logs={"val_loss": -9.0})

    fit_scored(new_model(), [1.0, 2.0, 3.0], ProbCheckpoint(run, resume=True, save_top_k=1))

    assert logs_of(run) == {"step-0000000003": 1.0, "step-0000000009": 3.0}


def test_a_strangers_score_does_not_keep_the_user_from_saving(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Nor does `save_best_only` wait for what is better than his."""
    fit_scored(model, [1.0], ProbCheckpoint(run, resume=True))
    (info,) = list_checkpoints(run)
    plant(info, "step-0000000001", step=1, logs={"val_loss": -9.0})

    fit_scored(new_model(), [1.0, 0.5], ProbCheckpoint(run, resume=True, save_best_only=True))

    assert logs_of(run) == {"step-0000000006": 0.5}


def test_a_stranger_of_the_last_run_number_stops_nobody(model: tfk.Sequential, run: pathlib.Path) -> None:
    """There is no number after it, and none is needed."""
    fit_scored(model, [1.0], ProbCheckpoint(run))
    (info,) = list_checkpoints(run)
    plant(info, "zz", run="ffffffff", run_number=2**63 - 1)

    fit_scored(model, [2.0], ProbCheckpoint(run))

    own = [found for found in list_checkpoints(run) if found.signature == "own"]
    assert [(found.run_number, found.logs["val_loss"]) for found in own] == [(1, 1.0), (2, 2.0)]


def test_an_old_checkpoint_in_place_of_the_best_is_named(
    model: tfk.Sequential, run: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Signed as it is: opened by its path it says what it was, and its run does not take it for the best."""
    fit_scored(model, [3.0], ProbCheckpoint(run, save_top_k=-1))
    first = weights_of(model)
    fit_scored(model, [2.0, 1.0], ProbCheckpoint(run.parent / "other", save_top_k=-1))
    (old,) = list_checkpoints(run)
    shutil.copytree(old.path, run / "step-0000000099")

    with caplog.at_level("WARNING"):
        by_its_path = restore_checkpoint(run / "step-0000000099")
    with pytest.warns(UserWarning, match=r"'step-0000000099' \(saved as 'step-0000000003'\)"):
        restore_best(run)

    assert weights_of(by_its_path) == first
    assert "was saved as 'step-0000000003': it is a copy, or was renamed" in caplog.text


def test_a_checkpoint_that_its_user_renamed_or_copied_opens_as_ever(model: tfk.Sequential, run: pathlib.Path) -> None:
    """Alone in another directory it is the best there is; and no training ever loses what it holds."""
    fit_scored(model, [3.0], ProbCheckpoint(run))
    (old,) = list_checkpoints(run)
    elsewhere = run.parent / "keep"
    shutil.copytree(old.path, elsewhere / "final")

    assert epochs_in(elsewhere) == [1]
    assert weights_of(restore_best(elsewhere)) == weights_of(model)
