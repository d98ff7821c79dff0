"""Saves that a run writer has been asked for and that are not committed yet."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from keras_probckpt.errors import CheckpointWriteError, RunLockedError
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.run import RunWriter, Save
from tests.storage.held_filesystem import PATIENCE_SECONDS, HeldFileSystem
from tests.storage.samples import files_of, manifest_of, names_in


def save_of(step: int, *, name: str = "") -> Save:
    """Ask for a small checkpoint."""
    manifest = manifest_of(step)
    return Save(name=name or f"step-{step}", manifest=manifest, encode=lambda: files_of(step), size_bytes=0)


def all_but_newest(infos: Sequence[Any]) -> Sequence[Any]:
    """Want the newest one only."""
    return infos[:-1]


def all_but_newest_and_even(infos: Sequence[Any]) -> Sequence[Any]:
    """Want the newest one, and every even step."""
    return [info for info in infos[:-1] if info.step % 2]


def steps_of(infos: Sequence[Any]) -> list[int]:
    """Tell the steps."""
    return [info.step for info in infos]


@pytest.fixture
def held(tmp_path: pathlib.Path) -> Iterator[HeldFileSystem]:
    """Give the file system of a run, in which nothing is written before it is released."""
    filesystem = HeldFileSystem(LocalFileSystem(tmp_path / "run"))
    yield filesystem
    filesystem.release()


def writer_in(
    held: HeldFileSystem,
    *,
    choose_removals: Callable[[Sequence[Any]], Sequence[Any]] = all_but_newest,
    on_commit: Sequence[Callable[[CheckpointInfo], object]] = (),
    is_background: bool = True,
) -> RunWriter:
    """Open a writer there."""
    writer = RunWriter(
        pathlib.Path(held.describe()),
        choose_removals=choose_removals,
        on_commit=on_commit,
        is_background=is_background,
        open_filesystem=lambda _: held,
    )
    writer.open()
    return writer


def test_what_is_asked_for_is_planned_before_it_is_there(held: HeldFileSystem) -> None:
    """The rules count it; nobody is told that it is there."""
    writer = writer_in(held, choose_removals=lambda _: ())
    writer.submit(save_of(1))
    held.wait_until_held()
    writer.submit(save_of(2))

    before = (steps_of(writer.planned), writer.infos, writer.store.scan().checkpoints)
    held.release()
    writer.wait_until_finished()

    assert before == ([1, 2], (), ())
    assert steps_of(writer.planned) == steps_of(writer.infos) == [1, 2]
    assert [(save.epoch, save.batch, save.logs) for save in (save_of(1),)] == [(2, None, {"val_loss": 0.5})]
    writer.close()


@pytest.mark.parametrize("is_background", [True, False])
def test_what_no_rule_wants_goes_after_the_commit(held: HeldFileSystem, *, is_background: bool) -> None:
    """One after the other, whoever writes."""
    held.release()
    writer = writer_in(held, is_background=is_background)

    for step in (1, 2, 3):
        writer.submit(save_of(step))
        writer.wait_until_finished()

        assert steps_of(writer.infos) == [step]

    assert names_in(writer.directory) == [".lock", "step-3"]
    writer.close()


def test_nothing_is_removed_for_a_checkpoint_that_is_not_committed(held: HeldFileSystem) -> None:
    """While the newer is being written the older is there; when the newer fails, it stays."""
    held.release()
    writer = writer_in(held)
    writer.submit(save_of(1))
    writer.wait_until_finished()
    held.hold()

    writer.submit(save_of(2))
    held.wait_until_held()
    (writer.directory / "step-2").write_text("in the way")
    assert steps_of(writer.store.scan().checkpoints) == [1]
    held.release()
    writer.wait_until_finished()

    (failure,) = writer.take_failures()
    assert isinstance(failure, CheckpointWriteError)
    assert steps_of(writer.planned) == steps_of(writer.store.scan().checkpoints) == [1]
    writer.close()


def test_a_save_that_a_newer_one_supersedes_is_never_written(held: HeldFileSystem) -> None:
    """Of those that come while one is being written, the last is written."""
    heard: list[int] = []
    writer = writer_in(held, on_commit=[lambda info: heard.append(info.step)])
    writer.submit(save_of(1))
    held.wait_until_held()
    for step in (2, 3, 4):
        writer.submit(save_of(step))
    assert steps_of(writer.planned) == [1, 4]
    held.release()
    writer.wait_until_finished()

    assert heard == [1, 4]
    assert names_in(writer.directory) == [".lock", "step-4"]
    writer.close()


def test_the_last_step_is_that_of_the_last_save_whether_it_is_written_or_not(held: HeldFileSystem) -> None:
    """None before there is one."""
    writer = writer_in(held)
    before = writer.last_step
    writer.submit(save_of(1))
    held.wait_until_held()
    writer.submit(save_of(3))
    pending = writer.last_step
    held.release()
    writer.wait_until_finished()

    assert (before, pending, writer.last_step) == (None, 3, 3)
    writer.close()


def test_whoever_asks_is_told_of_a_failure_at_once(held: HeldFileSystem) -> None:
    """By the thread that writes, while the others go on."""
    told = threading.Event()
    writer = writer_in(held)
    writer.call_on_failure(told.set)
    (writer.directory / "step-1").write_text("mine")
    held.release()

    writer.submit(save_of(1))

    assert told.wait(PATIENCE_SECONDS)
    assert [type(failure) for failure in writer.take_failures()] == [CheckpointWriteError]
    writer.close()


def test_a_save_that_a_rule_wants_is_never_dropped(held: HeldFileSystem) -> None:
    """Neither for a newer one nor when there is no room: one for which there is none waits until there is."""
    heard: list[int] = []
    writer = writer_in(held, choose_removals=all_but_newest_and_even, on_commit=[lambda info: heard.append(info.step)])
    writer.submit(save_of(1))
    held.wait_until_held()
    for step in (2, 3, 4, 6, 8):
        writer.submit(save_of(step))
    assert steps_of(writer.planned) == [1, 2, 4, 6, 8]
    last = threading.Thread(target=writer.submit, args=(save_of(9),))
    last.start()
    last.join(0.05)
    assert steps_of(writer.planned) == [1, 2, 4, 6, 8]

    held.release()
    last.join()
    writer.wait_until_finished()

    assert heard == [1, 2, 4, 6, 8, 9]
    assert steps_of(writer.infos) == [2, 4, 6, 8, 9]
    writer.close()


def test_a_save_that_no_rule_wants_is_passed_over_where_it_would_wait(held: HeldFileSystem) -> None:
    """It would be removed at once. Where nothing is pending it is written all the same: the user asked for it."""
    writer = writer_in(held, choose_removals=lambda infos: [info for info in infos if info.step == 3])
    writer.submit(save_of(1))
    held.wait_until_held()
    writer.submit(save_of(2))
    writer.submit(save_of(3))
    held.release()
    writer.wait_until_finished()

    assert steps_of(writer.infos) == [1, 2]
    writer.close()


def test_a_save_of_the_same_name_takes_the_place_of_one_that_waits(held: HeldFileSystem) -> None:
    """As it would on disk. One that is committed or being written counts as replaced, and goes after the new came."""
    writer = writer_in(held, choose_removals=lambda _: ())
    writer.submit(save_of(1, name="last"))
    held.wait_until_held()
    for step in (2, 3):
        writer.submit(save_of(step, name="last"))
    assert steps_of(writer.planned) == [3]
    held.release()
    writer.wait_until_finished()

    assert steps_of(writer.infos) == steps_of(writer.store.scan().checkpoints) == [3]
    assert names_in(writer.directory) == [".lock", "last"]
    writer.close()


def test_closing_finishes_what_was_asked_for(held: HeldFileSystem) -> None:
    """The directory is given back only then, and no thread is left."""
    writer = writer_in(held)
    writer.submit(save_of(1))
    held.wait_until_held()
    closing = threading.Thread(target=writer.close)
    closing.start()
    closing.join(0.05)
    with pytest.raises(RunLockedError):
        RunWriterElsewhere(writer.directory).open()

    held.release()
    closing.join()

    assert names_in(writer.directory) == [".lock", "step-1"]
    assert [thread.name for thread in threading.enumerate() if "keras_probckpt" in thread.name] == []


class RunWriterElsewhere(RunWriter):
    """A writer that does not know of those of this process, as one in another process."""

    def open(self) -> None:
        """Take the lock, or fail."""
        self._lock.acquire()


def test_a_later_writer_takes_over_when_the_earlier_has_finished(held: HeldFileSystem) -> None:
    """What was asked of the earlier is committed, and two never write at once."""
    earlier = writer_in(held)
    earlier.submit(save_of(1))
    held.wait_until_held()
    later = RunWriter(earlier.directory)
    releasing = threading.Timer(0.05, held.release)
    releasing.start()

    later.open()
    releasing.join()

    assert steps_of(later.store.scan().checkpoints) == [1]
    later.commit("step-2", manifest=manifest_of(2), files=files_of(2))
    assert [name for name in names_in(later.directory) if name != ".lock"] == ["step-1", "step-2"]
    later.close()


def test_what_a_function_of_on_commit_raises_is_no_failure_of_a_save(
    held: HeldFileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """What is removed for the checkpoint goes all the same; one warning, and the count when the writer is closed."""

    def fail(_: CheckpointInfo) -> None:
        raise LookupError

    held.release()
    writer = writer_in(held, on_commit=[fail])
    for step in (1, 2):
        writer.submit(save_of(step))
        writer.wait_until_finished()
    writer.close()

    assert writer.take_failures() == []
    assert names_in(writer.directory) == [".lock", "step-2"]
    assert [message.split(": ")[0] for message in caplog.messages] == [
        "A function of on_commit failed with LookupError",
        "The functions of on_commit failed 2 times in this training.",
    ]


def test_what_is_gone_from_the_disk_is_noticed_at_the_next_save(
    held: HeldFileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """The rules rank what there is, one line says what is not; the last step stays the last."""
    held.release()
    writer = writer_in(held, choose_removals=lambda _: ())
    for step in (1, 2):
        writer.submit(save_of(step))
    writer.wait_until_finished()
    shutil.rmtree(writer.directory / "step-2")

    writer.require_open()
    writer.require_open()

    assert steps_of(writer.infos) == steps_of(writer.planned) == [1]
    assert writer.last_step == 2
    assert caplog.messages == [f"Gone from {writer.directory}, so the rules of this run count it no more: step-2."]
    writer.close()


def test_what_is_gone_is_noticed_before_anything_is_removed_for_it(held: HeldFileSystem) -> None:
    """Somebody may remove the best after the save was asked for: then the next best is not removed for it."""
    held.release()
    seen: list[list[int]] = []

    def keep_all(infos: Sequence[Any]) -> Sequence[Any]:
        seen.append(steps_of(infos))
        return ()

    writer = writer_in(held, choose_removals=keep_all, is_background=True)
    writer.submit(save_of(1))
    writer.wait_until_finished()
    held.hold()
    writer.submit(save_of(2))
    held.wait_until_held()
    shutil.rmtree(writer.directory / "step-1")
    held.release()
    writer.wait_until_finished()

    assert seen[-1] == [2]
    writer.close()


def test_a_forked_child_neither_writes_nor_removes_what_is_its_parents(held: HeldFileSystem) -> None:
    """Its copy of the writer has lost the lock, and with it every right; the parent's save goes on."""
    held.release()
    writer = writer_in(held)
    writer.submit(save_of(1))
    writer.wait_until_finished()
    held.hold()
    writer.submit(save_of(2))
    held.wait_until_held()

    child = os.fork()
    if child == 0:  # pragma: no cover - coverage ends with the parent's threads
        os._exit(_refusals(writer))
    _, status = os.waitpid(child, 0)
    held.release()
    writer.close()

    assert os.waitstatus_to_exitcode(status) == 5
    assert names_in(writer.directory) == [".lock", "step-2"]


