"""What a failure, a kill or a power cut at any moment of the protocol leaves."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Callable

import pytest

from keras_probckpt.errors import CheckpointWriteError
from keras_probckpt.storage.store import CheckpointStore
from tests.storage.memory_filesystem import FaultyFileSystem, MemoryFileSystem, PowerCutError
from tests.storage.samples import OWN_KEYS, as_if_the_writer_died, files_of, manifest_of

Change = Callable[[CheckpointStore], object]

OPERATIONS_OF_A_COMMIT = 10
OPERATIONS_OF_A_REPLACEMENT = 14
OPERATIONS_OF_A_REMOVAL = 3
POWER_CUTS = 40


def commit_beside(store: CheckpointStore) -> None:
    """Save step 2 under a name of its own."""
    store.commit("step-2", manifest=manifest_of(2), files=files_of(2))


def commit_over(store: CheckpointStore) -> None:
    """Save step 2 under the name that step 1 has."""
    store.commit("step-1", manifest=manifest_of(2), files=files_of(2))


def remove_first(store: CheckpointStore) -> None:
    """Remove step 1."""
    store.remove(store.open("step-1"))


def filesystem_with_first_step() -> MemoryFileSystem:
    """Give a run directory in which step 1 is committed."""
    filesystem = MemoryFileSystem()
    CheckpointStore(filesystem, keys=OWN_KEYS).commit("step-1", manifest=manifest_of(1), files=files_of(1))
    return filesystem


def whole_steps(filesystem: MemoryFileSystem) -> list[int]:
    """List the steps as a later process does, and read every byte of each."""
    store = CheckpointStore(filesystem, keys=OWN_KEYS)
    listing = store.scan()
    assert listing.damaged == ()
    for info in listing.checkpoints:
        for file, chunks in files_of(info.step).items():
            assert bytes(store.read_file(info, file)) == b"".join(chunks)
    return [info.step for info in listing.checkpoints]


@pytest.mark.parametrize(
    ("change", "operations"),
    [
        (commit_beside, OPERATIONS_OF_A_COMMIT),
        (commit_over, OPERATIONS_OF_A_REPLACEMENT),
        (remove_first, OPERATIONS_OF_A_REMOVAL),
    ],
)
def test_every_operation_of_the_protocol_is_among_the_moments(change: Change, operations: int) -> None:
    """The tests below go through all of them."""
    recorder = FaultyFileSystem(filesystem_with_first_step())

    change(CheckpointStore(recorder, keys=OWN_KEYS))

    assert len(recorder.log) == operations


@pytest.mark.parametrize("moment", range(OPERATIONS_OF_A_COMMIT))
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_commit_that_fails_leaves_nothing_of_itself(moment: int, error: BaseException) -> None:
    """Whatever failed, an older checkpoint is as it was and no file is left behind."""
    filesystem = filesystem_with_first_step()
    store = CheckpointStore(FaultyFileSystem(filesystem, fails_at=moment, error=error), keys=OWN_KEYS)

    with pytest.raises((CheckpointWriteError, KeyboardInterrupt)) as raised:
        commit_beside(store)

    assert raised.value is error or raised.value.__cause__ is error
    assert filesystem.list_names() == ["step-1"]
    assert whole_steps(filesystem) == [1]


@pytest.mark.parametrize("moment", range(11))
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_replacement_that_fails_puts_the_old_one_back(moment: int, error: BaseException) -> None:
    """Up to the sync that makes the new one durable, the old one has its name again."""
    filesystem = filesystem_with_first_step()
    store = CheckpointStore(FaultyFileSystem(filesystem, fails_at=moment, error=error), keys=OWN_KEYS)

    with pytest.raises((CheckpointWriteError, KeyboardInterrupt)):
        commit_over(store)

    assert filesystem.list_names() == ["step-1"]
    assert whole_steps(filesystem) == [1]


@pytest.mark.parametrize("moment", [11, 12, 13])
def test_an_old_checkpoint_that_cannot_be_deleted_is_no_failure_of_the_new_one(moment: int) -> None:
    """The commit is done: a warning says what is left, and a later process sweeps it."""
    filesystem = filesystem_with_first_step()
    store = CheckpointStore(FaultyFileSystem(filesystem, fails_at=moment), keys=OWN_KEYS)

    with pytest.warns(UserWarning, match=r"could not be deleted: .*It is tried again at the next start"):
        commit_over(store)

    assert whole_steps(filesystem) == [2]
    as_if_the_writer_died(filesystem)
    assert len(CheckpointStore(filesystem, keys=OWN_KEYS).sweep()) == 1
    assert filesystem.list_names() == ["step-1"]
    assert whole_steps(filesystem) == [2]


def test_a_leftover_of_a_replacement_does_not_come_back_when_its_successor_is_removed() -> None:
    """It would be listed as soon as the name is free."""
    filesystem = filesystem_with_first_step()
    with pytest.warns(UserWarning, match="could not be deleted"):
        commit_over(CheckpointStore(FaultyFileSystem(filesystem, fails_at=11), keys=OWN_KEYS))

    remove_first(CheckpointStore(filesystem, keys=OWN_KEYS))

    assert whole_steps(filesystem) == []
    assert filesystem.list_names() == []


def test_a_removal_that_cannot_hide_the_checkpoint_leaves_it_whole() -> None:
    """And says so."""
    filesystem = filesystem_with_first_step()
    store = CheckpointStore(FaultyFileSystem(filesystem, fails_at=0), keys=OWN_KEYS)

    with pytest.raises(OSError, match="No space left"):
        remove_first(store)

    assert whole_steps(filesystem) == [1]


def test_a_removal_that_cannot_delete_has_removed_all_the_same() -> None:
    """What is left is hidden."""
    filesystem = filesystem_with_first_step()
    store = CheckpointStore(FaultyFileSystem(filesystem, fails_at=2), keys=OWN_KEYS)

    with pytest.warns(UserWarning, match="could not be deleted"):
        remove_first(store)

    assert whole_steps(filesystem) == []


def test_a_failing_undo_does_not_hide_the_cause() -> None:
    """The full disk is what the user hears of, not that the directory could not be cleared either."""

    class Stuck(FaultyFileSystem):
        def remove(self, name: str) -> None:
            raise PermissionError("stuck")

        def rename(self, source: str, target: str) -> None:
            super().rename(source, target)
            if source.startswith(".step-1.partial"):
                raise OSError(28, "No space left on device")
            if target.startswith(".step-1.partial"):
                raise PermissionError("stuck")

    store = CheckpointStore(Stuck(filesystem_with_first_step()), keys=OWN_KEYS)

    with pytest.raises(CheckpointWriteError, match="No space left on device"):
        commit_over(store)


@pytest.mark.parametrize(
    ("change", "moment", "after"),
    [(commit_beside, moment, [1] if moment < 9 else [1, 2]) for moment in range(OPERATIONS_OF_A_COMMIT)]
    + [(commit_over, moment, [1] if moment < 10 else [2]) for moment in range(OPERATIONS_OF_A_REPLACEMENT)]
    + [(remove_first, moment, [1] if moment < 1 else []) for moment in range(OPERATIONS_OF_A_REMOVAL)],
)
def test_a_killed_process_leaves_the_last_committed_checkpoint_whole(
    change: Change, moment: int, after: list[int]
) -> None:
    """At each moment exactly what was committed is listed, before and after the sweep, which leaves nothing hidden."""
    filesystem = filesystem_with_first_step()
    with pytest.raises(PowerCutError):
        change(CheckpointStore(FaultyFileSystem(filesystem, fails_at=moment, dies=True), keys=OWN_KEYS))

    found = whole_steps(filesystem)
    as_if_the_writer_died(filesystem)
    CheckpointStore(filesystem, keys=OWN_KEYS).sweep()

    assert found == after
    assert whole_steps(filesystem) == after
    assert [name for name in filesystem.list_names() if name.startswith(".")] == []


@pytest.mark.parametrize(
    ("change", "operations", "allowed"),
    [
        (commit_beside, OPERATIONS_OF_A_COMMIT, ([1], [1, 2])),
        (commit_over, OPERATIONS_OF_A_REPLACEMENT, ([1], [2])),
        (remove_first, OPERATIONS_OF_A_REMOVAL, ([1], [])),
    ],
)
def test_a_power_cut_at_any_moment_leaves_the_old_or_the_new_state(
    change: Change, operations: int, allowed: tuple[list[int], ...]
) -> None:
    """Whatever of the unsynced writes, entries and renames the disk kept."""
    random_states = random.Random(20261123)  # noqa: S311 - to be the same in every run of the tests
    for moment, _ in itertools.product(range(operations + 1), range(POWER_CUTS)):
        filesystem = filesystem_with_first_step()
        with contextlib.suppress(PowerCutError):
            change(CheckpointStore(FaultyFileSystem(filesystem, fails_at=moment, dies=True), keys=OWN_KEYS))

        survivor = filesystem.after_power_cut(choose=random_states.randrange)
        found = whole_steps(survivor)
        as_if_the_writer_died(survivor)
        CheckpointStore(survivor, keys=OWN_KEYS).sweep()

        assert found in allowed
        assert whole_steps(survivor) == found


@pytest.mark.parametrize(("change", "after"), [(commit_beside, [1, 2]), (commit_over, [2]), (remove_first, [])])
def test_what_has_returned_outlives_a_power_cut(change: Change, after: list[int]) -> None:
    """Durable on return is what the store says."""
    filesystem = filesystem_with_first_step()
    change(CheckpointStore(filesystem, keys=OWN_KEYS))

    survivor = filesystem.after_power_cut(choose=lambda _states: 0)

    assert whole_steps(survivor) == after
