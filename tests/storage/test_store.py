from __future__ import annotations

import pathlib
import threading
import time
import weakref
from collections.abc import Iterable

import numpy as np
import pytest

from keras_probckpt.errors import (
    CheckpointWriteError,
)
from keras_probckpt.format.digest import Buffer, digest_hex
from keras_probckpt.format.manifest import decode_manifest
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.records import FileRecord
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.store import CheckpointStore
from tests.storage.held_filesystem import PATIENCE_SECONDS, HeldFileSystem
from tests.storage.memory_filesystem import FaultyFileSystem, MemoryFileSystem
from tests.storage.samples import (
    FIRST_RUN,
    OTHER_KEYS,
    OWN_KEYS,
    SECOND_RUN,
    as_if_the_writer_died,
    files_of,
    manifest_of,
    newer_manifest,
)


def test_a_commit_gives_what_a_later_reader_finds(store: CheckpointStore, filesystem: MemoryFileSystem) -> None:
    """The same record, with size and digest of every file."""
    committed = store.commit("step-1", manifest=manifest_of(1), files={"model.safetensors": [b"ab", b"c"]})

    assert store.open("step-1") == committed
    assert store.scan().checkpoints == (committed,)
    assert committed.path == pathlib.Path("memory/step-1")
    assert committed.signature == "own"
    assert dict(committed.files) == {
        "model.safetensors": FileRecord(
            size_bytes=3, blake3="6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        )
    }
    assert filesystem.list_names() == ["step-1"]
    assert sorted(filesystem.list_names("step-1")) == ["manifest.json", "model.safetensors"]


def test_a_commit_on_disk_is_a_directory_of_plain_files(tmp_path: pathlib.Path) -> None:
    """What the double does, the disk does."""
    store = CheckpointStore(LocalFileSystem(tmp_path), keys=OWN_KEYS)

    committed = store.commit("step-1", manifest=manifest_of(1), files=files_of(1))

    assert committed.path == tmp_path / "step-1"
    assert (tmp_path / "step-1" / "model.safetensors").read_bytes() == b"header1weightsweightsweights"
    assert bytes(store.read_file(store.open("step-1"), "recipe.json")) == b'{"step":1}'


def test_each_step_is_durable_before_the_next_relies_on_it(filesystem: MemoryFileSystem) -> None:
    """Files, then the manifest, then the directory's entries, then the rename, then the parent's entries."""
    recorder = FaultyFileSystem(filesystem)

    CheckpointStore(recorder, keys=OWN_KEYS).commit("new", manifest=manifest_of(1), files=files_of(1))

    staged = recorder.log[0].removeprefix("make_directory ")
    assert staged.startswith(".new.partial-")
    assert recorder.log == [
        f"make_directory {staged}",
        f"write {staged}/recipe.json",
        f"write {staged}/model.safetensors",
        f"sync {staged}/recipe.json",
        f"sync {staged}/model.safetensors",
        f"write {staged}/manifest.json",
        f"sync {staged}/manifest.json",
        f"sync {staged}",
        f"rename {staged} new",
        "sync ",
    ]


class SlowDisk(HeldFileSystem):
    """Another file system in which files are written at once, and durable after `release`."""

    def write(self, name: str, chunks: Iterable[Buffer]) -> None:
        """Create a file; see `FileSystem`."""
        self._inner.write(name, chunks)

    def sync(self, name: str) -> None:
        """Make durable once it may be; see `FileSystem`."""
        self._is_reached.set()
        assert self._is_released.wait(PATIENCE_SECONDS)
        self._inner.sync(name)


LARGE = memoryview(bytes(range(256)) * 8192)


def test_a_large_file_is_digested_while_it_is_written(filesystem: MemoryFileSystem) -> None:
    """By a second thread, which is gone when the commit is done."""
    before = threading.enumerate()
    store = CheckpointStore(filesystem, keys=OWN_KEYS)

    committed = store.commit("large", manifest=manifest_of(1), files={"model.safetensors": [b"a", LARGE]})

    assert threading.enumerate() == before
    expected = FileRecord(size_bytes=1 + LARGE.nbytes, blake3=digest_hex(b"a" + LARGE))
    assert dict(committed.files) == {"model.safetensors": expected}
    assert bytes(store.read_file(store.open("large"), "model.safetensors")) == b"a" + LARGE


@pytest.mark.parametrize("size", [10, 3 * 1024 * 1024], ids=["small", "large"])
def test_what_is_written_and_digested_is_let_go_of_while_the_disk_still_writes(size: int) -> None:
    """The old values of a training's variables are then free for its new ones."""
    arrays = [np.full(size, number, np.uint8) for number in range(3)]
    content = b"".join(array.tobytes() for array in arrays)
    references = [weakref.ref(array) for array in arrays]
    files: dict[str, list[Buffer]] = {"model.safetensors": [array.data for array in arrays]}
    held = SlowDisk(MemoryFileSystem())
    del arrays

    committing = threading.Thread(
        target=CheckpointStore(held, keys=OWN_KEYS).commit,
        args=("step-1",),
        kwargs={"manifest": manifest_of(1), "files": files},
    )
    committing.start()
    held.wait_until_held()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(reference() is not None for reference in references) and time.monotonic() < deadline:
        time.sleep(0.001)
    left = [reference() for reference in references]
    held.release()
    committing.join()

    assert left == [None, None, None]
    store = CheckpointStore(held, keys=OWN_KEYS)
    assert bytes(store.read_file(store.open("step-1"), "model.safetensors")) == content


def test_what_cannot_be_digested_is_not_committed(filesystem: MemoryFileSystem) -> None:
    """Though another thread finds that out: nothing is left of the checkpoint, nor of the thread."""
    before = threading.enumerate()
    with_gaps = LARGE[::2]

    with pytest.raises(TypeError, match="contiguous"):
        CheckpointStore(filesystem, keys=OWN_KEYS).commit(
            "large", manifest=manifest_of(1), files={"model.safetensors": [with_gaps, LARGE]}
        )

    assert threading.enumerate() == before
    assert filesystem.list_names() == []


def test_a_process_that_may_have_no_more_threads_commits_too(filesystem: MemoryFileSystem) -> None:
    """As one that is about to end."""
    store = CheckpointStore(filesystem, keys=OWN_KEYS)
    usual_bytes = threading.stack_size(2**46)  # More than a process has addresses for.

    try:
        committed = store.commit("large", manifest=manifest_of(1), files={"model.safetensors": [LARGE]})
    finally:
        threading.stack_size(usual_bytes)

    assert committed.files["model.safetensors"].blake3 == digest_hex(LARGE)


def test_a_commit_that_fails_leaves_nobody_who_reads_the_buffers(filesystem: MemoryFileSystem) -> None:
    """The caller may change them as soon as it has heard of the failure."""
    before = threading.enumerate()
    faulty = FaultyFileSystem(filesystem, fails_at=2)
    files = {"model.safetensors": [LARGE] * 16}

    with pytest.raises(CheckpointWriteError):
        CheckpointStore(faulty, keys=OWN_KEYS).commit("large", manifest=manifest_of(1), files=files)

    assert faulty.log[2].startswith("sync ")
    assert threading.enumerate() == before


def test_a_replaced_checkpoint_goes_only_when_the_new_one_is_durable(filesystem: MemoryFileSystem) -> None:
    """It is moved aside, and deleted after the parent was synced; hidden first, as every deletion."""
    recorder = FaultyFileSystem(filesystem)
    store = CheckpointStore(recorder, keys=OWN_KEYS)
    store.commit("best", manifest=manifest_of(1), files=files_of(1))
    del recorder.log[:]

    store.commit("best", manifest=manifest_of(2), files=files_of(2))

    staged = recorder.log[0].removeprefix("make_directory ")
    displaced = recorder.log[8].removeprefix("rename best ")
    removed = recorder.log[11].removeprefix(f"rename {displaced} ")
    assert displaced.startswith(".best.replaced-")
    assert removed.startswith(".best.removed-")
    assert recorder.log[8:] == [
        f"rename best {displaced}",
        f"rename {staged} best",
        "sync ",
        f"rename {displaced} {removed}",
        "sync ",
        f"remove {removed}",
    ]
    assert [info.step for info in store.scan().checkpoints] == [2]
    assert filesystem.list_names() == ["best"]


def test_a_removal_hides_before_it_deletes(filesystem: MemoryFileSystem) -> None:
    """And makes that durable in between."""
    recorder = FaultyFileSystem(filesystem)
    store = CheckpointStore(recorder, keys=OWN_KEYS)
    info = store.commit("old", manifest=manifest_of(1), files=files_of(1))
    del recorder.log[:]

    store.remove(info)

    removed = recorder.log[0].removeprefix("rename old ")
    assert recorder.log == [f"rename old {removed}", "sync ", f"remove {removed}"]
    assert filesystem.list_names() == []


def test_without_a_key_checkpoints_are_unsigned(filesystem: MemoryFileSystem) -> None:
    """And say so to their writer and to every reader."""
    committed = CheckpointStore(filesystem, keys=KeyRing()).commit("a", manifest=manifest_of(1), files={})

    assert committed.signature == "unsigned"
    assert CheckpointStore(filesystem, keys=OWN_KEYS).open("a").signature == "unsigned"


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 201])
def test_a_name_that_cannot_be_is_refused_before_anything_is_written(
    store: CheckpointStore, filesystem: MemoryFileSystem, name: str
) -> None:
    """Nothing leaves the run directory."""
    with pytest.raises(ValueError, match="cannot be named"):
        store.commit(name, manifest=manifest_of(1), files={})

    assert filesystem.list_names() == []


