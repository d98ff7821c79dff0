"""The one writer of a run directory, and the checkpoints of its own run."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import pathlib
import secrets
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from keras_probckpt.errors import RunLockedError
from keras_probckpt.format.digest import Buffer
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.records import CheckpointInfo, Manifest
from keras_probckpt.storage.commit_hooks import CommitHooks
from keras_probckpt.storage.filesystem import FileSystem, LocalFileSystem
from keras_probckpt.storage.keys import load_or_create_keys
from keras_probckpt.storage.lock import DirectoryLock
from keras_probckpt.storage.names import with_suffix
from keras_probckpt.storage.store import CheckpointStore
from keras_probckpt.storage.writer import BackgroundWriter

__all__ = ["Planned", "RunWriter", "Save"]

_logger = logging.getLogger("keras_probckpt")

# Of the writers of this process, who writes where.
_WRITERS: weakref.WeakValueDictionary[pathlib.Path, RunWriter] = weakref.WeakValueDictionary()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Save:
    """A checkpoint that is asked for and not committed yet; the rules rank it as one that is.

    Attributes:
        name: Name of its directory.
        manifest: What to say of it.
        encode: Lays its content out as files, for `CheckpointStore.commit`. Called once, by whoever writes it; memory
            that it refers to is to be free when it is written.
        size_bytes: Memory that it keeps from being freed.
        is_exempt: Whether the rules wait for the next save: this one is never dropped, and nothing is removed for it.
    """

    name: str
    manifest: Manifest
    encode: Callable[[], Mapping[str, list[Buffer]]]
    size_bytes: int
    is_exempt: bool = False

    @property
    def step(self) -> int:
        """Completed optimizer updates."""
        return self.manifest.step

    @property
    def epoch(self) -> int | None:
        """Number of its epoch, counted from 1; `None` outside of `fit`."""
        return self.manifest.epoch

    @property
    def batch(self) -> int | None:
        """Completed batches of that epoch; `None` at its end."""
        return self.manifest.batch

    @property
    def logs(self) -> Mapping[str, float]:
        """The metrics known at the save, by name."""
        return self.manifest.logs


Planned: TypeAlias = CheckpointInfo | Save


class RunWriter:
    """Writes one run into a directory that it alone writes to, from `open` until `close`.

    A later writer of the same thread takes the directory over from one that has ended, which says so if it is used
    again: in a notebook the earlier one may live on in the traceback of a training that failed. Another thread's, and
    one whose training still runs, keeps the directory.

    Args:
        directory: The run directory, absolute; `open` creates it where it is missing.
        choose_removals: Which of the checkpoints of a run, committed or asked for, no rule wants.
        on_commit: Called with each checkpoint once it is durable, by the thread that wrote it; see `CommitHooks`.
        is_background: Whether `submit` returns before the checkpoint is durable.
        open_filesystem: Gives the file system of a directory.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        choose_removals: Callable[[Sequence[Any]], Sequence[Any]] = lambda _: (),
        on_commit: Iterable[Callable[[CheckpointInfo], object]] = (),
        is_background: bool = False,
        open_filesystem: Callable[[pathlib.Path], FileSystem] = LocalFileSystem,
    ) -> None:
        self.directory = directory
        self.run = secrets.token_hex(4)
        self._choose_removals = choose_removals
        self._hooks = CommitHooks(on_commit)
        self._open_filesystem = open_filesystem
        self._background: BackgroundWriter[Save] = BackgroundWriter(is_background=is_background)
        # Each replaced whole: another thread may be reading it. The second is written by two, each time as the disk is.
        self._infos: Mapping[str, CheckpointInfo] = {}
        self._gone: Sequence[CheckpointInfo] = ()
        self._abandoned: Sequence[CheckpointInfo] = ()
        self._lock = DirectoryLock(directory)
        self._store = CheckpointStore(open_filesystem(directory), keys=KeyRing())
        self._is_superseded = False
        self._thread = threading.current_thread()
        self.is_running: Callable[[], bool] = lambda: False
        """Tells whether the training that this writes for still runs, further up in the calling thread."""

    @property
    def infos(self) -> Sequence[CheckpointInfo]:
        """The committed checkpoints of this run, in the order of their commits, but those found to be gone."""
        return tuple(self._present().values())

    @property
    def planned(self) -> Sequence[Planned]:
        """The checkpoints of this run as they will be once all that was asked for is committed, in that order."""
        return tuple(self._planned().values())

    @property
    def last_step(self) -> int | None:
        """Step of the last checkpoint that was asked for and has not failed; None before the first."""
        unfinished = self._background.unfinished
        if unfinished:
            return unfinished[-1].step
        infos = tuple(self._infos.values())
        return infos[-1].step if infos else None

    @property
    def store(self) -> CheckpointStore:
        """What the directory holds, of every run."""
        return self._store

    def open(self) -> None:
        """Take the directory, and clear up after writers that died. What interrupts it leaves the directory free.

        Raises:
            RunLockedError: If another process writes there, or another training of this one.
            CheckpointWriteError: If nothing can be written there.
            InvalidKeyError: If the signing key is not one.
        """
        self.wait_until_finished()
        place = self.directory.resolve()  # One directory has many names: `..`, links.
        earlier = _WRITERS.get(place)
        if earlier is not None and earlier is not self:
            earlier._give_way()  # noqa: SLF001 - one of the same class
        self._thread = threading.current_thread()
        # First: whatever an interrupt leaves here, the next writer of this process finds it, and releases the lock.
        _WRITERS[place] = self
        try:
            if not self._lock.is_held:
                self._lock.acquire()
            self._is_superseded = False
            self._store = CheckpointStore(self._open_filesystem(self.directory), keys=load_or_create_keys())
            self._store.sweep(is_alone=self._lock.keeps_others_out)
        except BaseException:
            self._lock.release()
            raise

    def _give_way(self) -> None:
        """Let a later writer have the directory, unless what this writes for may still go on.

        Raises:
            RunLockedError: If it may.
        """
        if self._lock.is_held:
            if self._thread is not threading.current_thread() and self._thread.is_alive():
                holder = f"another callback or manager of this process, in its thread {self._thread.name!r}"
                raise RunLockedError(path=str(self.directory), holder=holder)
            if self.is_running():
                holder = "another callback of a fit that is still running"
                raise RunLockedError(path=str(self.directory), holder=holder)
        self.close()
        self._is_superseded = True

    def adopt(self, infos: Sequence[CheckpointInfo], *, abandoned: Sequence[CheckpointInfo] = ()) -> None:
        """Go on with a run that is there already.

        Args:
            infos: Its checkpoints in this directory up to the one that training goes on from, oldest first.
            abandoned: Those after it. They are no part of the run any more, and are removed once it has a new one.
        """
        self.run = infos[-1].run
        self._infos = {info.name: info for info in infos}
        self._abandoned = tuple(abandoned)

    def require_open(self) -> None:
        """Open, unless this is open already, and look for what of this run somebody has removed from the disk.

        Raises:
            RunLockedError: If a later writer of this process took over, or as `open` does.
        """
        if self._is_superseded:
            raise RunLockedError(path=str(self.directory), holder="a later callback or manager of this process")
        if not self._lock.is_held:
            self.open()
        self._notice_gone()

    def free_name(self, name: str) -> str:
        """Give the name that a checkpoint of this run can have: the given one, unless one of another run has it.

        No checkpoint of an older run, and none of others, makes room for a new one.
        """
        if name in self._planned() or not self._store.is_taken(name, run=self.run):
            return name
        suffixes = itertools.chain([self.run], (f"{self.run}-{number}" for number in itertools.count(2)))
        names = (with_suffix(name, suffix) for suffix in suffixes)
        return next(other for other in names if not self._store.is_taken(other, run=self.run))

    def submit(self, save: Save) -> None:
        """Have a checkpoint committed, and then removed what no rule wants any more. Errors wait in `take_failures`.

        Others that were asked for and are not begun yet are dropped if, with this one and all before it, no rule would
        want them; so is this one, if it would have to wait. Nothing is removed from the disk before what it is removed
        for is committed.
        """
        self._background.submit(save, do=self._write, choose_wanted=self._choose_wanted)

    def call_on_failure(self, function: Callable[[], None] | None) -> None:
        """Have a function, or none, called whenever a save has failed, by the thread that it failed in."""
        self._background.on_failure = function

    def take_failures(self) -> list[BaseException]:
        """Give what failed since the last call, oldest first. A save that failed has no part in `planned` any more."""
        return self._background.take_failures()

    def wait_until_finished(self) -> None:
        """Return once every save is committed or has failed."""
        self._background.wait_until_finished()

    def commit(self, name: str, *, manifest: Manifest, files: Mapping[str, list[Buffer]]) -> CheckpointInfo:
        """Write a checkpoint of this run; see `CheckpointStore.commit`."""
        self._require_lock()
        info = self._store.commit(name, manifest=manifest, files=files)
        self._infos = {**self._without(name), name: info}
        return info

    def remove(self, info: CheckpointInfo) -> None:
        """Delete a checkpoint of this run; see `CheckpointStore.remove`."""
        self._require_lock()
        self._store.remove(info)
        self._infos = self._without(info.name)

    def close(self) -> None:
        """Finish what was asked for and give the directory back; does nothing if it is not held."""
        self.wait_until_finished()
        self._lock.release()
        self._hooks.report()

    def _write(self, save: Save) -> None:
        info = self.commit(save.name, manifest=save.manifest, files=save.encode())
        self._hooks.call(info)
        if save.is_exempt:
            return
        # What a save of the same name has replaced is gone already.
        abandoned, self._abandoned = [old for old in self._abandoned if old.name not in self._infos], ()
        self._notice_gone()
        for unwanted in (*abandoned, *self._choose_removals(self.infos)):
            self.remove(unwanted)

    def _planned(self, *more: Save) -> dict[str, Planned]:
        # The unfinished first: what is committed between the two looks is then seen twice, and not never.
        unfinished = self._background.unfinished
        planned: dict[str, Planned] = dict(self._present())
        for save in (*unfinished, *more):
            planned.pop(save.name, None)
            planned[save.name] = save
        return planned

    def _choose_wanted(self, saves: Sequence[Save]) -> Sequence[Save]:
        planned = self._planned(*saves)
        unwanted = {id(item) for item in self._choose_removals(tuple(planned.values()))}
        return [save for save in saves if save.is_exempt or (planned[save.name] is save and id(save) not in unwanted)]

    def _present(self) -> Mapping[str, CheckpointInfo]:
        gone = {id(info) for info in self._gone}
        return {name: info for name, info in self._infos.items() if id(info) not in gone}

    def _notice_gone(self) -> None:
        """Look which checkpoints of this run are no longer there: the rules go by what there is."""
        known, before = self._infos, {id(info) for info in self._gone}
        names = self._store.names()
        self._gone = tuple(info for name, info in known.items() if name not in names)
        news = [info.name for info in self._gone if id(info) not in before]
        if news:
            _logger.warning(
                "Gone from %s, so the rules of this run count it no more: %s.", self.directory, ", ".join(news)
            )

    def _without(self, name: str) -> dict[str, CheckpointInfo]:
        return {other: info for other, info in self._infos.items() if other != name}

    def _require_lock(self) -> None:
        # A forked child has let go of the lock, and with it of its parent's checkpoints.
        if not self._lock.is_held:
            holder = "whoever opened it last, and not by this writer, which is closed or a forked copy"
            raise RunLockedError(path=str(self.directory), holder=holder)
