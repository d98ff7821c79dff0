"""What a network share does that a disk does not: nothing half-done is shown, and an error is an error."""

from __future__ import annotations

import errno
import os
import pathlib

import pytest

from keras_probckpt.errors import CheckpointWriteError
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.store import CheckpointStore
from tests.storage.memory_filesystem import MemoryFileSystem
from tests.storage.samples import OWN_KEYS, files_of, manifest_of


class NetworkFileSystem(LocalFileSystem):
    """A mounted network share: a rename copies what it moves, file by file, and may be told to have failed.

    Args:
        root: The directory.
        fails_after: Number of the file, from 1, after which a rename stops in the middle; 0 for never.
        reports_failure: Whether a rename that was done is reported as one that found nothing to do, as a request that
            was sent twice is.
    """

    def __init__(self, root: pathlib.Path, *, fails_after: int = 0, reports_failure: bool = False) -> None:
        super().__init__(root)
        self.fails_after = fails_after
        self.reports_failure = reports_failure

    def rename(self, source: str, target: str) -> None:
        """Move one file after the other, the manifest last."""
        if self.fails_after or self.reports_failure:
            self._move(source, target)
        else:
            super().rename(source, target)
        if self.reports_failure:
            self.reports_failure = False
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)

    def _move(self, source: str, target: str) -> None:
        self.make_directory(target)
        for number, name in enumerate(sorted(self.list_names(source), key=lambda name: name == "manifest.json")):
            if number == self.fails_after - 1:
                self.fails_after = 0
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), target)
            (self._root / source / name).rename(self._root / target / name)
        self.remove(source)


@pytest.mark.parametrize("fails_after", [1, 2, 3])
def test_a_rename_that_is_not_atomic_never_shows_half_a_checkpoint(tmp_path: pathlib.Path, fails_after: int) -> None:
    """Without its manifest, which moves last, a directory is no checkpoint; the save is an error, and another works."""
    share = NetworkFileSystem(tmp_path)
    store = CheckpointStore(share, keys=OWN_KEYS)
    store.commit("step-1", manifest=manifest_of(1), files=files_of(1))
    share.fails_after = fails_after

    with pytest.raises(CheckpointWriteError, match="Stale file handle"):
        store.commit("step-2", manifest=manifest_of(2), files=files_of(2))

    assert [info.step for info in store.scan().checkpoints] == [1]
    assert store.scan().damaged == ()
    store.commit("step-3", manifest=manifest_of(3), files=files_of(3))
    assert [info.step for info in store.scan().checkpoints] == [1, 3]


def test_a_rename_that_was_done_and_is_reported_as_failed_is_undone(tmp_path: pathlib.Path) -> None:
    """A share answers a request that was sent twice with "not found": the save failed, so it is not there."""
    share = NetworkFileSystem(tmp_path, reports_failure=True)
    store = CheckpointStore(share, keys=OWN_KEYS)

    with pytest.raises(CheckpointWriteError, match="No such file"):
        store.commit("step-1", manifest=manifest_of(1), files=files_of(1))

    assert store.scan().checkpoints == ()
    store.commit("step-1", manifest=manifest_of(1), files=files_of(1))
    assert [info.step for info in store.scan().checkpoints] == [1]


class SlowFileSystem(MemoryFileSystem):
    """A share that shows a name for a while after it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[str] = []

    def rename(self, source: str, target: str) -> None:
        """Move, and remember the old name."""
        super().rename(source, target)
        self._shown.append(source)

    def list_names(self, name: str = "") -> list[str]:
        """Name what is there, and what was."""
        names = super().list_names(name)
        return names if name else [*names, *(old for old in self._shown if old not in names)]


def test_a_name_that_is_shown_though_it_is_gone_is_no_checkpoint() -> None:
    """Nor damage: it vanished."""
    store = CheckpointStore(SlowFileSystem(), keys=OWN_KEYS)
    info = store.commit("step-1", manifest=manifest_of(1), files=files_of(1))
    store.remove(info)
    store.commit("step-2", manifest=manifest_of(2), files=files_of(2))

    listing = store.scan()

    assert [found.step for found in listing.checkpoints] == [2]
    assert listing.damaged == ()
