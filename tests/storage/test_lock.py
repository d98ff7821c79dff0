from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from keras_probckpt.errors import CheckpointWriteError, RunLockedError
from keras_probckpt.storage import lock as lock_module
from keras_probckpt.storage.lock import LOCK_NAME, DirectoryLock
from keras_probckpt.storage.store import CheckpointStore
from tests.conftest import FreshPython
from tests.storage.memory_filesystem import MemoryFileSystem
from tests.storage.samples import OWN_KEYS, names_in

CHECKOUT = pathlib.Path(__file__).parents[2]
HOLD = (
    "import pathlib, sys; from keras_probckpt.storage.lock import DirectoryLock;"
    "lock = DirectoryLock(pathlib.Path(sys.argv[1])); lock.acquire(); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def other_process(tmp_path: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    """Give a process that holds the lock of `tmp_path` until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_writer_in_another_process_is_told_who_the_first_is(
    tmp_path: pathlib.Path, other_process: subprocess.Popen[str]
) -> None:
    """Process, host, and since when."""
    with pytest.raises(RunLockedError) as raised:
        DirectoryLock(tmp_path).acquire()

    assert raised.value.path == str(tmp_path)
    assert raised.value.holder.startswith(f"process {other_process.pid} on {socket.gethostname()} since 20")


def test_the_lock_is_free_when_its_holder_ends(tmp_path: pathlib.Path, other_process: subprocess.Popen[str]) -> None:
    """Also when it does not release it."""
    other_process.communicate()

    with DirectoryLock(tmp_path) as lock:
        assert lock.is_held


def test_the_lock_is_free_when_its_holder_is_killed(
    tmp_path: pathlib.Path, other_process: subprocess.Popen[str]
) -> None:
    """The kernel gives it back; nobody has to delete a stale file."""
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()

    with DirectoryLock(tmp_path) as lock:
        assert lock.is_held


def test_a_second_holder_in_the_same_process_is_kept_out(tmp_path: pathlib.Path) -> None:
    """And told that it is this process, so that nobody looks for another one."""
    with DirectoryLock(tmp_path), pytest.raises(RunLockedError) as raised:
        DirectoryLock(tmp_path).acquire()

    assert raised.value.holder.startswith(f"an earlier callback or manager of this process ({os.getpid()}, since 20")


def test_a_lock_that_is_held_is_not_taken_again(tmp_path: pathlib.Path) -> None:
    """Not by the same object either; it stays held."""
    with DirectoryLock(tmp_path) as lock:
        with pytest.raises(RunLockedError):
            lock.acquire()

        assert lock.is_held


def test_a_released_lock_can_be_taken_again(tmp_path: pathlib.Path) -> None:
    """By anybody, and releasing twice does no harm. The file stays."""
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    lock.release()
    lock.release()

    with DirectoryLock(tmp_path):
        assert not lock.is_held
    assert names_in(tmp_path) == [LOCK_NAME]


def test_a_lock_that_nobody_holds_any_more_is_free(tmp_path: pathlib.Path) -> None:
    """A notebook cell that is run again drops the earlier callback without closing it."""
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    del lock

    with DirectoryLock(tmp_path) as second:
        assert second.is_held


def test_the_directory_is_made_where_it_is_missing(tmp_path: pathlib.Path) -> None:
    """A run starts with its lock."""
    with DirectoryLock(tmp_path / "runs" / "exp1"):
        assert names_in(tmp_path / "runs" / "exp1") == [LOCK_NAME]


def test_a_directory_that_cannot_be_is_a_write_error(tmp_path: pathlib.Path) -> None:
    """A file is in its place."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(CheckpointWriteError, match="File exists"):
        DirectoryLock(tmp_path / "file").acquire()


def test_a_symbolic_link_is_not_taken_for_the_lock(tmp_path: pathlib.Path) -> None:
    """The holder's name is not written into a file elsewhere."""
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_NAME).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(CheckpointWriteError):
        DirectoryLock(tmp_path / "run").acquire()

    assert (tmp_path / "elsewhere").read_bytes() == b"mine"


def test_a_lock_file_of_another_program_keeps_what_it_holds(tmp_path: pathlib.Path) -> None:
    """It is locked, and neither emptied nor written over."""
    (tmp_path / LOCK_NAME).write_bytes(b"pid 42")

    with DirectoryLock(tmp_path) as lock:
        assert lock.is_held

    assert (tmp_path / LOCK_NAME).read_bytes() == b"pid 42"


