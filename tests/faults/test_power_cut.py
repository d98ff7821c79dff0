"""The power or the process goes at every operation: what was committed is there, and the next save works."""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Callable, Sequence

import pytest

from keras_probckpt.errors import CheckpointWriteError
from keras_probckpt.storage.filesystem import FileSystem
from keras_probckpt.storage.store import CheckpointStore
from tests.counts import count
from tests.faults.reordering_filesystem import ReorderingFileSystem
from tests.storage.memory_filesystem import FaultyFileSystem, MemoryFileSystem, PowerCutError
from tests.storage.samples import DEAD_PROCESS, OWN_KEYS, as_if_the_writer_died, files_of, manifest_of

DEAD = f"{DEAD_PROCESS}-0123456789abcdef"
DEAD_TOO = f"{DEAD_PROCESS}-0123456789abcdee"
# Before the operation, three torn forms of it, after it.
PARTS = (0.0, 0.1, 0.5, 0.9, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """One thing that a writer does.

    Attributes:
        name: What it does.
        prepare: Commits what was there before, and leaves what dead writers left.
        act: What is cut.
        allowed: The steps that may be listed after a cut; the last of them where it was not cut.
        fails_at: Number of an operation that the disk refuses, so that the undoing is cut.
        draws: How many selections of what a disk kept are tried at each moment.
    """

    name: str
    prepare: Callable[[FileSystem], object]
    act: Callable[[CheckpointStore], object]
    allowed: Sequence[list[int]]
    fails_at: int | None = None
    draws: int = 4


def commit(filesystem: FileSystem, step: int, *, name: str | None = None) -> CheckpointStore:
    """Save a step, under its own name or another."""
    store = CheckpointStore(filesystem, keys=OWN_KEYS)
    store.commit(name or f"step-{step}", manifest=manifest_of(step), files=files_of(step))
    return store


def one(filesystem: FileSystem) -> None:
    """Commit step 1."""
    commit(filesystem, 1)


def moved_aside(filesystem: FileSystem, *hidden: str) -> None:
    """Leave step 1, and with a second name step 0 before it, as a writer that died between two renames does."""
    for step, name in zip((1, 0), hidden, strict=False):
        commit(filesystem, step, name="step-1")
        filesystem.rename("step-1", name)
    filesystem.sync("")


def leftovers(filesystem: FileSystem) -> None:
    """Leave one of each kind that a sweep finds."""
    moved_aside(filesystem, f".step-1.replaced-{DEAD}", f".step-1.replaced-{DEAD_TOO}")
    for step, role in ((3, "removed"), (4, "partial"), (2, "replaced")):
        commit(filesystem, step, name="step-2")
        filesystem.rename("step-2", f".step-2.{role}-{DEAD}")
    commit(filesystem, 2)


def commit_beside(store: CheckpointStore) -> None:
    """Save step 2."""
    store.commit("step-2", manifest=manifest_of(2), files=files_of(2))


def commit_over(store: CheckpointStore) -> None:
    """Save step 2 under the name of step 1."""
    store.commit("step-1", manifest=manifest_of(2), files=files_of(2))


def commit_and_prune(store: CheckpointStore) -> None:
    """Save step 2 and remove step 1, as a manager does."""
    commit_beside(store)
    store.remove(store.open("step-1"))


def failing(change: Callable[[CheckpointStore], object]) -> Callable[[CheckpointStore], object]:
    """Expect the disk to refuse."""

    def act(store: CheckpointStore) -> None:
        with pytest.raises(CheckpointWriteError):
            change(store)

    return act


SCENES = [
    Scene(name="the first commit", prepare=lambda _filesystem: None, act=commit_beside, allowed=([], [2])),
    Scene(name="a commit", prepare=one, act=commit_beside, allowed=([1], [1, 2])),
    Scene(name="a commit over another", prepare=one, act=commit_over, allowed=([1], [2])),
    Scene(name="a removal", prepare=one, act=lambda store: store.remove(store.open("step-1")), allowed=([1], [])),
    Scene(name="a commit and the removal after it", prepare=one, act=commit_and_prune, allowed=([1], [1, 2], [2])),
    Scene(
        name="the removal of what was moved aside",
        prepare=lambda filesystem: moved_aside(filesystem, f".step-1.replaced-{DEAD}"),
        act=lambda store: store.remove(store.open("step-1")),
        allowed=([1], []),
    ),
    Scene(
        name="a commit over what was moved aside",
        prepare=lambda filesystem: moved_aside(filesystem, f".step-1.replaced-{DEAD}"),
        act=commit_over,
        allowed=([1], [2]),
    ),
    Scene(name="a sweep", prepare=leftovers, act=lambda store: store.sweep(), allowed=([1, 2],)),
    *(
        Scene(
            name=f"the undoing of a commit that failed at operation {moment}",
            prepare=one,
            act=failing(commit_beside),
            allowed=([1, 2], [1]),
            fails_at=moment,
            # From the first rename on there is more that a disk may reorder.
            draws=4 if moment < 8 else 15,
        )
        for moment in range(10)
    ),
    *(
        Scene(
            name=f"the undoing of a commit over another that failed at operation {moment}",
            prepare=one,
            act=failing(commit_over),
            allowed=([2], [1]),
            fails_at=moment,
            # From the first rename on there is more that a disk may reorder.
            draws=4 if moment < 8 else 15,
        )
        for moment in range(11)
    ),
]


def whole_steps(filesystem: FileSystem) -> list[int]:
    """List the steps as a fresh reader does, who reads every byte of each."""
    store = CheckpointStore(filesystem, keys=OWN_KEYS)
    listing = store.scan()
    assert listing.damaged == ()
    for info in listing.checkpoints:
        assert sorted(info.files) == sorted(files_of(info.step))
        for file, chunks in files_of(info.step).items():
            assert bytes(store.read_file(info, file)) == b"".join(chunks)
    return [info.step for info in listing.checkpoints]


def act(scene: Scene, disk: FileSystem, *, moment: int | None = None, part: float = 0.5) -> list[str]:
    """Do what the scene does, cut at a moment; give the operations that came to the disk."""
    dying = FaultyFileSystem(disk, fails_at=moment, dies=moment is not None, part=part)
    failing_disk = FaultyFileSystem(dying, fails_at=scene.fails_at, part=0.0)
    try:
        scene.act(CheckpointStore(failing_disk, keys=OWN_KEYS))
    except PowerCutError:
        assert moment is not None
    return dying.log


def new_disk(scene: Scene, kind: type[MemoryFileSystem]) -> MemoryFileSystem:
    """Prepare a disk, all of it durable."""
    disk = kind()
    scene.prepare(disk)
    return disk.after_power_cut(choose=keep_all)


def keep_all(states: int) -> int:
    """Choose the newest: what a kill leaves is all there, and durable before anything else happens."""
    return states - 1


def check_survivor(scene: Scene, disk: MemoryFileSystem, *, choose: Callable[[int], int]) -> None:
    """Read what is left, sweep it with the power cut once more, save again, and read all of it."""
    found = whole_steps(disk)
    as_if_the_writer_died(disk)
    with warnings.catch_warnings():
        # Of leftovers that cannot be deleted, which a disk that dies is not asked to.
        warnings.simplefilter("ignore", UserWarning)
        act(dataclasses.replace(scene, act=lambda store: store.sweep(), fails_at=None), disk, moment=choose(4))
    disk = disk.after_power_cut(choose=choose)
    as_if_the_writer_died(disk)
    CheckpointStore(disk, keys=OWN_KEYS).sweep()

    assert found in scene.allowed
    assert whole_steps(disk) == found
    assert [name for name in disk.list_names() if name.startswith(".")] == []
    kept = {info.name: info.step for info in CheckpointStore(disk, keys=OWN_KEYS).scan().checkpoints}
    commit(disk, 9)
    commit(disk, 8, name="step-1")
    assert whole_steps(disk) == sorted({**kept, "step-9": 9, "step-1": 8}.values())


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_process_that_is_killed_at_any_operation_loses_nothing(scene: Scene) -> None:
    """Before it, in it with a torn write, after it; the sweep of the next process may be killed as well."""
    operations = len(act(scene, new_disk(scene, MemoryFileSystem)))
    choose = random.Random(1).randrange  # noqa: S311 - to be the same in every run of the tests

    for moment in range(operations):
        for part in PARTS:
            disk = new_disk(scene, MemoryFileSystem)
            act(scene, disk, moment=moment, part=part)
            check_survivor(scene, disk.after_power_cut(choose=keep_all), choose=choose)
    count("operations cut by a kill, in memory", operations * len(PARTS))


def cut_the_power(scene: Scene, kind: type[MemoryFileSystem], *, times: int = 1) -> None:
    """Cut the power at each operation, each time with several selections of what the disk had kept."""
    operations = len(act(scene, new_disk(scene, kind)))
    choose = random.Random(2).randrange  # noqa: S311 - to be the same in every run of the tests
    for moment in range(operations):
        for part in (0.0, 0.5, 1.0):
            for _ in range(scene.draws * times):
                disk = new_disk(scene, kind)
                act(scene, disk, moment=moment, part=part)
                check_survivor(scene, disk.after_power_cut(choose=choose), choose=choose)
    count(f"power cuts, {kind.__name__}", operations * 3 * scene.draws * times)


KINDS = [MemoryFileSystem, ReorderingFileSystem]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_power_cut_at_any_operation_loses_nothing(scene: Scene, kind: type[MemoryFileSystem]) -> None:
    """Also on a disk that keeps later changes and loses earlier ones, and tears what was not synced."""
    cut_the_power(scene, kind)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_hundreds_of_power_cuts_at_each_operation_lose_nothing(scene: Scene, kind: type[MemoryFileSystem]) -> None:
    """The same with far more of what a disk may do."""
    cut_the_power(scene, kind, times=25)


def test_the_reordering_disk_reorders_and_tears() -> None:
    """Or the tests above would prove nothing: a rename without the directory before it, a file of zeros, a cut file."""
    found = set()
    choose = random.Random(3).randrange  # noqa: S311 - to be the same in every run of the tests

    for _ in range(200):
        disk = ReorderingFileSystem()
        disk.make_directory("a")
        disk.rename("a", "b")
        disk.make_directory("c")
        disk.write("file", [b"01234", b"56789"])
        survivor = disk.after_power_cut(choose=choose)
        found.add(" ".join(sorted(survivor.list_names())))
        if "file" in survivor.list_names():
            found.add(survivor.read("file", limit_bytes=100).decode())

    assert {"", "b c file", "c", "a c", "c file"} <= found
    assert {"0123456789", "\0\0\0\0\x0056789", "01234", ""} <= found


def test_what_was_synced_stays_on_every_disk() -> None:
    """File and entry, each by its own sync."""
    for kind in KINDS:
        disk = kind()
        disk.write("file", [b"data"])
        disk.sync("file")
        disk.sync("")

        assert disk.after_power_cut(choose=lambda _states: 0).read("file", limit_bytes=100) == b"data"
