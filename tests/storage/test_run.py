from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import pathlib
import re
import threading
from collections.abc import Iterator

import pytest

from keras_probckpt.errors import RunLockedError
from keras_probckpt.storage.run import RunWriter
from tests.conftest import FreshPython
from tests.storage.samples import files_of, manifest_of, names_in

WRITE = (
    "import pathlib, sys; from keras_probckpt.storage.run import RunWriter;"
    "writer = RunWriter(pathlib.Path(sys.argv[1])); writer.open(); writer.close()"
)


def commit(writer: RunWriter, step: int) -> None:
    """Commit a small checkpoint."""
    writer.commit(f"step-{step}", manifest=manifest_of(step, run=writer.run), files=files_of(step))


def test_each_writer_writes_a_run_of_its_own(tmp_path: pathlib.Path) -> None:
    """Told apart by eight hexadecimal digits."""
    runs = {RunWriter(tmp_path).run for _ in range(20)}

    assert len(runs) == 20
    assert all(re.fullmatch("[0-9a-f]{8}", run) for run in runs)


def test_making_a_writer_touches_nothing(tmp_path: pathlib.Path) -> None:
    """Only `open` does."""
    RunWriter(tmp_path / "runs" / "exp1")

    assert names_in(tmp_path) == []


def test_an_open_writer_holds_the_directory_until_it_is_closed(
    tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """Against other processes."""
    writer = RunWriter(tmp_path / "run")
    writer.open()
    refused = fresh_python("-c", WRITE, str(tmp_path / "run"), succeeds=False)
    writer.close()
    allowed = fresh_python("-c", WRITE, str(tmp_path / "run"))

    assert "RunLockedError" in refused.stderr
    assert allowed.returncode == 0


def test_what_is_committed_is_known_in_order(tmp_path: pathlib.Path) -> None:
    """With its place and the signature of this user."""
    with_two = RunWriter(tmp_path)
    with_two.open()
    commit(with_two, 2)
    commit(with_two, 1)

    assert [(info.step, info.name, info.signature) for info in with_two.infos] == [
        (2, "step-2", "own"),
        (1, "step-1", "own"),
    ]
    with_two.close()


def test_a_checkpoint_that_replaces_another_is_known_once(tmp_path: pathlib.Path) -> None:
    """As the newest."""
    writer = RunWriter(tmp_path)
    writer.open()
    for step in (1, 2):
        commit(writer, step)
    replaced = writer.infos[0]
    writer.commit("step-1", manifest=manifest_of(9, run=writer.run), files=files_of(9))

    assert [info.step for info in writer.infos] == [2, 9]
    assert replaced not in writer.infos
    assert [info.step for info in writer.store.scan().checkpoints] == [2, 9]
    writer.close()


def test_what_is_removed_is_forgotten(tmp_path: pathlib.Path) -> None:
    """On disk too."""
    writer = RunWriter(tmp_path)
    writer.open()
    for step in (1, 2):
        commit(writer, step)

    writer.remove(writer.infos[0])

    assert [info.step for info in writer.infos] == [2]
    assert "step-1" not in names_in(tmp_path)
    writer.close()


def test_opening_clears_up_after_a_writer_that_died(tmp_path: pathlib.Path) -> None:
    """And leaves what is none of ours."""
    (tmp_path / ".step-1.partial-9999999999-0123456789abcdef").mkdir()
    (tmp_path / "notes").mkdir()
    writer = RunWriter(tmp_path)

    writer.open()

    assert names_in(tmp_path) == [".lock", "notes"]
    writer.close()


def test_a_later_writer_of_the_process_takes_the_directory_over(tmp_path: pathlib.Path) -> None:
    """In a notebook the earlier one may live on in the traceback of a training that failed."""
    earlier, later = RunWriter(tmp_path), RunWriter(tmp_path)
    earlier.open()
    later.open()

    commit(later, 1)

    assert [info.step for info in later.infos] == [1]
    with pytest.raises(RunLockedError, match="a later callback or manager of this process"):
        earlier.require_open()
    later.close()


def test_a_writer_of_another_thread_keeps_its_directory(tmp_path: pathlib.Path) -> None:
    """It may be in the midst of a training; once it is closed, or its thread has ended, another takes over."""
    begun, ended = threading.Event(), threading.Event()

    def train() -> None:
        running = RunWriter(tmp_path)
        writers.append(running)
        running.open()
        begun.set()
        ended.wait()
        commit(running, 1)

    writers: list[RunWriter] = []
    thread = threading.Thread(target=train, name="first training")
    thread.start()
    begun.wait()
    second = RunWriter(tmp_path)
    try:
        with pytest.raises(RunLockedError, match="another callback or manager of this process, in its thread 'first t"):
            second.open()
    finally:
        ended.set()
        thread.join()
    second.open()

    assert [info.step for info in writers[0].infos] == [1]
    assert [info.step for info in second.store.scan().checkpoints] == [1]
    second.close()


def test_a_writer_whose_training_still_runs_keeps_its_directory(tmp_path: pathlib.Path) -> None:
    """As the first of two callbacks of one fit; when that has ended, it may be taken over."""
    earlier, later = RunWriter(tmp_path), RunWriter(tmp_path)
    is_running = True
    earlier.is_running = lambda: is_running
    earlier.open()

    with pytest.raises(RunLockedError, match="another callback of a fit that is still running"):
        later.open()
    commit(earlier, 1)
    is_running = False
    later.open()

    with pytest.raises(RunLockedError, match="a later callback or manager of this process"):
        earlier.require_open()
    later.close()


def test_the_lock_proves_that_another_writer_is_dead(tmp_path: pathlib.Path) -> None:
    """In a container its number is soon another's: what it left is cleared up, and what it moved aside is back."""
    dead = f"{os.getppid()}-0123456789abcdef"
    with opened(tmp_path) as before:
        commit(before, 1)
    (tmp_path / "step-1").rename(tmp_path / f".step-1.replaced-{dead}")
    (tmp_path / f".step-2.partial-{dead}").mkdir()
    (tmp_path / f".step-2.partial-{dead}" / "model.safetensors").write_bytes(b"half")

    with opened(tmp_path):
        pass

    assert names_in(tmp_path) == [".lock", "step-1"]


def test_without_locks_a_number_that_is_somebodys_is_a_living_writers(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There nothing proves that it is dead."""

    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / f".step-2.partial-{os.getppid()}-0123456789abcdef").mkdir()

    with pytest.warns(UserWarning, match="has no locks"), opened(tmp_path):
        pass

    assert names_in(tmp_path) == [".lock", f".step-2.partial-{os.getppid()}-0123456789abcdef"]


@contextlib.contextmanager
def opened(directory: pathlib.Path) -> Iterator[RunWriter]:
    """Open a writer, and close it."""
    writer = RunWriter(directory)
    writer.open()
    yield writer
    writer.close()


def test_one_directory_is_one_under_any_of_its_names(tmp_path: pathlib.Path) -> None:
    """A path with `..` in it, or through a link, is no second directory."""
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    first = RunWriter(tmp_path / "run")
    first.open()
    second = RunWriter(tmp_path / "link")
    third = RunWriter(tmp_path / "link" / ".." / "run")

    second.open()
    third.open()

    with pytest.raises(RunLockedError, match="a later callback or manager of this process"):
        second.require_open()
    third.close()


def test_a_writer_that_was_taken_over_can_take_back_when_it_is_asked_to(tmp_path: pathlib.Path) -> None:
    """`open` says that this is meant; mere use does not."""
    earlier, later = RunWriter(tmp_path), RunWriter(tmp_path)
    earlier.open()
    later.open()

    earlier.open()

    earlier.require_open()
    with pytest.raises(RunLockedError):
        later.require_open()
    earlier.close()


def test_a_writer_opens_itself_when_it_is_first_used(tmp_path: pathlib.Path) -> None:
    """And again after it was closed; while it is open nothing happens."""
    writer = RunWriter(tmp_path)

    writer.require_open()
    writer.require_open()
    commit(writer, 1)
    writer.close()
    writer.require_open()
    commit(writer, 2)

    assert [info.step for info in writer.infos] == [1, 2]
    writer.close()


def test_opening_twice_is_opening_once(tmp_path: pathlib.Path) -> None:
    """The writer does not lock itself out."""
    writer = RunWriter(tmp_path)

    writer.open()
    writer.open()

    commit(writer, 1)
    assert [info.step for info in writer.infos] == [1]
    writer.close()
    writer.close()


def test_a_writer_that_is_gone_stands_in_nobodys_way(tmp_path: pathlib.Path) -> None:
    """Nobody has to close what nobody has."""
    RunWriter(tmp_path).open()
    gc.collect()
    writer = RunWriter(tmp_path)

    writer.open()

    commit(writer, 1)
    assert [info.step for info in writer.infos] == [1]
    writer.close()


def test_writers_of_two_directories_do_not_meet(tmp_path: pathlib.Path) -> None:
    """Each holds its own."""
    first, second = RunWriter(tmp_path / "a"), RunWriter(tmp_path / "b")

    first.open()
    second.open()

    first.require_open()
    second.require_open()
    commit(first, 1)
    commit(second, 2)
    assert [info.step for info in first.infos] == [1]
    assert [info.step for info in second.infos] == [2]
    first.close()
    second.close()


def test_a_later_writer_goes_on_with_a_run(tmp_path: pathlib.Path) -> None:
    """What was committed before is its own from then on, and it commits under the same identifier."""
    earlier = RunWriter(tmp_path)
    earlier.open()
    commit(earlier, 1)
    earlier.close()
    later = RunWriter(tmp_path)
    later.open()

    later.adopt(later.store.scan().checkpoints)
    commit(later, 2)

    assert later.run == earlier.run
    assert [(info.step, info.run) for info in later.infos] == [(1, earlier.run), (2, earlier.run)]
    later.close()
