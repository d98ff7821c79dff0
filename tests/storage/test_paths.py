from __future__ import annotations

import pathlib
import shutil

import pytest

from keras_probckpt.errors import CheckpointNotFoundError
from keras_probckpt.storage.catalog import (
    Location,
    list_checkpoints,
    resolve,
    verify_checkpoint,
)


def test_a_run_directory_means_all_its_checkpoints(run: pathlib.Path) -> None:
    """Given as a path or as text."""
    assert resolve(run) == resolve(str(run)) == Location(directory=run, name=None)


def test_a_checkpoint_directory_means_that_one(run: pathlib.Path) -> None:
    """Wherever one stands."""
    assert resolve(run / "step-0000000001") == Location(directory=run, name="step-0000000001")


def test_a_relative_path_of_a_checkpoint_has_a_run_directory_too(
    run: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also `.` in the checkpoint itself."""
    monkeypatch.chdir(run / "step-0000000001")

    assert resolve(".") == Location(directory=run, name="step-0000000001")
    assert resolve("../step-0000000002") == Location(directory=run, name="step-0000000002")


@pytest.mark.parametrize("template", ["{epoch:02d}-{val_loss:.2f}", "weights.{epoch}.keras"])
def test_a_template_means_the_directory_of_its_checkpoints(run: pathlib.Path, template: str) -> None:
    """What was given to the callback as filepath is what restore functions take."""
    assert resolve(run / template) == Location(directory=run, name=None)


def test_a_directory_with_braces_in_its_name_is_taken_as_it_is(run: pathlib.Path) -> None:
    """It exists, so it is no template."""
    odd = run.rename(run.with_name("{odd}"))

    assert resolve(odd) == Location(directory=odd, name=None)


def test_a_symbolic_link_to_a_checkpoint_is_followed(run: pathlib.Path) -> None:
    """The user made it; what is listed in a run directory is another matter."""
    (run / "link").symlink_to("step-0000000001")

    assert resolve(run / "link") == Location(directory=run, name="step-0000000001")
    assert [info.name for info in list_checkpoints(run)] == ["step-0000000001", "step-0000000002"]


def test_a_checkpoint_may_be_copied_anywhere(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Under any name, also one that a run's checkpoint could not have."""
    shutil.copytree(run / "step-0000000001", tmp_path / ".copy")

    assert verify_checkpoint(tmp_path / ".copy").step == 1


def not_found(path: pathlib.Path) -> CheckpointNotFoundError:
    """Give the error of a path that means nothing."""
    with pytest.raises(CheckpointNotFoundError) as raised:
        resolve(path)
    assert raised.value.path == str(path)
    return raised.value


def test_a_typo_is_answered_with_the_nearest_name(run: pathlib.Path) -> None:
    """Rejected, and never repaired."""
    error = not_found(run.parent / "exp2")

    assert error.problem == "there is nothing of that name"
    assert error.advice == f"Did you mean {run}?"


def test_a_name_far_from_all_is_answered_with_those_there_are(run: pathlib.Path) -> None:
    """Up to five of them."""
    for name in "abcdef":
        (run.parent / name).mkdir()

    error = not_found(run.parent / "quite-another")

    assert error.advice == "There is a, b, c, d, e and 2 more beside it."


def test_a_path_whose_parent_is_missing_says_so(tmp_path: pathlib.Path) -> None:
    """The working directory is often the cause."""
    error = not_found(tmp_path / "nothing" / "exp1")

    assert error.problem == f"there is no directory {tmp_path}/nothing either"
    assert error.advice == "Check the path; a relative one starts where you are."


def test_a_template_in_a_missing_directory_says_so(tmp_path: pathlib.Path) -> None:
    """The directory is what is missing, not the template."""
    assert not_found(tmp_path / "nothing" / "{epoch}").problem == "there is nothing of that name"


def test_a_directory_without_checkpoints_is_told_from_a_run(tmp_path: pathlib.Path) -> None:
    """With what it holds, hidden files apart."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"")
    (tmp_path / ".lock").write_bytes(b"")

    error = not_found(tmp_path)

    assert error.problem == "it is a directory without checkpoints, which holds assets, saved_model.pb"
    assert "holds nothing" in not_found(tmp_path / "assets").problem


def test_a_directory_of_runs_is_answered_with_the_runs(run: pathlib.Path) -> None:
    """One level too high is a common mistake."""
    (run.parent / "notes").mkdir()

    error = not_found(run.parent)

    assert error.problem == "it is a directory of runs"
    assert error.advice == "Pass one of them: exp1."


def test_a_file_is_answered_with_its_directory(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Where it is one of a checkpoint's; and without advice that misleads where it is not."""
    (tmp_path / "best.keras").write_bytes(b"")

    inside = not_found(run / "step-0000000001" / "model.safetensors")
    outside = not_found(tmp_path / "best.keras")

    assert inside.problem == outside.problem == "it is a file, and a checkpoint is a directory"
    assert inside.advice == f"Pass its directory: {run}/step-0000000001."
    assert outside.advice == "Pass the directory of a checkpoint or of a run."
