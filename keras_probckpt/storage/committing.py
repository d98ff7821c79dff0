"""How a checkpoint comes into being: staged under a hidden name, made durable, then renamed into place."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from keras_probckpt.errors import DamagedCheckpointError
from keras_probckpt.format.digest import Buffer, Digest
from keras_probckpt.format.manifest import MANIFEST_NAME, encode_manifest
from keras_probckpt.format.signature import KeyRing, SigningKey
from keras_probckpt.records import FileRecord, Manifest
from keras_probckpt.storage.filesystem import FileSystem
from keras_probckpt.storage.listing import UNREADABLE, counts, read_info
from keras_probckpt.storage.names import holds_only_files_of_ours, is_file_of_ours, make_hidden_name

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["plan_displacement", "publish", "require_room", "stage", "undone_on_failure", "validate_files"]

_BLOCK_BYTES = 4096

# Below, starting a thread takes longer than digesting.
_SMALLEST_FOR_A_THREAD_BYTES = 1024 * 1024


def validate_files(files: Iterable[str]) -> None:
    """Refuse names that no file of a checkpoint has: sweeping leaves directories with foreign files alone.

    Raises:
        ValueError: With the name.
    """
    for file in files:
        if file == MANIFEST_NAME or not is_file_of_ours(file):
            raise ValueError(f"A checkpoint has no file named {file!r} (see format/SPEC.md). Nothing was written.")


def require_room(filesystem: FileSystem, files: Mapping[str, Sequence[Buffer]]) -> None:
    """Refuse to begin what cannot end: an estimate, since others write to the same disk.

    Raises:
        OSError: If the file system has less room than the files take. It says both.
    """
    content_bytes = sum(memoryview(chunk).nbytes for chunks in files.values() for chunk in chunks)
    # Beside the files: the manifest, the directory, and what each leaves empty of its last block.
    needed_bytes = content_bytes + (len(files) + 2) * _BLOCK_BYTES
    free_bytes = filesystem.free_bytes()
    if free_bytes is not None and free_bytes < needed_bytes:
        shortage = f"{os.strerror(errno.ENOSPC)}: it needs {needed_bytes} bytes, and {free_bytes} are free there"
        raise OSError(errno.ENOSPC, shortage)


def plan_displacement(filesystem: FileSystem, name: str, *, run: str, keys: KeyRing) -> str | None:
    """Choose where to move what has the checkpoint's name now; `None` if nothing has.

    Raises:
        FileExistsError: If it is not a checkpoint of the run. It is somebody's, and stays.
    """
    if name not in filesystem.list_names():
        return None
    problem = _reason_to_keep(filesystem, name, run=run, keys=keys)
    if problem:
        raise FileExistsError(f"something of that name is there that is {problem}, and it was left alone")
    return str(make_hidden_name(name, role="replaced"))


def stage(
    filesystem: FileSystem,
    staged: str,
    *,
    manifest: Manifest,
    files: Mapping[str, list[Buffer]],
    key: SigningKey | None,
) -> Manifest:
    """Write a new directory with all files, the manifest last. All of it is durable on return.

    The lists of buffers are emptied meanwhile.

    Returns:
        The manifest with the size and digest of each file.
    """
    filesystem.make_directory(staged)
    # A disk leaves the processor time, and what is digested is what was given to be written.
    is_large = sum(map(_size_of, files.values())) >= _SMALLEST_FOR_A_THREAD_BYTES
    with _Digests(is_beside=is_large) as digests:
        for file, chunks in files.items():
            filesystem.write(f"{staged}/{file}", digests.of_written(file, chunks))
        for file in files:
            filesystem.sync(f"{staged}/{file}")
    complete = dataclasses.replace(manifest, files=digests.records())
    filesystem.write(f"{staged}/{MANIFEST_NAME}", [encode_manifest(complete, key=key)])
    filesystem.sync(f"{staged}/{MANIFEST_NAME}")
    # Entries first: a rename that outlives the power cut must not reveal a directory whose own entries did not.
    filesystem.sync(staged)
    return complete


def publish(
    filesystem: FileSystem, staged: str, *, name: str, displaced: str | None, undo: contextlib.ExitStack
) -> None:
    """Give a staged directory its name, which is the commit; it is durable on return.

    Args:
        filesystem: Where both are.
        staged: The complete directory.
        name: Its name from now on.
        displaced: Where to move what has that name now.
        undo: Takes what puts everything back if this, or what follows it, fails.
    """
    if displaced is not None:
        _move(filesystem, name, displaced, undo=undo)
    _move(filesystem, staged, name, undo=undo)
    filesystem.sync("")


@contextlib.contextmanager
def undone_on_failure(filesystem: FileSystem, staged: str) -> Iterator[contextlib.ExitStack]:
    """Run a commit; if it fails or is interrupted, put back what it moved and delete what it staged.

    That is done as far as it can be, and a failure in it never hides the first one: sweep does the rest.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(_remove, filesystem, staged)
        yield undo
        undo.pop_all()


