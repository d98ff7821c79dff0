"""The one writer of a run directory, and the checkpoints of its own run."""

from __future__ import annotations

import pathlib
import secrets
import weakref
from collections.abc import Mapping, Sequence

from keras_probckpt.errors import RunLockedError
from keras_probckpt.format.digest import Buffer
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.records import CheckpointInfo, Manifest
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.keys import load_or_create_keys
from keras_probckpt.storage.lock import DirectoryLock
from keras_probckpt.storage.store import CheckpointStore

__all__ = ["RunWriter"]

# Of the writers of this process, who writes where.
_WRITERS: weakref.WeakValueDictionary[pathlib.Path, RunWriter] = weakref.WeakValueDictionary()


class RunWriter:
    """Writes one run into a directory that it alone writes to, from `open` until `close`.

    A later writer of the same process takes the directory over, and the earlier says so if it is used again: in a
    notebook the earlier one may live on in the traceback of a training that failed.

    Args:
        directory: The run directory, absolute; `open` creates it where it is missing.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.run = secrets.token_hex(4)
        self._infos: list[CheckpointInfo] = []
        self._lock = DirectoryLock(directory)
        self._store = CheckpointStore(LocalFileSystem(directory), keys=KeyRing())
        self._is_superseded = False

    @property
    def infos(self) -> Sequence[CheckpointInfo]:
        """The committed checkpoints of this run, in the order of their commits."""
        return tuple(self._infos)

    @property
    def store(self) -> CheckpointStore:
        """What the directory holds, of every run."""
        return self._store

    def open(self) -> None:
        """Take the directory, and clear up after writers that died.

        Raises:
            RunLockedError: If another process writes there.
            CheckpointWriteError: If nothing can be written there.
            InvalidKeyError: If the signing key is not one.
        """
        place = self.directory.resolve()  # One directory has many names: `..`, links.
        earlier = _WRITERS.get(place)
        if earlier is not None and earlier is not self:
            earlier.close()
            earlier._is_superseded = True  # noqa: SLF001 - one of the same class
        if not self._lock.is_held:
            self._lock.acquire()
        _WRITERS[place] = self
        self._is_superseded = False
        self._store = CheckpointStore(LocalFileSystem(self.directory), keys=load_or_create_keys())
        self._store.sweep()

    def require_open(self) -> None:
        """Open, unless this is open already.

        Raises:
            RunLockedError: If a later writer of this process took over, or as `open` does.
        """
        if self._is_superseded:
            raise RunLockedError(path=str(self.directory), holder="a later callback or manager of this process")
        if not self._lock.is_held:
            self.open()

    def commit(self, name: str, *, manifest: Manifest, files: Mapping[str, Sequence[Buffer]]) -> CheckpointInfo:
        """Write a checkpoint of this run; see `CheckpointStore.commit`."""
        info = self._store.commit(name, manifest=manifest, files=files)
        self._infos = [*(known for known in self._infos if known.path != info.path), info]
        return info

    def remove(self, info: CheckpointInfo) -> None:
        """Delete a checkpoint of this run; see `CheckpointStore.remove`."""
        self._store.remove(info)
        self._infos.remove(info)

    def close(self) -> None:
        """Give the directory back; does nothing if it is not held."""
        self._lock.release()
