from __future__ import annotations

import os

import pytest

from keras_probckpt.storage.names import make_hidden_name
from keras_probckpt.storage.process import PROCESS_TOKEN
from keras_probckpt.storage.store import CheckpointStore
from tests.storage.memory_filesystem import MemoryFileSystem
from tests.storage.samples import OWN_KEYS, files_of, manifest_of

DEAD = "9999999999-0123456789abcdef"
DEAD_TOO = "9999999999-0123456789abcdee"


def commit(filesystem: MemoryFileSystem, name: str, *, step: int) -> None:
    """Commit a checkpoint of this step."""
    CheckpointStore(filesystem, keys=OWN_KEYS).commit(name, manifest=manifest_of(step), files=files_of(step))


def sweep(filesystem: MemoryFileSystem) -> tuple[str, ...]:
    """Sweep as the next process does."""
    return CheckpointStore(filesystem, keys=OWN_KEYS).sweep()


def steps(filesystem: MemoryFileSystem) -> list[int]:
    """List the steps that are committed."""
    return [info.step for info in CheckpointStore(filesystem, keys=OWN_KEYS).scan().checkpoints]


@pytest.mark.parametrize("role", ["partial", "removed"])
def test_what_a_dead_writer_left_is_deleted(filesystem: MemoryFileSystem, role: str) -> None:
    """Finished checkpoints stay."""
    commit(filesystem, "a", step=1)
    filesystem.make_directory(f".b.{role}-{DEAD}")
    filesystem.write(f".b.{role}-{DEAD}/model.safetensors", [b"half"])

    swept = sweep(filesystem)

    assert swept == (f".b.{role}-{DEAD}",)
    assert filesystem.list_names() == ["a"]


@pytest.mark.parametrize(
    "writer", [f"{os.getpid()}-{PROCESS_TOKEN}00000000", f"{os.getppid()}-0123456789abcdef"], ids=["this", "another"]
)
@pytest.mark.parametrize("role", ["partial", "replaced", "removed"])
def test_what_a_live_writer_is_at_is_left_alone(filesystem: MemoryFileSystem, role: str, writer: str) -> None:
    """On a file system without locks another process may be writing."""
    commit(filesystem, "b", step=1)
    filesystem.rename("b", f".b.{role}-{writer}")

    assert sweep(filesystem) == ()
    assert filesystem.list_names() == [f".b.{role}-{writer}"]


def test_what_an_earlier_process_of_the_same_id_left_is_deleted(filesystem: MemoryFileSystem) -> None:
    """In a container every training is process 1."""
    filesystem.make_directory(f".b.partial-{os.getpid()}-0123456789abcdef")

    assert len(sweep(filesystem)) == 1
    assert filesystem.list_names() == []


@pytest.mark.parametrize("role", ["partial", "replaced", "removed"])
def test_a_hidden_directory_with_a_foreign_file_is_left_alone(filesystem: MemoryFileSystem, role: str) -> None:
    """Somebody put it there."""
    commit(filesystem, "a", step=1)
    filesystem.make_directory(f".a.{role}-{DEAD}")
    filesystem.write(f".a.{role}-{DEAD}/notes.txt", [b"mine"])

    assert sweep(filesystem) == ()
    assert filesystem.read(f".a.{role}-{DEAD}/notes.txt", limit_bytes=9) == b"mine"


def test_a_file_with_a_hidden_name_is_left_alone(filesystem: MemoryFileSystem) -> None:
    """We make directories only."""
    filesystem.write(f".a.partial-{DEAD}", [b"mine"])

    assert sweep(filesystem) == ()


def test_other_hidden_names_are_left_alone(filesystem: MemoryFileSystem) -> None:
    """Lock, version control, and whatever looks nearly like ours."""
    for name in (".git", ".lock", ".a.partial-1", f".a.partial-{DEAD}0", f"a.partial-{DEAD}"):
        filesystem.make_directory(name)

    assert sweep(filesystem) == ()


