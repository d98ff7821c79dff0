"""What the storage tests commit: small, with every byte in sight."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import blake3

from keras_probckpt.format.signature import KeyRing, SigningKey
from keras_probckpt.records import Manifest
from keras_probckpt.storage.filesystem import FileSystem, LocalFileSystem
from keras_probckpt.storage.keys import load_or_create_keys
from keras_probckpt.storage.names import parse_hidden_name
from keras_probckpt.storage.store import CheckpointStore

OWN_KEYS = KeyRing((SigningKey(b"o" * 32),))
OTHER_KEYS = KeyRing((SigningKey(b"x" * 32),))

FIRST_RUN = "00000001"
SECOND_RUN = "00000002"

DEAD_PROCESS = 9999999999


def manifest_of(step: int, *, run: str = FIRST_RUN, run_number: int = 1) -> Manifest:
    """Describe a checkpoint of one step, its files still to be filled in."""
    return Manifest(
        run=run,
        run_number=run_number,
        step=step,
        epoch=step + 1,
        batch=None,
        logs={"val_loss": 1.0 / (1 + step)},
        objective=None,
        is_weights_only=False,
        created_at="2026-11-23T12:00:00+00:00",
        versions={"python": "3.11.0"},
        custom_metadata={},
        files={},
    )


def files_of(step: int) -> Mapping[str, Sequence[memoryview]]:
    """Give the files of that checkpoint: two, one of them in two chunks."""
    text = str(step).encode()
    return {
        "recipe.json": [memoryview(b'{"step":' + text + b"}")],
        "model.safetensors": [memoryview(b"header" + text), memoryview(b"weights" * 3)],
    }


def as_if_the_writer_died(filesystem: FileSystem) -> None:
    """Give every hidden directory a process id that no process has, as a later process would find it."""
    for name in filesystem.list_names():
        hidden = parse_hidden_name(name)
        if hidden is not None and hidden.process_id != DEAD_PROCESS:
            filesystem.rename(name, f".{hidden.name}.{hidden.role}-{DEAD_PROCESS}-{hidden.token}")


def names_in(directory: pathlib.Path) -> list[str]:
    """Name what a directory on disk holds, hidden names too."""
    return sorted(entry.name for entry in directory.iterdir())


def newer_manifest() -> bytes:
    """Give a manifest of format version 2: of later versions only the envelope is known."""
    return sealed_again(b'{"manifest":\n{"format_version": 2, "soul": null},\n"signature":"none",\n' + b"x" * 82)


def sealed_again(data: bytes) -> bytes:
    """Compute the seal of a manifest whose body was changed: 64 digits that need no secret."""
    sealed = data[: -len(b'"seal":"blake3:"}\n') - 64]
    return sealed + b'"seal":"blake3:' + blake3.blake3(sealed).hexdigest().encode() + b'"}\n'


def store_of(directory: pathlib.Path) -> CheckpointStore:
    """Give a store that signs with this user's key."""
    return CheckpointStore(LocalFileSystem(directory), keys=load_or_create_keys())
