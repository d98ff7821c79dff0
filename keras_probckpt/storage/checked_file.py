"""One file of a checkpoint, read part by part and compared with what the manifest records of it."""

from __future__ import annotations

from collections.abc import Callable

from keras_probckpt.errors import DamagedCheckpointError
from keras_probckpt.format.digest import Digest
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.storage.filesystem import FileSystem
from keras_probckpt.storage.listing import problem_of

__all__ = ["CheckedFile"]

# Below, starting threads takes longer than they save.
_SMALLEST_ON_ALL_CORES_BYTES = 1024 * 1024
_PART_BYTES = 16 * 1024 * 1024


class CheckedFile:
    """A file that is read from its first byte to its last, each into fresh memory and into the digest.

    What was read may be used once `verify` has returned, and not before.

    Args:
        filesystem: Where it is.
        info: The checkpoint it belongs to.
        file: Its name there.
        require_unchanged: Raises if the checkpoint was removed or replaced: then no file of it is called damaged.
    """

    def __init__(
        self, filesystem: FileSystem, info: CheckpointInfo, file: str, *, require_unchanged: Callable[[], None]
    ) -> None:
        self._filesystem = filesystem
        self._info = info
        self._file = file
        self._require_unchanged = require_unchanged
        self.size_bytes = info.files[file].size_bytes
        self._digest = Digest(on_all_cores=self.size_bytes >= _SMALLEST_ON_ALL_CORES_BYTES)
        self._position = 0

    def read(self, start: int, stop: int) -> memoryview:
        """Read the bytes from where the last part ended, which is `start`, up to `stop`, into aligned memory.

        Raises:
            DamagedCheckpointError: If the file is missing, cannot be read, or is of another size than recorded.
            CheckpointNotFoundError: If another process removed or replaced the checkpoint meanwhile.
            ValueError: If `start` is not where the last part ended.
        """
        if start != self._position:
            raise ValueError(f"{self._file} is read from byte {self._position} on, not from {start}: each byte once.")
        name = f"{self._info.name}/{self._file}"
        try:
            data = self._filesystem.read_buffer(name, size_bytes=self.size_bytes, start=start, stop=stop)
        except OSError as error:
            self._require_unchanged()
            raise self._damaged(problem_of(error)) from error
        self._digest.update(data)
        self._position = stop
        return data

    def verify(self) -> None:
        """Compare every byte of the file with what was written, those that were not read so far included.

        Raises:
            DamagedCheckpointError: If the digest is not the recorded one.
            CheckpointNotFoundError: If another process removed or replaced the checkpoint meanwhile.
        """
        while self._position < self.size_bytes:  # Part by part: it may be larger than what memory is left.
            self.read(self._position, min(self._position + _PART_BYTES, self.size_bytes))
        recorded, found = self._info.files[self._file].blake3, self._digest.hexdigest()
        if found != recorded:
            self._require_unchanged()
            raise self._damaged(f"the manifest records blake3 {recorded}, the file holds {found}")

    def _damaged(self, problem: str) -> DamagedCheckpointError:
        return DamagedCheckpointError(path=str(self._info.path), file=self._file, problem=problem)
