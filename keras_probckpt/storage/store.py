"""The commit protocol: a checkpoint is there whole, or not at all, whenever the process or the power ends."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

from keras_probckpt.errors import CheckpointNotFoundError, CheckpointWriteError
from keras_probckpt.format.digest import Buffer
from keras_probckpt.format.manifest import MANIFEST_NAME
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.records import CheckpointInfo, Manifest
from keras_probckpt.storage.checked_file import CheckedFile
from keras_probckpt.storage.committing import (
    plan_displacement,
    publish,
    require_room,
    stage,
    undone_on_failure,
    validate_files,
)
from keras_probckpt.storage.filesystem import FileSystem
from keras_probckpt.storage.listing import (
    UNREADABLE,
    Listing,
    as_info,
    counts,
    find_directories,
    read_info,
    scan,
)
from keras_probckpt.storage.names import displaced_names, make_hidden_name, parse_hidden_name, validate_name
from keras_probckpt.storage.removal import delete_hidden, discard, hide, put_back_displaced, stale_names

__all__ = ["CheckpointStore"]


class CheckpointStore:
    """The checkpoints of one run directory.

    Reading needs no lock and may go on while another process writes. `commit`, `remove` and `sweep` are for whoever
    holds the directory's lock.

    Args:
        filesystem: Where they are.
        keys: The first signs what is committed; all of them vouch for what is read.
    """

    def __init__(self, filesystem: FileSystem, *, keys: KeyRing) -> None:
        self._filesystem = filesystem
        self._keys = keys

    def commit(self, name: str, *, manifest: Manifest, files: Mapping[str, list[Buffer]]) -> CheckpointInfo:
        """Write a checkpoint; it is durable on return, and before that no listing shows it.

        One that already has the name is there until the new one is committed, and is then removed.

        Args:
            name: Name of its directory.
            manifest: What to say of it. Its `files` and `saved_name` are filled in here.
            files: Content of each file, as buffers to write one after the other. They are not copied, and are taken out
                of the lists as they are written: memory that only they keep is free before all is durable.

        Raises:
            CheckpointWriteError: If the file system refused. Nothing is left of the new one, and of the old one all.
            ValueError: If a checkpoint or a file in it cannot have that name.
        """
        validate_name(name)
        validate_files(files)
        staged = str(make_hidden_name(name, role="partial"))
        key, named = self._keys.signing_key, dataclasses.replace(manifest, saved_name=name)
        path = self._filesystem.describe(name)
        try:
            require_room(self._filesystem, files)
            displaced = plan_displacement(self._filesystem, name, run=manifest.run, keys=self._keys)
            with undone_on_failure(self._filesystem, staged) as undo:
                complete = stage(self._filesystem, staged, manifest=named, files=files, key=key)
                publish(self._filesystem, staged, name=name, displaced=displaced, undo=undo)
        except OSError as error:
            raise CheckpointWriteError(path=path, problem=str(error), gone=self._gone()) from error
        if displaced is not None:
            discard(self._filesystem, displaced)
        return as_info(complete, path=path, signature="unsigned" if key is None else "own")

    def scan(self) -> Listing:
        """List what is committed, and what is there but cannot be read.

        Holds what was committed before the call, also while another process commits. A directory that is missing
        holds nothing.
        """
        return scan(self._filesystem, keys=self._keys)

    def open(self, name: str) -> CheckpointInfo:
        """Read the manifest of one checkpoint.

        Args:
            name: Name of its directory; a hidden one, as `scan` gives it after a crash, will do.

        Raises:
            CheckpointNotFoundError: If there is none.
            DamagedCheckpointError: If the manifest is not what was written.
            TamperedCheckpointError: If its signature is not the one that the reader's key gives.
            UnsupportedFormatError: If it was written by a newer release.
        """
        if "/" in name:
            validate_name(name)
        hidden = parse_hidden_name(name)
        info = None
        problem = "it is not committed"
        if hidden is None or hidden.role == "replaced":
            directories = find_directories(self._filesystem).get(name, [name])
            info = read_info(self._filesystem, directories, keys=self._keys)
            if info is not None and info.name != name and not counts(info, keys=self._keys):
                info = None  # What somebody else put under a hidden name is not the checkpoint of that name.
            problem = f"there is no {MANIFEST_NAME} in it"
        if info is None:
            advice = "list_checkpoints(run) shows what there is."
            raise CheckpointNotFoundError(path=self._filesystem.describe(name), problem=problem, advice=advice)
        return info

    def names(self) -> frozenset[str]:
        """Name all that the directory holds, hidden names too; nothing where it is missing."""
        try:
            return frozenset(self._filesystem.list_names())
        except FileNotFoundError:
            return frozenset()

    def is_taken(self, name: str, *, run: str) -> bool:
        """Tell whether a checkpoint is there by this name that is not one's own of this run, be it damaged."""
        if name not in self.names():
            return False
        with contextlib.suppress(*UNREADABLE):
            info = read_info(self._filesystem, [name], keys=self._keys)
            return info is not None and (info.run != run or not counts(info, keys=self._keys))
        return True

    def read_file(self, info: CheckpointInfo, file: str) -> memoryview:
        """Read one file of a checkpoint into fresh memory, aligned to 64 bytes, and check every byte of it.

        Raises:
            DamagedCheckpointError: If size or digest differ from what the manifest records.
            CheckpointNotFoundError: If another process removed or replaced the checkpoint meanwhile.
            KeyError: If the checkpoint has no such file.
        """
        checked = self.open_file(info, file)
        data = checked.read(0, checked.size_bytes)
        checked.verify()
        return data

    def open_file(self, info: CheckpointInfo, file: str) -> CheckedFile:
        """Begin to read one file of a checkpoint, part by part.

        Raises:
            KeyError: If the checkpoint has no such file.
        """
        if file not in info.files:
            raise KeyError(f"{info.name} has no file {file!r}; its files are {', '.join(sorted(info.files))}")
        return CheckedFile(self._filesystem, info, file, require_unchanged=lambda: self._require_unchanged(info))

    def remove(self, info: CheckpointInfo) -> None:
        """Delete a checkpoint; a kill in between never leaves a part of it listed. Gone already is as good.

        Raises:
            OSError: If it cannot be taken out of the list. It is then still whole.
        """
        hidden = parse_hidden_name(info.name)
        name = info.name if hidden is None else hidden.name
        # Those moved aside first: they would count again as soon as their name is free.
        doomed = displaced_names(self._filesystem.list_names()).get(name, [])
        if hidden is None:
            doomed.append(name)
        delete_hidden(self._filesystem, hide(self._filesystem, doomed))

    def sweep(self, *, is_alone: bool = False) -> tuple[str, ...]:
        """Clear up after writers that died: put back what they moved aside, delete what they left unfinished.

        Only for the holder of the lock. Touches nothing but hidden names of exactly our pattern whose writer is dead,
        and deletes none that holds a file which is not ours.

        Args:
            is_alone: Whether the lock proves that every other writer is dead. Otherwise one is taken for alive while
                any process has its number, which in a container may be for ever.

        Returns:
            The hidden names that are gone, ascending.
        """
        try:
            before = self._filesystem.list_names()
        except FileNotFoundError:
            return ()
        put_back_displaced(self._filesystem, keys=self._keys, is_alone=is_alone)
        for name in stale_names(self._filesystem, is_alone=is_alone):
            discard(self._filesystem, name)
        return tuple(sorted({*before} - {*self._filesystem.list_names()}))

    def _gone(self) -> str:
        """Say where the directory was, if it is not there any more."""
        try:
            self._filesystem.list_names()
        except FileNotFoundError:
            return self._filesystem.describe()
        except OSError:  # Another trouble of the directory's, which the error itself tells.
            return ""
        return ""

    def _require_unchanged(self, info: CheckpointInfo) -> None:
        with contextlib.suppress(*UNREADABLE):
            now = read_info(self._filesystem, [info.name], keys=self._keys)
            # Not all of it: a NaN among the logs is no other NaN. Not the files alone: they may be the same once more.
            if now is None or _identity(now) != _identity(info):
                problem = "another process removed or replaced it while it was read"
                raise CheckpointNotFoundError(path=str(info.path), problem=problem, advice="Call it again.")


def _identity(info: CheckpointInfo) -> tuple[object, ...]:
    return info.run, info.step, info.created_at, info.files