@pytest.mark.parametrize("file", ["manifest.json", "notes.txt", "../model.safetensors", ""])
def test_a_file_that_no_checkpoint_has_is_refused(
    store: CheckpointStore, filesystem: MemoryFileSystem, file: str
) -> None:
    """The manifest is the store's own, and a sweep would not know the others."""
    with pytest.raises(ValueError, match="A checkpoint has no file named"):
        store.commit("a", manifest=manifest_of(1), files={file: [b""]})

    assert filesystem.list_names() == []


@pytest.mark.parametrize("files", [["notes.txt"], []])
def test_what_is_not_a_checkpoint_is_never_replaced(
    store: CheckpointStore, filesystem: MemoryFileSystem, files: list[str]
) -> None:
    """A user's directory of the same name stays as it is."""
    filesystem.make_directory("best")
    for file in files:
        filesystem.write(f"best/{file}", [b"mine"])

    with pytest.raises(CheckpointWriteError, match="something of that name is there that is not a checkpoint"):
        store.commit("best", manifest=manifest_of(1), files=files_of(1))

    assert filesystem.list_names() == ["best"]
    assert filesystem.list_names("best") == files


def test_a_file_of_the_same_name_is_never_replaced(store: CheckpointStore, filesystem: MemoryFileSystem) -> None:
    """As where ModelCheckpoint wrote `best.keras` before."""
    filesystem.write("best.keras", [b"mine"])

    with pytest.raises(CheckpointWriteError, match="not a checkpoint"):
        store.commit("best.keras", manifest=manifest_of(1), files=files_of(1))

    assert filesystem.read("best.keras", limit_bytes=9) == b"mine"


