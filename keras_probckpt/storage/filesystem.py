"""The port to a file system: the few operations that the commit protocol is made of, and the local disk behind them."""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import pathlib
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import Protocol

from keras_probckpt.format.digest import Buffer

__all__ = ["BUFFER_ALIGNMENT_BYTES", "FileSystem", "LocalFileSystem", "aligned_buffer", "make_directories"]

BUFFER_ALIGNMENT_BYTES = 64
"""Alignment of the buffers that files are read into: TensorFlow adopts such memory without copying it."""

_HUGE_PAGE_BYTES = 2 * 1024 * 1024

# A FIFO in place of a file must not block the reader; what is opened is looked at before it is read.
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class FileSystem(Protocol):
    """Where a run is kept.

    Names are relative to the file system's root, parts separated by `/` ("step-1/manifest.json"); `""` is the root.
    No operation leaves the root: names with empty, `.` or `..` parts are a ValueError, and no link is followed.
    Failures are OSErrors: FileNotFoundError where something is missing, FileExistsError where something is in the way,
    NotADirectoryError where a directory was expected.
    """

    def make_directory(self, name: str) -> None:
        """Create a directory that is not there yet, in one that is."""
        ...

    def write(self, name: str, chunks: Iterable[Buffer]) -> None:
        """Create a file that is not there yet, with all chunks one after the other. Durable only after `sync`."""
        ...

    def sync(self, name: str) -> None:
        """Return once a file's bytes, or a directory's entries, outlive a power cut."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Move a file or a directory with all it holds, at once or not at all, to a name that is free."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file, or a directory with all it holds; a kill in between leaves a part of it."""
        ...

    def list_names(self, name: str = "") -> list[str]:
        """Name what a directory holds, in any order."""
        ...

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        """Return a file's bytes. One longer than the limit, or not a regular file, is refused before it is read."""
        ...

    def read_buffer(self, name: str, *, size_bytes: int, start: int = 0, stop: int | None = None) -> memoryview:
        """Read a file of exactly this size into fresh memory, writable and aligned to `BUFFER_ALIGNMENT_BYTES`.

        All of it, or the bytes from `start` up to `stop`.
        """
        ...

    def free_bytes(self) -> int | None:
        """Tell how much may still be written, by an estimate; `None` where that is not known."""
        ...

    def describe(self, name: str = "") -> str:
        """Say where a name is, for a message and for `CheckpointInfo.path`."""
        ...


class LocalFileSystem:
    """A directory of a mounted file system. New files and directories get the rights that the umask leaves.

    Args:
        root: The directory. It need not exist yet.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def make_directory(self, name: str) -> None:
        """Create a directory; see `FileSystem`."""
        self._locate(name).mkdir()

    def write(self, name: str, chunks: Iterable[Buffer]) -> None:
        """Create a file without copying the chunks; see `FileSystem`."""
        path = self._locate(name)
        with _naming(path), path.open("xb", buffering=0) as file:
            for chunk in chunks:
                _write_all(file, chunk)

    def sync(self, name: str) -> None:
        """Make a file or directory durable; see `FileSystem`."""
        path = self._locate(name)
        with _naming(path):
            _sync(path)

    def rename(self, source: str, target: str) -> None:
        """Move a file or directory to a free name; see `FileSystem`.

        The kernel has the last word for directories: it refuses a target that came into being meanwhile and holds
        anything. Two writers that could race for a name are kept apart by the lock.
        """
        final = self._locate(target)
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final))
        self._locate(source).rename(final)

    def remove(self, name: str) -> None:
        """Delete a file or a whole directory; of a link, only the link. See `FileSystem`."""
        path = self._locate(name)
        if not name:
            raise ValueError(f"The root {path} itself cannot be removed. Nothing was deleted; name something in it.")
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()

    def list_names(self, name: str = "") -> list[str]:
        """Name what a directory holds; see `FileSystem`."""
        path = self._locate(name)
        if name and path.is_symlink():
            raise _symbolic_link(path)
        return [entry.name for entry in path.iterdir()]

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        """Return a file's bytes; see `FileSystem`."""
        with self._open(name) as (file, size_bytes):
            if size_bytes > limit_bytes:
                problem = f"it holds {size_bytes} bytes, the limit is {limit_bytes}"
                raise OSError(errno.EFBIG, problem, self.describe(name))
            return bytes(_read_exactly(file, size_bytes=size_bytes))

    def read_buffer(self, name: str, *, size_bytes: int, start: int = 0, stop: int | None = None) -> memoryview:
        """Read a file, or a part of it, into fresh memory; see `FileSystem`."""
        with self._open(name) as (file, found_bytes):
            if found_bytes != size_bytes:
                problem = f"it holds {found_bytes} bytes where {size_bytes} were written"
                raise OSError(errno.EINVAL, problem, self.describe(name))
            file.seek(start)
            return _read_exactly(file, size_bytes=(size_bytes if stop is None else stop) - start)

    def free_bytes(self) -> int | None:
        """Tell how much is free for this user; see `FileSystem`."""
        try:
            usage = shutil.disk_usage(self._root)
        except OSError:
            return None  # the write itself will say what is wrong
        return usage.free if usage.total else None  # some network file systems say 0 to everything

    def describe(self, name: str = "") -> str:
        """Give the path; see `FileSystem`."""
        return str(self._root / name)

    def _locate(self, name: str) -> pathlib.Path:
        parts = name.split("/") if name else []
        for part in parts:
            if part in {"", ".", ".."} or "\0" in part or pathlib.PurePath(part).name != part:
                raise ValueError(f"{name!r} is not a name within {self._root}: its part {part!r} could leave it.")
        path = self._root
        for part in parts[:-1]:
            path /= part
            if path.is_symlink():
                raise _symbolic_link(path)
        return self._root.joinpath(*parts)

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[tuple[io.FileIO, int]]:
        path = self._locate(name)
        if path.is_symlink():
            # Where O_NOFOLLOW exists it refuses too, but with words that nobody understands.
            raise OSError(errno.ELOOP, "it is a symbolic link, not a file of its own", str(path))
        with _naming(path), open(path, "rb", buffering=0, opener=_open_for_reading) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file", str(path))
            yield file, status.st_size