def _refusals(writer: RunWriter) -> int:
    """Try all that writes, in a child, and count how much was refused."""
    writer.wait_until_finished()
    attempts: list[Callable[[], object]] = [
        lambda: writer.commit("step-9", manifest=manifest_of(9), files=files_of(9)),
        lambda: writer.remove(writer.infos[0]),
        writer.require_open,
        writer.open,
    ]
    refused = sum(_is_refused(attempt) for attempt in attempts)
    writer.submit(save_of(9))
    writer.wait_until_finished()
    refused += [type(failure) for failure in writer.take_failures()] == [RunLockedError]
    writer.close()
    return refused


def _is_refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except RunLockedError:
        return True
    return False


def test_a_writer_that_is_closed_neither_writes_nor_removes(held: HeldFileSystem) -> None:
    """Without the lock there is no right to."""
    held.release()
    writer = writer_in(held)
    info = writer.commit("step-1", manifest=manifest_of(1), files=files_of(1))
    writer.close()

    with pytest.raises(RunLockedError, match="not by this writer, which is closed or a forked copy"):
        writer.remove(info)
    with pytest.raises(RunLockedError):
        writer.commit("step-2", manifest=manifest_of(2), files=files_of(2))

    assert names_in(writer.directory) == [".lock", "step-1"]