def test_a_checkpoint_moved_aside_counts_until_it_is_put_back(filesystem: MemoryFileSystem) -> None:
    """A crash came between the two renames."""
    commit(filesystem, "best", step=1)
    filesystem.rename("best", f".best.replaced-{DEAD}")
    store = CheckpointStore(filesystem, keys=OWN_KEYS)

    hidden = store.scan().checkpoints
    opened = store.open("best")
    by_hidden_name = store.open(f".best.replaced-{DEAD}")
    data = bytes(store.read_file(opened, "recipe.json"))
    swept = store.sweep()

    assert [info.name for info in hidden] == [f".best.replaced-{DEAD}"]
    assert hidden == (opened,) == (by_hidden_name,)
    assert data == b'{"step":1}'
    assert swept == (f".best.replaced-{DEAD}",)
    assert filesystem.list_names() == ["best"]
    assert steps(filesystem) == [1]


def test_a_checkpoint_moved_aside_can_be_removed(filesystem: MemoryFileSystem) -> None:
    """With all that had its name before; none of them comes back."""
    for step, hidden in ((1, f".best.replaced-{DEAD}"), (2, f".best.replaced-{DEAD_TOO}")):
        commit(filesystem, "best", step=step)
        filesystem.rename("best", hidden)
    store = CheckpointStore(filesystem, keys=OWN_KEYS)

    (info,) = store.scan().checkpoints
    store.remove(info)

    assert info.step == 2
    assert filesystem.list_names() == []


def test_the_latest_of_several_moved_aside_is_put_back(filesystem: MemoryFileSystem) -> None:
    """Two crashes without a sweep between them."""
    for step, hidden in ((2, f".best.replaced-{DEAD}"), (1, f".best.replaced-{DEAD_TOO}")):
        commit(filesystem, "best", step=step)
        filesystem.rename("best", hidden)

    listed = steps(filesystem)
    sweep(filesystem)

    assert listed == [2]
    assert steps(filesystem) == [2]
    assert filesystem.list_names() == ["best"]


def test_a_damaged_checkpoint_moved_aside_is_reported_and_put_back(filesystem: MemoryFileSystem) -> None:
    """A sweep deletes nothing that might be mended."""
    commit(filesystem, "best", step=1)
    filesystem.damage("best/manifest.json", b"")
    filesystem.rename("best", f".best.replaced-{DEAD}")
    store = CheckpointStore(filesystem, keys=OWN_KEYS)

    reported = len(store.scan().damaged)
    store.sweep()

    assert reported == 1
    assert filesystem.list_names() == ["best"]


def test_a_damaged_one_does_not_hide_a_whole_one_of_the_same_name(filesystem: MemoryFileSystem) -> None:
    """The whole one is listed, whichever was first."""
    for step, hidden in ((1, f".best.replaced-{DEAD}"), (2, f".best.replaced-{DEAD_TOO}")):
        commit(filesystem, "best", step=step)
        filesystem.rename("best", hidden)
    filesystem.damage(f".best.replaced-{DEAD_TOO}/manifest.json", b"")

    assert steps(filesystem) == [1]


def test_what_was_replaced_is_kept_where_its_name_is_taken_by_something_else(filesystem: MemoryFileSystem) -> None:
    """The successor is no checkpoint, so the old one may be the last."""
    commit(filesystem, "best", step=1)
    filesystem.rename("best", f".best.replaced-{DEAD}")
    filesystem.make_directory("best")

    assert sweep(filesystem) == ()
    assert sorted(filesystem.list_names()) == [f".best.replaced-{DEAD}", "best"]


def test_an_empty_directory_moved_aside_is_not_put_back(filesystem: MemoryFileSystem) -> None:
    """Without a manifest it is no checkpoint, and our names are for checkpoints."""
    filesystem.make_directory(f".best.replaced-{DEAD}")

    assert sweep(filesystem) == ()
    assert steps(filesystem) == []


def test_an_unfinished_commit_of_this_process_is_not_swept(filesystem: MemoryFileSystem) -> None:
    """A background writer may be at it."""
    staged = str(make_hidden_name("a", role="partial"))
    filesystem.make_directory(staged)

    assert sweep(filesystem) == ()
    assert filesystem.list_names() == [staged]
