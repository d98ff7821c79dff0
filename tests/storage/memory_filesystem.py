"""Doubles of the file-system port: one in memory that knows what a power cut may lose, one that fails on demand."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable, Iterable

from keras_probckpt.format.digest import Buffer
from keras_probckpt.storage.filesystem import FileSystem, aligned_buffer
from tests.storage.passing_filesystem import PassingFileSystem


@dataclasses.dataclass(eq=False)
class _File:
    versions: list[bytes] = dataclasses.field(default_factory=lambda: [b""])


@dataclasses.dataclass(eq=False)
class _Directory:
    versions: list[dict[str, _File | _Directory]] = dataclasses.field(default_factory=lambda: [{}])

    @property
    def entries(self) -> dict[str, _File | _Directory]:
        """What it holds now."""
        return self.versions[-1]

    def put(self, name: str, node: _File | _Directory) -> None:
        """Add an entry."""
        self.versions.append({**self.entries, name: node})

    def drop(self, name: str) -> None:
        """Take an entry out."""
        self.versions.append({other: node for other, node in self.entries.items() if other != name})


class MemoryFileSystem:
    """A tree in memory. Each file and directory remembers every state since its last `sync`, the synced one first.

    A power cut leaves each of them in any one of those states: that much POSIX allows, when a file system keeps the
    order of changes within one directory, and nothing else.
    """

    def __init__(self) -> None:
        self._root = _Directory()
        self.room_bytes: int | None = None

    def make_directory(self, name: str) -> None:
        """Create a directory; see `FileSystem`."""
        self._create(name, _Directory())

    def write(self, name: str, chunks: Iterable[Buffer]) -> None:
        """Create a file; see `FileSystem`."""
        file = _File()
        self._create(name, file)
        for chunk in chunks:
            file.versions.append(file.versions[-1] + bytes(chunk))

    def sync(self, name: str) -> None:
        """Make durable; see `FileSystem`."""
        node = self._find(name)
        del node.versions[:-1]

    def rename(self, source: str, target: str) -> None:
        """Move to a free name; see `FileSystem`."""
        node = self._find(source)
        source_parent, source_last = self._parent(source)
        target_parent, target_last = self._parent(target)
        if target_last in target_parent.entries:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        if source_parent is target_parent:
            kept = {name: other for name, other in source_parent.entries.items() if name != source_last}
            source_parent.versions.append({**kept, target_last: node})
        else:
            target_parent.put(target_last, node)
            source_parent.drop(source_last)

    def remove(self, name: str) -> None:
        """Delete; see `FileSystem`."""
        if not name:
            raise ValueError("the root cannot be removed")
        self._find(name)
        parent, last = self._parent(name)
        parent.drop(last)

    def list_names(self, name: str = "") -> list[str]:
        """Name what is there; see `FileSystem`."""
        node = self._find(name)
        if isinstance(node, _File):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        return list(node.entries)

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        """Give the bytes; see `FileSystem`."""
        data = self._data(name)
        if len(data) > limit_bytes:
            raise OSError(errno.EFBIG, f"it holds {len(data)} bytes, the limit is {limit_bytes}", name)
        return data

    def read_buffer(self, name: str, *, size_bytes: int, start: int = 0, stop: int | None = None) -> memoryview:
        """Give the bytes in fresh memory; see `FileSystem`."""
        data = self._data(name)
        if len(data) != size_bytes:
            raise OSError(errno.EINVAL, f"it holds {len(data)} bytes where {size_bytes} were written", name)
        part = data[start:stop]
        buffer = aligned_buffer(len(part))
        buffer[:] = part
        return buffer

    def free_bytes(self) -> int | None:
        """Tell what is free; see `FileSystem`."""
        return self.room_bytes

    def describe(self, name: str = "") -> str:
        """Name a place; see `FileSystem`."""
        return f"memory/{name}"

    def after_power_cut(self, *, choose: Callable[[int], int]) -> MemoryFileSystem:
        """Give what a power cut leaves; `choose(n)` picks, for each file and directory, one of its n states."""
        survivor = MemoryFileSystem()
        survivor._root = _survivor_of(self._root, choose)
        return survivor

    def damage(self, name: str, data: bytes) -> None:
        """Replace a file's bytes behind everybody's back."""
        file = self._find(name)
        assert isinstance(file, _File)
        file.versions = [data]

    def _data(self, name: str) -> bytes:
        node = self._find(name)
        if isinstance(node, _Directory):
            raise OSError(errno.EINVAL, "it is not a regular file", name)
        return node.versions[-1]

    def _create(self, name: str, node: _File | _Directory) -> None:
        parent, last = self._parent(name)
        if last in parent.entries:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        parent.put(last, node)

    def _parent(self, name: str) -> tuple[_Directory, str]:
        _parts(name)
        before, _, last = name.rpartition("/")
        parent = self._find(before)
        if not isinstance(parent, _Directory):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        return parent, last

    def _find(self, name: str) -> _File | _Directory:
        node: _File | _Directory = self._root
        for part in _parts(name):
            if isinstance(node, _File):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
            if part not in node.entries:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            node = node.entries[part]
        return node


class PowerCutError(BaseException):
    """The process is no more: nothing in it can catch this and go on."""


class FaultyFileSystem(PassingFileSystem):
    """Another file system that keeps a log of what changes it, and fails at one of those operations.

    Args:
        inner: Where everything is done.
        fails_at: Number of the operation, from 0, that is done in part and then fails; `None` for none.
        dies: Whether it fails as a killed process does: with this operation and every later one.
        error: What is raised otherwise.
        part: How much of that operation is done: of a write its bytes, of a removal its files, of any other nothing
            below 1.0. 0.0 is the moment before it, 1.0 the moment after.
    """

    def __init__(
        self,
        inner: FileSystem,
        *,
        fails_at: int | None = None,
        dies: bool = False,
        error: BaseException | None = None,
        part: float = 0.5,
    ) -> None:
        super().__init__(inner)
        self._fails_at = fails_at
        self._dies = dies
        self._part = part
        self._error = error or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.log: list[str] = []

    def make_directory(self, name: str) -> None:
        """Create a directory; see `FileSystem`."""
        self._do(f"make_directory {name}", lambda: self._inner.make_directory(name))

    def write(self, name: str, chunks: Iterable[Buffer]) -> None:
        """Create a file; see `FileSystem`."""
        data = b"".join(bytes(chunk) for chunk in chunks)

        def write(part: float = 1.0) -> None:
            self._inner.write(name, [data[: int(len(data) * part)]])

        self._do(f"write {name}", write, partly=write)

    def sync(self, name: str) -> None:
        """Make durable; see `FileSystem`."""
        self._do(f"sync {name}", lambda: self._inner.sync(name))

    def rename(self, source: str, target: str) -> None:
        """Move to a free name; see `FileSystem`."""
        self._do(f"rename {source} {target}", lambda: self._inner.rename(source, target))

    def remove(self, name: str) -> None:
        """Delete; see `FileSystem`."""
        self._do(f"remove {name}", lambda: self._inner.remove(name), partly=lambda part: self._remove_part(name, part))

    def _remove_part(self, name: str, part: float) -> None:
        names = sorted(self._inner.list_names(name))
        for file in names[: int(len(names) * part)]:
            self._inner.remove(f"{name}/{file}")

    def _do(
        self, operation: str, whole: Callable[[], None], *, partly: Callable[[float], None] = lambda _part: None
    ) -> None:
        number = len(self.log)
        self.log.append(operation)
        if number == self._fails_at:
            self._do_part(whole, partly)
            raise PowerCutError if self._dies else self._error
        if self._dies and self._fails_at is not None and number > self._fails_at:
            raise PowerCutError
        whole()

    def _do_part(self, whole: Callable[[], None], partly: Callable[[float], None]) -> None:
        if self._part >= 1.0:
            whole()
        elif self._part > 0.0:
            partly(self._part)


def _parts(name: str) -> list[str]:
    parts = name.split("/") if name else []
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise ValueError(f"{name!r} is not a name within the root")
    return parts


def _survivor_of(directory: _Directory, choose: Callable[[int], int]) -> _Directory:
    entries: dict[str, _File | _Directory] = {}
    for name, node in directory.versions[choose(len(directory.versions))].items():
        if isinstance(node, _File):
            entries[name] = _File([node.versions[choose(len(node.versions))]])
        else:
            entries[name] = _survivor_of(node, choose)
    return _Directory([entries])
