from __future__ import annotations

import os
import pathlib
import shutil

import pytest

from keras_probckpt.errors import CheckpointError, CheckpointWriteError, InvalidKeyError
from keras_probckpt.policy.naming import require_path
from keras_probckpt.storage.keys import KEY_VARIABLE
from keras_probckpt.storage.lock import DirectoryLock
from keras_probckpt.storage.run import RunWriter
from tests.storage.samples import files_of, manifest_of, store_of


@pytest.mark.parametrize("given", ["", "  "])
def test_an_empty_path_is_refused(given: str) -> None:
    """It would make the working directory the run directory."""
    require_path("runs/exp1")
    with pytest.raises(ValueError, match="The filepath is empty"):
        require_path(given)


def test_an_error_without_words_of_its_own_has_those_of_its_kind() -> None:
    """Only a message of its own is made of its fields."""

    class QuietError(CheckpointError):
        pass

    assert str(QuietError("said")) == "said"


def test_a_writer_that_cannot_begin_leaves_the_directory_free(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is none ends the opening, and nobody holds the lock."""
    monkeypatch.setenv(KEY_VARIABLE, "no key")
    with pytest.raises(InvalidKeyError):
        RunWriter(tmp_path).open()
    monkeypatch.delenv(KEY_VARIABLE)

    writer = RunWriter(tmp_path)
    writer.open()
    writer.close()

    assert not DirectoryLock(tmp_path).is_held


def test_a_lock_that_cannot_be_noted_is_given_back(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends the writing of the note, the next one takes the lock."""

    def fail(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "ftruncate", fail)
    with pytest.raises(KeyboardInterrupt):
        DirectoryLock(tmp_path).acquire()
    monkeypatch.undo()
    lock = DirectoryLock(tmp_path)

    lock.acquire()

    assert lock.is_held
    lock.release()


def test_a_store_tells_what_is_there_and_that_it_is_gone(tmp_path: pathlib.Path) -> None:
    """The names there are; none of a directory that was removed, which the next error says."""
    (tmp_path / "run").mkdir()
    store = store_of(tmp_path / "run")
    store.commit("a", manifest=manifest_of(1), files=files_of(1))
    assert "a" in store.names()
    assert store._gone() == ""

    shutil.rmtree(tmp_path / "run")

    assert store.names() == frozenset()
    assert store._gone() == str(tmp_path / "run")
    error = CheckpointWriteError(path="run/a", problem="lost", gone="run")
    assert "run is gone, and every checkpoint in it" in str(error)


def test_a_directory_that_cannot_be_read_is_not_said_to_be_gone(tmp_path: pathlib.Path) -> None:
    """A file is in its place: that is another trouble."""
    store = store_of(tmp_path / "run")
    (tmp_path / "run").write_text("a file")

    assert store._gone() == ""


def test_checkpoints_of_others_are_named_beside_ones_own(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They count for no rule."""
    monkeypatch.setenv(KEY_VARIABLE, "5f" * 32)
    store_of(tmp_path).commit("theirs", manifest=manifest_of(1), files=files_of(1))
    monkeypatch.setenv(KEY_VARIABLE, "6e" * 32)
    store_of(tmp_path).commit("mine", manifest=manifest_of(2), files=files_of(2))

    listing = store_of(tmp_path).scan()

    assert [info.name for info in listing.counted] == ["mine"]
    assert listing.of_run(listing.checkpoints[0].run).counted == listing.counted
    assert listing.left_out.startswith("'theirs' (")