def test_a_manifest_of_another_program_beside_its_files_is_not_replaced(
    store: CheckpointStore, filesystem: MemoryFileSystem
) -> None:
    """Many programs have a manifest.json."""
    filesystem.make_directory("app")
    filesystem.write("app/manifest.json", [b'{"name": "my app"}'])
    filesystem.write("app/index.html", [b""])

    with pytest.raises(CheckpointWriteError, match="not a checkpoint"):
        store.commit("app", manifest=manifest_of(1), files=files_of(1))

    assert sorted(filesystem.list_names("app")) == ["index.html", "manifest.json"]


def test_a_damaged_checkpoint_is_replaced(store: CheckpointStore, filesystem: MemoryFileSystem) -> None:
    """One flipped bit must not stop every later save under that name."""
    store.commit("best", manifest=manifest_of(1), files=files_of(1))
    filesystem.damage("best/manifest.json", b"")

    store.commit("best", manifest=manifest_of(2), files=files_of(2))

    assert [info.step for info in store.scan().checkpoints] == [2]


def test_a_checkpoint_of_a_newer_format_is_not_replaced(store: CheckpointStore, filesystem: MemoryFileSystem) -> None:
    """A newer release wrote it, and not this run."""
    filesystem.make_directory("best")
    filesystem.write("best/manifest.json", [newer_manifest()])

    with pytest.raises(CheckpointWriteError, match="that is not a checkpoint of this run, and it was left alone"):
        store.commit("best", manifest=manifest_of(2), files=files_of(2))

    assert filesystem.list_names() == ["best"]
    assert store.scan().checkpoints == ()