def test_a_reader_needs_no_lock_and_a_sweep_leaves_it(tmp_path: pathlib.Path) -> None:
    """`.lock` is no checkpoint and none of the names that a sweep deletes."""
    filesystem = MemoryFileSystem()
    filesystem.write(LOCK_NAME, [b""])
    store = CheckpointStore(filesystem, keys=OWN_KEYS)

    assert store.scan().checkpoints == ()
    assert store.sweep() == ()
    assert filesystem.list_names() == [LOCK_NAME]


def test_a_forked_child_neither_holds_nor_frees_the_lock(tmp_path: pathlib.Path) -> None:
    """It ends, or releases what it thinks it has, and the parent still holds the lock."""
    lock = DirectoryLock(tmp_path)
    lock.acquire()

    child = os.fork()
    if child == 0:
        was_held = lock.is_held
        lock.release()
        os._exit(was_held)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert lock.is_held
    with pytest.raises(RunLockedError):
        DirectoryLock(tmp_path).acquire()
    lock.release()


def test_a_forked_child_that_lives_on_does_not_keep_the_lock_of_a_parent_that_died(
    tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """A data loader's worker outlives a killed training: the next one must not have to wait for it."""
    program = (
        "import os, pathlib, signal, sys; from keras_probckpt.storage.lock import DirectoryLock;"
        "lock = DirectoryLock(pathlib.Path(sys.argv[1])); lock.acquire(); child = os.fork();"
        "os.closerange(0, 3) if child == 0 else print(child, flush=True);"
        "signal.pause() if child == 0 else os.kill(os.getpid(), signal.SIGKILL)"
    )

    finished = fresh_python("-c", program, str(tmp_path / "run"), succeeds=False)
    child = int(finished.stdout)
    try:
        with DirectoryLock(tmp_path / "run") as lock:
            assert lock.is_held
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_lock_of_a_parent_is_freed_though_a_child_has_a_copy(tmp_path: pathlib.Path) -> None:
    """C code forks without telling Python, and its child has the same open file."""
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    assert lock._file is not None
    copy = os.dup(lock._file.fileno())

    lock.release()

    with DirectoryLock(tmp_path) as second:
        assert second.is_held
    os.close(copy)


def test_a_program_that_ends_with_the_lock_held_ends_silently(
    tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """Nothing is printed while the interpreter shuts down."""
    program = (
        "import pathlib, sys; from keras_probckpt.storage.lock import DirectoryLock;"
        "lock = DirectoryLock(pathlib.Path(sys.argv[1])); lock.acquire(); loop = [lock]; loop.append(loop)"
    )

    finished = fresh_python("-X", "dev", "-c", program, str(tmp_path / "run"))

    assert finished.stderr == ""


def test_what_runs_in_a_forked_child_closes_its_copy_and_no_more(tmp_path: pathlib.Path) -> None:
    """Here a duplicate stands for the parent's open file: it goes on holding the lock."""
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    assert lock._file is not None
    parents = os.dup(lock._file.fileno())

    lock_module._forget_all()
    lock._forget()

    assert not lock.is_held
    with pytest.raises(RunLockedError):
        DirectoryLock(tmp_path).acquire()
    os.close(parents)
    with DirectoryLock(tmp_path) as second:
        assert second.is_held


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_used_with_a_warning(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Training on such a disk is worth more than keeping a second writer out of it."""

    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = DirectoryLock(tmp_path)

    with pytest.warns(UserWarning, match="has no locks"):
        lock.acquire()

    assert lock.is_held
    lock.release()
    assert not lock.is_held


def test_any_other_refusal_is_a_write_error(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is not a disk without locks, and no descriptor is left open."""

    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = names_in(pathlib.Path("/proc/self/fd"))

    with pytest.raises(CheckpointWriteError, match=r"no lock: .*Input/output error"):
        DirectoryLock(tmp_path).acquire()

    assert names_in(pathlib.Path("/proc/self/fd")) == before


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'"process"', b"\xff", b"[" * 5000, b'{"process": 1}'])
def test_a_holder_that_left_no_name_is_still_a_holder(tmp_path: pathlib.Path, text: bytes) -> None:
    """It may have found the disk full, or be of a release that writes something else."""
    with DirectoryLock(tmp_path):
        (tmp_path / LOCK_NAME).write_bytes(text)

        with pytest.raises(RunLockedError) as raised:
            DirectoryLock(tmp_path).acquire()

    assert raised.value.holder == "another process, which left no name"


def test_a_full_disk_does_not_stop_the_lock(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the holder's name is missing."""

    def refuse(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    monkeypatch.setattr(os, "ftruncate", refuse)

    with DirectoryLock(tmp_path) as lock:
        assert lock.is_held
    assert not lock.is_held
