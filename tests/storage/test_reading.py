from __future__ import annotations

import dataclasses
import pathlib

import pytest

from keras_probckpt.errors import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    TamperedCheckpointError,
    UnsupportedFormatError,
)
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.names import make_hidden_name
from keras_probckpt.storage.store import CheckpointStore
from tests.storage.memory_filesystem import MemoryFileSystem
from tests.storage.samples import (
    FIRST_RUN,
    OTHER_KEYS,
    OWN_KEYS,
    SECOND_RUN,
    files_of,
    manifest_of,
    newer_manifest,
    sealed_again,
)


def test_checkpoints_are_listed_by_run_and_step(store: CheckpointStore) -> None:
    """Neither by name nor by the order of the saves."""
    store.commit("c", manifest=manifest_of(10), files=files_of(10))
    store.commit("a", manifest=manifest_of(1, run=SECOND_RUN, run_number=2), files=files_of(1))
    store.commit("b", manifest=manifest_of(9), files=files_of(9))

    assert [(info.run, info.step) for info in store.scan().checkpoints] == [
        (FIRST_RUN, 9),
        (FIRST_RUN, 10),
        (SECOND_RUN, 1),
    ]


def test_a_directory_that_is_not_there_holds_nothing(tmp_path: pathlib.Path) -> None:
    """A reader may come before the first save."""
    store = CheckpointStore(LocalFileSystem(tmp_path / "nothing"), keys=OWN_KEYS)

    assert store.scan().checkpoints == ()
    assert store.sweep() == ()


def test_what_has_no_manifest_is_not_ours(store: CheckpointStore, filesystem: MemoryFileSystem) -> None:
    """It is not listed, not reported, not swept."""
    filesystem.make_directory("notes")
    filesystem.write("notes/todo.txt", [b""])
    filesystem.write("events.log", [b""])

    listing = store.scan()
    swept = store.sweep()

    assert listing.checkpoints == listing.damaged == ()
    assert swept == ()
    assert sorted(filesystem.list_names()) == ["events.log", "notes"]


def test_a_damaged_manifest_is_reported_and_does_not_hide_the_others(
    store: CheckpointStore, filesystem: MemoryFileSystem
) -> None:
    """The error is the one that opening it raises."""
    store.commit("good", manifest=manifest_of(1), files=files_of(1))
    store.commit("bad", manifest=manifest_of(2), files=files_of(2))
    filesystem.damage("bad/manifest.json", filesystem.read("bad/manifest.json", limit_bytes=10000)[:-1])

    listing = store.scan()

    assert [info.name for info in listing.checkpoints] == ["good"]
    assert [str(error)[:37] for error in listing.damaged] == ["memory/bad/manifest.json is damaged: "[:37]]
    with pytest.raises(DamagedCheckpointError):
        store.open("bad")


def test_a_manifest_that_is_no_file_is_reported(store: CheckpointStore, filesystem: MemoryFileSystem) -> None:
    """A directory in its place is damage, not absence."""
    filesystem.make_directory("odd")
    filesystem.make_directory("odd/manifest.json")

    (damaged,) = store.scan().damaged

    assert "memory/odd/manifest.json is damaged: it cannot be read: it is not a regular file" in str(damaged)
    assert isinstance(damaged.__cause__, OSError)


def test_a_newer_format_is_reported_and_not_fatal(store: CheckpointStore, filesystem: MemoryFileSystem) -> None:
    """The checkpoints that this release can read are still there."""
    store.commit("old", manifest=manifest_of(1), files=files_of(1))
    filesystem.make_directory("new")
    filesystem.write("new/manifest.json", [newer_manifest()])

    listing = store.scan()

    assert [info.name for info in listing.checkpoints] == ["old"]
    assert [type(error) for error in listing.damaged] == [UnsupportedFormatError]


