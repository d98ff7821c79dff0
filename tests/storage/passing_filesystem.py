"""A file system that has another one do everything: the base of those that do something else at times."""

from __future__ import annotations

from collections.abc import Iterable

from keras_probckpt.format.digest import Buffer
from keras_probckpt.storage.filesystem import FileSystem


class PassingFileSystem:
    """Passes every operation on.

    Args:
        inner: Where everything is done.
    """

    def __init__(self, inner: FileSystem) -> None:
        self._inner = inner

    def make_directory(self, name: str) -> None:
        """Create a directory; see `FileSystem`."""
        self._inner.make_directory(name)

    def write(self, name: str, chunks: Iterable[Buffer]) -> None:
        """Create a file; see `FileSystem`."""
        self._inner.write(name, chunks)

    def sync(self, name: str) -> None:
        """Make durable; see `FileSystem`."""
        self._inner.sync(name)

    def rename(self, source: str, target: str) -> None:
        """Move to a free name; see `FileSystem`."""
        self._inner.rename(source, target)

    def remove(self, name: str) -> None:
        """Delete; see `FileSystem`."""
        self._inner.remove(name)

    def list_names(self, name: str = "") -> list[str]:
        """Name what is there; see `FileSystem`."""
        return self._inner.list_names(name)

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        """Give the bytes; see `FileSystem`."""
        return self._inner.read(name, limit_bytes=limit_bytes)

    def read_buffer(self, name: str, *, size_bytes: int, start: int = 0, stop: int | None = None) -> memoryview:
        """Give the bytes in fresh memory; see `FileSystem`."""
        return self._inner.read_buffer(name, size_bytes=size_bytes, start=start, stop=stop)

    def free_bytes(self) -> int | None:
        """Tell what is free; see `FileSystem`."""
        return self._inner.free_bytes()

    def describe(self, name: str = "") -> str:
        """Name a place; see `FileSystem`."""
        return self._inner.describe(name)