def aligned_buffer(size_bytes: int) -> memoryview:
    """Allocate fresh memory that starts at a multiple of BUFFER_ALIGNMENT_BYTES: whole pages, of this process alone."""
    if size_bytes == 0:
        return memoryview(bytearray())
    if sys.platform == "win32":  # pragma: no cover
        return memoryview(mmap.mmap(-1, size_bytes))
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux" and size_bytes >= _HUGE_PAGE_BYTES:
        # Most of the time of a large read goes into one page fault for each 4 KiB; NumPy asks the same for its arrays.
        with contextlib.suppress(OSError):  # Kernels may be built without.
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


def make_directories(path: pathlib.Path) -> None:
    """Create a directory and those missing above it, durably: a checkpoint is only as safe as what leads to it."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for directory in missing:
        _sync(directory.parent)


def _open_for_reading(path: str, _flags: int) -> int:
    return os.open(path, _READ_FLAGS)


def _symbolic_link(path: pathlib.Path) -> NotADirectoryError:
    return NotADirectoryError(errno.ENOTDIR, "it is a symbolic link, not a directory of its own", str(path))


@contextlib.contextmanager
def _naming(path: pathlib.Path) -> Iterator[None]:
    """Let an error of an operation on a descriptor say which file it was about."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _write_all(file: io.FileIO, chunk: Buffer) -> None:
    view = memoryview(chunk)
    if not view.nbytes:
        return  # a view with a zero in its shape cannot be cast
    view = view.cast("B")
    while view.nbytes:
        # One call writes at most 2 GiB on Linux, and less on a disk that is nearly full.
        view = view[file.write(view) :]


def _read_exactly(file: io.FileIO, *, size_bytes: int) -> memoryview:
    buffer = aligned_buffer(size_bytes)
    rest = buffer
    while rest.nbytes:
        count = file.readinto(rest)
        if not count:
            problem = f"it ended {rest.nbytes} bytes before its size of {size_bytes}"
            raise OSError(errno.EIO, problem)
        rest = rest[count:]
    return buffer


def _sync(path: pathlib.Path) -> None:
    """Make a file or a directory durable.

    Source: POSIX fsync(2), which promises nothing of power cuts; what is done here is what borg and
    SQLite agree on. macOS needs F_FULLFSYNC for the drive's own cache. Windows gives no handle on directories.
    """
    is_directory = path.is_dir()
    if sys.platform == "win32" and is_directory:  # pragma: no cover
        return
    flags = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
    descriptor = os.open(path, flags)
    try:
        _flush(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a directory and say EINVAL; any other refusal is a loss of data.
        if not (is_directory and error.errno == errno.EINVAL):
            raise
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    if sys.platform == "darwin":  # pragma: no cover
        import fcntl  # noqa: PLC0415 - there is none on Windows

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:
            os.fsync(descriptor)  # file systems other than Apple's may not know it
    else:
        os.fsync(descriptor)