def test_a_forged_manifest_is_reported(filesystem: MemoryFileSystem) -> None:
    """Somebody without the key changed the step, and sealed it anew."""
    CheckpointStore(filesystem, keys=OWN_KEYS).commit("a", manifest=manifest_of(1), files={})
    data = filesystem.read("a/manifest.json", limit_bytes=10000)
    filesystem.damage("a/manifest.json", sealed_again(data.replace(b'"step": 1,', b'"step": 9,')))

    listing = CheckpointStore(filesystem, keys=OWN_KEYS).scan()
    as_stranger = CheckpointStore(filesystem, keys=OTHER_KEYS).scan()

    assert [type(error) for error in listing.damaged] == [TamperedCheckpointError]
    assert [info.signature for info in as_stranger.checkpoints] == ["foreign"]


def test_opening_what_is_not_there_says_so(store: CheckpointStore, filesystem: MemoryFileSystem) -> None:
    """Also where a directory of that name holds no manifest, and where it is not committed."""
    filesystem.make_directory("notes")
    partial = str(make_hidden_name("a", role="partial"))

    with pytest.raises(CheckpointNotFoundError, match=r"memory/nothing: there is no manifest\.json in it"):
        store.open("nothing")
    with pytest.raises(CheckpointNotFoundError, match=r"memory/notes: there is no manifest\.json in it"):
        store.open("notes")
    with pytest.raises(CheckpointNotFoundError, match="it is not committed"):
        store.open(partial)
    with pytest.raises(ValueError, match="it holds '/'"):
        store.open("notes/a")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"abd", "the manifest records blake3 6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        (b"ab", "it cannot be read: it holds 2 bytes where 3 were written"),
        (b"abcd", "it cannot be read: it holds 4 bytes where 3 were written"),
    ],
)
def test_a_changed_file_is_named_with_both_values(
    store: CheckpointStore, filesystem: MemoryFileSystem, data: bytes, problem: str
) -> None:
    """Any changed byte, and any change of length."""
    info = store.commit("a", manifest=manifest_of(1), files={"model.safetensors": [b"abc"]})
    filesystem.damage("a/model.safetensors", data)

    with pytest.raises(DamagedCheckpointError) as raised:
        store.read_file(info, "model.safetensors")

    assert f"memory/a/model.safetensors is damaged: {problem}" in str(raised.value)


def test_a_missing_file_is_damage(store: CheckpointStore, filesystem: MemoryFileSystem) -> None:
    """The checkpoint is there, and not whole."""
    info = store.commit("a", manifest=manifest_of(1), files={"model.safetensors": [b"abc"]})
    filesystem.remove("a/model.safetensors")

    with pytest.raises(DamagedCheckpointError, match="the file is missing"):
        store.read_file(info, "model.safetensors")


def test_damage_is_told_from_a_checkpoint_with_nan_in_its_logs(
    store: CheckpointStore, filesystem: MemoryFileSystem
) -> None:
    """NaN is not equal to itself: that must not make a damaged checkpoint look like a replaced one."""
    manifest = dataclasses.replace(manifest_of(1), logs={"val_loss": float("nan")})
    info = store.commit("a", manifest=manifest, files={"model.safetensors": [b"abc"]})
    filesystem.damage("a/model.safetensors", b"abd")

    with pytest.raises(DamagedCheckpointError):
        store.read_file(info, "model.safetensors")


def test_a_damaged_manifest_does_not_hide_a_damaged_file(store: CheckpointStore, filesystem: MemoryFileSystem) -> None:
    """The reader asked for the file, so the file is what it hears of."""
    info = store.commit("a", manifest=manifest_of(1), files={"model.safetensors": [b"abc"]})
    filesystem.damage("a/model.safetensors", b"abd")
    filesystem.damage("a/manifest.json", b"")

    with pytest.raises(DamagedCheckpointError, match=r"a/model\.safetensors is damaged"):
        store.read_file(info, "model.safetensors")


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_not_called_damaged(store: CheckpointStore) -> None:
    """Its files are those of the new one: the reader asks again."""
    info = store.commit("best", manifest=manifest_of(1), files=files_of(1))
    store.commit("best", manifest=manifest_of(2), files=files_of(2))

    with pytest.raises(CheckpointNotFoundError, match="another process removed or replaced it while it was read"):
        store.read_file(info, "model.safetensors")


