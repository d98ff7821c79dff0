"""A double of the file-system port that stops before it writes, so that a save is pending as long as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from keras_probckpt.format.digest import Buffer
from keras_probckpt.storage.filesystem import FileSystem
from tests.storage.passing_filesystem import PassingFileSystem

# Only a test that would hang without it ever waits so long.
PATIENCE_SECONDS = 60.0


class HeldFileSystem(PassingFileSystem):
    """Another file system in which no file is written before `release`.

    Args:
        inner: Where everything is done.
    """

    def __init__(self, inner: FileSystem) -> None:
        super().__init__(inner)
        self._is_reached = threading.Event()
        self._is_released = threading.Event()

    def wait_until_held(self) -> None:
        """Return once somebody stands before a write."""
        assert self._is_reached.wait(PATIENCE_SECONDS)

    def release(self) -> None:
        """Let writes pass from now on."""
        self._is_released.set()

    def hold(self) -> None:
        """Stop the next write again."""
        self._is_reached.clear()
        self._is_released.clear()

    def write(self, name: str, chunks: Iterable[Buffer]) -> None:
        """Create a file once it may be; see `FileSystem`."""
        self._is_reached.set()
        assert self._is_released.wait(PATIENCE_SECONDS)
        self._inner.write(name, chunks)
