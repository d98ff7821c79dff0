"""Fixtures of the storage tests."""

from __future__ import annotations

import pathlib

import pytest

from keras_probckpt.storage.store import CheckpointStore
from tests.storage.memory_filesystem import MemoryFileSystem
from tests.storage.samples import OWN_KEYS, files_of, manifest_of, store_of


@pytest.fixture
def filesystem() -> MemoryFileSystem:
    """Give an empty run directory."""
    return MemoryFileSystem()


@pytest.fixture
def store(filesystem: MemoryFileSystem) -> CheckpointStore:
    """Give the store of that directory."""
    return CheckpointStore(filesystem, keys=OWN_KEYS)


@pytest.fixture
def run(tmp_path: pathlib.Path) -> pathlib.Path:
    """Give a run directory with steps 1 and 2."""
    directory = tmp_path / "runs" / "exp1"
    directory.mkdir(parents=True)
    store = store_of(directory)
    for step in (1, 2):
        store.commit(f"step-{step:010d}", manifest=manifest_of(step), files=files_of(step))
    return directory
