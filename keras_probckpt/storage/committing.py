"""How a checkpoint comes into being: staged under a hidden name, made durable, then renamed into place."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from keras_probckpt.errors import DamagedCheckpointError
from keras_probckpt.format.digest import Buffer, Digest
from keras_probckpt.format.manifest import MANIFEST_NAME, encode_manifest
from keras_probckpt.format.signature import KeyRing, SigningKey
from keras_probckpt.records import FileRecord, Manifest
from keras_probckpt.storage.filesystem import FileSystem
from keras_probckpt.storage.listing import UNREADABLE, read_info
from keras_probckpt.storage.names import holds_only_files_of_ours, is_file_of_ours, make_hidden_name

__all__ = ["plan_displacement", "publish", "stage", "undone_on_failure", "validate_files"]


def validate_files(files: Iterable[str]) -> None:
    """Refuse names that no file of a checkpoint has: sweeping leaves directories with foreign files alone.

    Raises:
        ValueError: With the name.
    """
    for file in files:
        if file == MANIFEST_NAME or not is_file_of_ours(file):
            raise ValueError(f"A checkpoint has no file named {file!r} (see format/SPEC.md). Nothing was written.")


def plan_displacement(filesystem: FileSystem, name: str, *, keys: KeyRing) -> str | None:
    """Choose where to move what has the checkpoint's name now; `None` if nothing has.

    Raises:
        FileExistsError: If it is not a checkpoint. It is somebody's, and stays.
    """
    if name not in filesystem.list_names():
        return None
    if not _holds_checkpoint(filesystem, name, keys=keys):
        raise FileExistsError("something of that name is there that is not a checkpoint, and it was left alone")
    return str(make_hidden_name(name, role="replaced"))


def stage(
    filesystem: FileSystem,
    staged: str,
    *,
    manifest: Manifest,
    files: Mapping[str, Sequence[Buffer]],
    key: SigningKey | None,
) -> Manifest:
    """Write a new directory with all files, the manifest last. All of it is durable on return.

    Returns:
        The manifest with the size and digest of each file.
    """
    filesystem.make_directory(staged)
    records = {file: _write(filesystem, f"{staged}/{file}", chunks) for file, chunks in files.items()}
    complete = dataclasses.replace(manifest, files=records)
    _write(filesystem, f"{staged}/{MANIFEST_NAME}", [encode_manifest(complete, key=key)])
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


def _holds_checkpoint(filesystem: FileSystem, name: str, *, keys: KeyRing) -> bool:
    try:
        return read_info(filesystem, [name], keys=keys) is not None
    except DamagedCheckpointError:
        return holds_only_files_of_ours(filesystem, name)
    except UNREADABLE:
        return True


def _write(filesystem: FileSystem, name: str, chunks: Iterable[Buffer]) -> FileRecord:
    size_bytes = 0
    digest = Digest()

    def digested() -> Iterator[Buffer]:
        nonlocal size_bytes
        for chunk in chunks:
            digest.update(chunk)
            size_bytes += memoryview(chunk).nbytes
            yield chunk

    filesystem.write(name, digested())
    filesystem.sync(name)
    return FileRecord(size_bytes=size_bytes, blake3=digest.hexdigest())


def _move(filesystem: FileSystem, source: str, target: str, *, undo: contextlib.ExitStack) -> None:
    # Registered first: an interrupt that comes just after the rename must not leave it done.
    undo.callback(_move_back, filesystem, source, target)
    filesystem.rename(source, target)


def _move_back(filesystem: FileSystem, source: str, target: str) -> None:
    with contextlib.suppress(OSError):
        filesystem.rename(target, source)


def _remove(filesystem: FileSystem, staged: str) -> None:
    with contextlib.suppress(OSError):
        filesystem.remove(staged)