@pytest.mark.parametrize(("writer", "run"), [(OWN_KEYS, SECOND_RUN), (OTHER_KEYS, FIRST_RUN), (KeyRing(), FIRST_RUN)])
def test_a_checkpoint_of_another_run_or_of_others_is_not_replaced(
    store: CheckpointStore, filesystem: MemoryFileSystem, writer: KeyRing, run: str
) -> None:
    """Nothing of an older run goes silently; what claims to be of this one and is not signed may be anybody's."""
    CheckpointStore(filesystem, keys=writer).commit("best", manifest=manifest_of(1, run=run), files=files_of(1))

    with pytest.raises(CheckpointWriteError, match="that is not a checkpoint of this run, and it was left alone"):
        store.commit("best", manifest=manifest_of(2), files=files_of(2))

    assert [info.step for info in store.scan().checkpoints] == [1]


@pytest.mark.parametrize("change", ["remove", "replace"])
@pytest.mark.parametrize("foreign", ["notes.txt", "model.safetensors.bak", "code.pickle/inner", "plots/loss.png"])
def test_what_a_user_put_beside_the_files_of_a_checkpoint_is_never_deleted(
    store: CheckpointStore, filesystem: MemoryFileSystem, change: str, foreign: str
) -> None:
    """Not with the checkpoint either, and a warning says where it is."""
    info = store.commit("a", manifest=manifest_of(1), files=files_of(1))
    if "/" in foreign:
        filesystem.make_directory(f"a/{foreign.partition('/')[0]}")
    filesystem.write(f"a/{foreign}", [b"mine"])

    entry = foreign.partition("/")[0]
    with pytest.warns(UserWarning, match=f"{entry} beside them was not written by this library, and is kept in"):
        store.remove(info) if change == "remove" else store.commit("a", manifest=manifest_of(2), files=files_of(2))

    (kept,) = (name for name in filesystem.list_names() if name.startswith("."))
    assert filesystem.list_names(kept) == [entry]
    assert filesystem.read(f"{kept}/{foreign}", limit_bytes=9) == b"mine"
    as_if_the_writer_died(filesystem)
    assert store.sweep() == ()


def test_removing_twice_is_as_good_as_once(store: CheckpointStore) -> None:
    """A user may have deleted the directory meanwhile."""
    info = store.commit("a", manifest=manifest_of(1), files=files_of(1))
    store.remove(info)

    store.remove(info)

    assert store.scan().checkpoints == ()


def test_the_manifest_on_disk_is_signed_with_the_first_key(filesystem: MemoryFileSystem) -> None:
    """So that an old key in the ring still reads, and signs no more."""
    ring = KeyRing(OWN_KEYS.keys + OTHER_KEYS.keys)

    CheckpointStore(filesystem, keys=ring).commit("a", manifest=manifest_of(1), files={})

    data = filesystem.read("a/manifest.json", limit_bytes=10000)
    assert decode_manifest(data, path="a", keys=OWN_KEYS)[1] == "own"
    assert decode_manifest(data, path="a", keys=OTHER_KEYS)[1] == "foreign"


@pytest.mark.parametrize(("free_bytes", "is_enough"), [(16413, False), (16414, True), (None, True)])
def test_a_save_for_which_there_is_no_room_is_not_begun(
    store: CheckpointStore, filesystem: MemoryFileSystem, *, free_bytes: int | None, is_enough: bool
) -> None:
    """What it needs and what is free is said before a byte is written: nothing is removed, no disk is filled up."""
    store.commit("a", manifest=manifest_of(1), files=files_of(1))
    filesystem.room_bytes = free_bytes

    if is_enough:
        store.commit("b", manifest=manifest_of(2), files={"model.safetensors": [b"x" * 4126]})
    else:
        recorder = FaultyFileSystem(filesystem)
        with pytest.raises(CheckpointWriteError, match="it needs 16414 bytes, and 16413 are free there") as raised:
            CheckpointStore(recorder, keys=OWN_KEYS).commit(
                "b", manifest=manifest_of(2), files={"model.safetensors": [b"x" * 4126]}
            )
        assert recorder.log == []
        assert "none was removed for it" in str(raised.value)

    assert [info.step for info in store.scan().checkpoints] == ([1, 2] if is_enough else [1])