def test_an_exempt_save_is_written_and_nothing_is_removed_for_it(held: HeldFileSystem, tmp_path: pathlib.Path) -> None:
    """The process may be about to end: the rules wait for the next save."""
    held.release()
    writer = writer_in(held, choose_removals=lambda infos: [info for info in infos if info.step > 1])
    writer.submit(save_of(1))
    writer.submit(dataclasses.replace(save_of(2), is_exempt=True))
    writer.wait_until_finished()
    between = steps_of(writer.infos)

    writer.submit(save_of(3))
    writer.wait_until_finished()

    assert between == [1, 2]
    assert steps_of(writer.infos) == [1]
    assert "step-2" not in names_in(tmp_path / "run")
    writer.close()


def test_an_exempt_save_that_waits_is_not_dropped(held: HeldFileSystem) -> None:
    """Whatever the rules say of it beside a newer one."""
    writer = writer_in(held)
    writer.submit(save_of(1))
    held.wait_until_held()
    writer.submit(dataclasses.replace(save_of(2), is_exempt=True))
    writer.submit(save_of(3))

    planned = steps_of(writer.planned)

    assert planned == [1, 2, 3]
    held.release()
    writer.close()


def test_what_a_run_has_after_the_point_it_goes_on_from_is_removed_with_its_next_save(
    held: HeldFileSystem, tmp_path: pathlib.Path
) -> None:
    """Not before: until then it does no harm. A step that is saved again replaces what has its name."""
    held.release()
    earlier = writer_in(held, choose_removals=lambda _: ())
    for step in (1, 2, 3):
        earlier.submit(save_of(step))
    earlier.close()
    later = writer_in(held, choose_removals=lambda _: ())
    found = later.store.scan().checkpoints

    later.adopt(found[:1], abandoned=found[1:])
    before = names_in(tmp_path / "run")
    later.submit(save_of(2))
    later.wait_until_finished()

    assert before == [".lock", "step-1", "step-2", "step-3"]
    assert steps_of(later.infos) == [1, 2]
    assert names_in(tmp_path / "run") == [".lock", "step-1", "step-2"]
    later.close()
