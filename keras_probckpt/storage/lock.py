"""One writer per run directory: the lock that a second one meets. Readers never do."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import io
import os
import pathlib
import socket
import sys
import types
import warnings
import weakref
from typing import TYPE_CHECKING

from keras_probckpt.errors import CheckpointWriteError, RunLockedError
from keras_probckpt.format import strict_json
from keras_probckpt.shown import shown
from keras_probckpt.storage.filesystem import make_directories
from keras_probckpt.storage.process import PROCESS_TOKEN, is_this_process

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LOCK_NAME", "DirectoryLock"]

LOCK_NAME = ".lock"

_LIMIT_HOLDER_BYTES = 4096
_NOTE_BEGINS = b'{"process":'
_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_CANNOT_LOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class DirectoryLock:
    """The right to write in one directory, held until `release`, the end of the process, or this object's.

    The kernel keeps it, as flock(2) on the file `.lock`: it ends with the process, however that ends, and it keeps out
    a second holder in the same process too. The file is never deleted: a writer that still had it open would go on
    holding a lock that nobody else can see.

    A fork shares the lock with its parent, so a child would hold it for as long as it lives. Each child of `os.fork`
    therefore closes its copy at once, and owns nothing: neither its `release` nor its end frees the parent's lock.

    Args:
        directory: The run directory. `acquire` creates it where it is missing.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        # An object, and no bare number: whatever an interrupt leaves it in, a later `release`, or its end, closes it.
        self._file: io.FileIO | None = None
        self._is_held = False
        self._keeps_others_out = False

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock in this process."""
        return self._is_held

    @property
    def keeps_others_out(self) -> bool:
        """Whether it is held, and by a file system that knows locks: then every other writer is dead."""
        return self._is_held and self._keeps_others_out

    def acquire(self) -> None:
        """Take the lock, at once or not at all.

        On a file system that knows no locks it warns and goes on without one. An interrupt leaves it not taken.

        Raises:
            RunLockedError: If another writer holds it, in this process or in another one.
            CheckpointWriteError: If the directory or the file in it cannot be written.
        """
        try:
            make_directories(self._directory)
            file = open(self._directory / LOCK_NAME, "r+b", buffering=0, opener=_open)  # noqa: SIM115 - kept
        except OSError as error:
            raise CheckpointWriteError(path=str(self._directory), problem=str(error)) from error
        try:
            self._lock(file.fileno())
            self._finish_release()  # Of one that was interrupted.
            self._file, self._is_held = file, True
            _held.add(self)
            _write_holder(file.fileno())
        except BaseException:
            if self._file is file:
                self._finish_release()
            _close(file)
            raise

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held. After an interrupt, the next call does the rest."""
        if self._is_held and self._file is not None:
            # Only politeness: an old name left in the file is shown to nobody but whom a new holder keeps out.
            with contextlib.suppress(OSError):
                _write_note(self._file.fileno(), b"")
        self._finish_release()

    def _finish_release(self) -> None:
        self._is_held = False
        _held.discard(self)
        if self._file is not None:
            _close(self._file)
            self._file = None

    def _lock(self, descriptor: int) -> None:
        self._keeps_others_out = True
        try:
            _lock(descriptor)
        except (BlockingIOError, PermissionError) as error:
            raise RunLockedError(path=str(self._directory), holder=_read_holder(descriptor)) from error
        except OSError as error:
            if error.errno not in _CANNOT_LOCK:
                raise CheckpointWriteError(path=str(self._directory), problem=f"no lock: {error}") from error
            self._keeps_others_out = False
            warnings.warn(
                f"The file system of {shown(self._directory)} has no locks ({shown(error.strerror)}), so a "
                "second writer would not be noticed. Go on, but start no other run in this directory before this one "
                "ends.",
                stacklevel=4,
            )

    def _forget(self) -> None:
        """Let go in a forked child. Closing does not unlock while the parent has the same open file."""
        self._is_held = False
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


_held: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


def _open(path: str, _flags: int) -> int:
    return os.open(path, _OPEN_FLAGS, 0o666)


def _close(file: io.FileIO) -> None:
    if not file.closed:
        _unlock(file.fileno())
    file.close()


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()  # noqa: SLF001 - the other half of the class, run by the interpreter
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)

if sys.platform == "win32":  # pragma: no cover
    # Windows denies others the locked bytes, so one is locked far behind the holder's name, which they want to read.
    _LOCKED_BYTE = 1 << 30

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        # Said outright, because closing frees nothing while a child that C code forked has the same open file.
        with contextlib.suppress(OSError):  # what could not be locked cannot be unlocked
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _write_holder(descriptor: int) -> None:
    holder = {
        "process": os.getpid(),
        "token": PROCESS_TOKEN,
        "host": socket.gethostname(),
        "since": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
    }
    with contextlib.suppress(OSError):  # the lock is held all the same, if the disk has no room for a name
        _write_note(descriptor, strict_json.dumps(holder))


def _write_note(descriptor: int, note: bytes) -> None:
    # Other programs lock with a file of this name too, and what they keep in it is theirs.
    found = _read_note(descriptor)
    if found and not found.startswith(_NOTE_BEGINS):
        return
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, note)


def _read_note(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, _LIMIT_HOLDER_BYTES)


def _read_holder(descriptor: int) -> str:
    """Say who holds the lock. The text is there to be read by people; nothing is decided by it."""
    try:
        holder = strict_json.loads(_read_note(descriptor), where=LOCK_NAME, limit_bytes=_LIMIT_HOLDER_BYTES)
        process, token, host, since = (holder[key] for key in ("process", "token", "host", "since"))
    except (OSError, ValueError, TypeError, KeyError):
        return "another process, which left no name"
    if is_this_process(process, token=token):
        return f"an earlier callback or manager of this process ({process}, since {since})"
    return f"process {process} on {host} since {since}"