def test_one_that_is_replaced_by_the_same_files_is_not_called_damaged(
    store: CheckpointStore, filesystem: MemoryFileSystem
) -> None:
    """Between two renames its files were missing; those that are there now are another checkpoint's, equal or not."""
    info = store.commit("best", manifest=manifest_of(1), files=files_of(1))
    store.commit("best", manifest=manifest_of(2), files=files_of(1))
    filesystem.remove("best/model.safetensors")

    with pytest.raises(CheckpointNotFoundError, match="another process removed or replaced it while it was read"):
        store.read_file(info, "model.safetensors")


def test_a_checkpoint_that_is_removed_while_it_is_read_is_not_called_damaged(store: CheckpointStore) -> None:
    """It is gone."""
    info = store.commit("a", manifest=manifest_of(1), files=files_of(1))
    store.remove(info)

    with pytest.raises(CheckpointNotFoundError, match="another process removed or replaced it while it was read"):
        store.read_file(info, "model.safetensors")


def test_a_file_that_the_checkpoint_does_not_have_is_a_key_error(store: CheckpointStore) -> None:
    """That is the caller's mistake, and the error says which there are."""
    info = store.commit("a", manifest=manifest_of(1), files=files_of(1))

    with pytest.raises(KeyError, match=r"a has no file 'code\.pickle'; its files are model\.safetensors, recipe\.json"):
        store.read_file(info, "code.pickle")


class ReplacingFileSystem(MemoryFileSystem):
    """A file system in which another process commits again between a reader's listing and its reading."""

    def __init__(self, *, interruptions: int) -> None:
        super().__init__()
        self.interruptions = interruptions

    def list_names(self, name: str = "") -> list[str]:
        """Answer, and move the checkpoint aside right after."""
        names = super().list_names(name)
        if not name and self.interruptions and "best" in names:
            self.interruptions -= 1
            self.rename("best", str(make_hidden_name("best", role="replaced")))
        return names


@pytest.mark.parametrize("interruptions", [0, 1])
def test_a_checkpoint_that_is_moved_aside_during_the_listing_is_still_listed(interruptions: int) -> None:
    """What was committed before the call is found, under one name or the other."""
    filesystem = ReplacingFileSystem(interruptions=0)
    store = CheckpointStore(filesystem, keys=OWN_KEYS)
    store.commit("best", manifest=manifest_of(1), files=files_of(1))
    filesystem.interruptions = interruptions

    assert [info.step for info in store.scan().checkpoints] == [1]


def test_a_checkpoint_that_is_replaced_during_the_listing_is_still_listed() -> None:
    """It is read just between the two renames, and both looks at the directory see its name."""

    class BetweenTwoRenames(MemoryFileSystem):
        interruptions = 0

        def read(self, name: str, *, limit_bytes: int) -> bytes:
            if self.interruptions and name == "best/manifest.json":
                self.interruptions -= 1
                raise FileNotFoundError(name)
            return super().read(name, limit_bytes=limit_bytes)

    filesystem = BetweenTwoRenames()
    store = CheckpointStore(filesystem, keys=OWN_KEYS)
    store.commit("best", manifest=manifest_of(1), files=files_of(1))
    filesystem.interruptions = 1

    assert [info.step for info in store.scan().checkpoints] == [1]


def test_a_directory_that_never_stands_still_is_listed_all_the_same() -> None:
    """After ten looks the listing takes what it has."""

    class Restless(MemoryFileSystem):
        def list_names(self, name: str = "") -> list[str]:
            if not name:
                self.make_directory(f"directory-{len(super().list_names())}")
            return super().list_names(name)

    assert CheckpointStore(Restless(), keys=OWN_KEYS).scan().checkpoints == ()