def _reason_to_keep(filesystem: FileSystem, name: str, *, run: str, keys: KeyRing) -> str:
    """Say why what has a name must not make room for a checkpoint of a run; nothing if it may."""
    try:
        info = read_info(filesystem, [name], keys=keys)
    except DamagedCheckpointError:
        return "" if holds_only_files_of_ours(filesystem, name) else "not a checkpoint"
    except UNREADABLE:
        return "not a checkpoint of this run"
    if info is None:
        return "not a checkpoint"
    return "" if info.run == run and counts(info, keys=keys) else "not a checkpoint of this run"


class _Digests:
    """Digests files chunk by chunk behind the writing, and lets go of each chunk then.

    Args:
        is_beside: Whether in a thread of its own, which the end of the block waits for; also after a failure, for the
            caller may change the buffers once it has heard of it.
    """

    def __init__(self, *, is_beside: bool) -> None:
        self._states: dict[str, Digest] = {}
        self._sizes_bytes: dict[str, int] = {}
        self._written: queue.SimpleQueue[tuple[Digest, list[Buffer]] | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="keras_probckpt-digest")
        self._is_beside = is_beside and _starts(self._thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_beside:
            self._written.put(None)
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def of_written(self, file: str, chunks: list[Buffer]) -> Iterator[Buffer]:
        """Yield the chunks of a file for it to be written, and take each out of the list when the next is asked for."""
        state = self._states[file] = Digest()
        self._sizes_bytes[file] = _size_of(chunks)
        chunks.reverse()  # The end of a list is where taking out costs nothing.
        taken: list[Buffer] = []
        taken_bytes = 0
        while chunks:
            yield chunks[-1]
            taken_bytes += memoryview(chunks[-1]).nbytes
            taken.append(chunks.pop())
            if not chunks or taken_bytes >= _SMALLEST_FOR_A_THREAD_BYTES:
                self._digest(state, taken)
                taken, taken_bytes = [], 0

    def records(self) -> dict[str, FileRecord]:
        """Give size and digest of each file, once all is written and the block has ended."""
        return {
            file: FileRecord(size_bytes=self._sizes_bytes[file], blake3=state.hexdigest())
            for file, state in self._states.items()
        }

    def _digest(self, state: Digest, chunks: list[Buffer]) -> None:
        if self._is_beside:
            self._written.put((state, chunks))
            return
        for chunk in chunks:
            state.update(chunk)

    def _work(self) -> None:
        try:
            while (item := self._written.get()) is not None:
                state, chunks = item
                chunks.reverse()
                while chunks:
                    state.update(chunks.pop())
                del item, state, chunks
        except BaseException as error:  # noqa: BLE001 - raised where the checkpoint is written
            self._failure = error


def _starts(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError:  # The process may have no more threads, and while the interpreter ends there are none.
        return False
    return True


def _size_of(chunks: Iterable[Buffer]) -> int:
    return sum(memoryview(chunk).nbytes for chunk in chunks)


def _move(filesystem: FileSystem, source: str, target: str, *, undo: contextlib.ExitStack) -> None:
    # Registered first: an interrupt that comes just after the rename must not leave it done.
    undo.callback(_move_back, filesystem, source, target)
    filesystem.rename(source, target)


def _move_back(filesystem: FileSystem, source: str, target: str) -> None:
    with contextlib.suppress(OSError):
        filesystem.rename(target, source)


def _remove(filesystem: FileSystem, staged: str) -> None:
    with contextlib.suppress(OSError):
        # The moves back first: a power cut must not undo them and reveal a directory whose files are going.
        filesystem.sync("")
        filesystem.remove(staged)
