"""Disks that are full, gone, read-only or failing: an error that says so, and nothing that was saved is lost."""

from __future__ import annotations

import dataclasses
import errno
import os
import pathlib
import stat
import subprocess
from collections.abc import Iterator

import pytest

from keras_probckpt.errors import CheckpointNotFoundError, CheckpointWriteError, RunLockedError
from keras_probckpt.storage.catalog import list_checkpoints, verify_checkpoint
from keras_probckpt.storage.run import RunWriter
from keras_probckpt.storage.store import CheckpointStore
from tests.conftest import FreshPython
from tests.counts import count
from tests.storage.memory_filesystem import FaultyFileSystem, MemoryFileSystem
from tests.storage.samples import OWN_KEYS, files_of, manifest_of, names_in, store_of

MEGABYTE = 1 << 20
# What writes where it may not, in a process of its own: its limits and its user are nobody else's.
SAVE = """
import os, pathlib, resource, signal, sys
from keras_probckpt.errors import CheckpointWriteError
from keras_probckpt.storage.run import RunWriter
from tests.storage.samples import manifest_of
directory, user, limit_bytes, *sizes = sys.argv[1:]
if int(user):
    os.setgid(int(user)), os.setuid(int(user))
if int(limit_bytes):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), int(limit_bytes)))
writer = RunWriter(pathlib.Path(directory))
for step, size in enumerate(sizes, start=1):
    try:
        writer.require_open()
        writer.commit(f"step-{step}", manifest=manifest_of(step), files={"model.safetensors": [bytes(int(size))]})
    except CheckpointWriteError as error:
        print(step, error.problem)
    else:
        print(step, "saved")
"""


def save(
    fresh_python: FreshPython, directory: pathlib.Path, *sizes: int, user: int = 0, limit_bytes: int = 0
) -> dict[int, str]:
    """Save steps of these sizes in another process; give what became of each."""
    finished = fresh_python("-W", "ignore", "-c", SAVE, str(directory), str(user), str(limit_bytes), *map(str, sizes))
    return {int(line.split(" ", 1)[0]): line.split(" ", 1)[1] for line in finished.stdout.splitlines()}


def steps_in(directory: pathlib.Path) -> list[int]:
    """List the steps, and read every byte of each."""
    return [verify_checkpoint(info.path).step for info in list_checkpoints(directory)]


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path | None]:
    """Mount a disk of four megabytes; none where that is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    is_mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield place if is_mounted else None
    if is_mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)  # noqa: S607 - where mount was found


def test_a_full_disk_is_an_error_and_loses_nothing(
    small_disk: pathlib.Path | None, tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """During the first save or a later one; a smaller one fits after it, and nothing half-written takes up room.

    Where no disk can be mounted, the kernel's limit on the size of a file stands in.
    """
    run = (small_disk or tmp_path) / "run"
    limit_bytes = 0 if small_disk else 4 * MEGABYTE

    said = save(fresh_python, run, 9 * MEGABYTE, MEGABYTE, 9 * MEGABYTE, 2 * MEGABYTE, limit_bytes=limit_bytes)

    assert {step: text == "saved" for step, text in said.items()} == {1: False, 2: True, 3: False, 4: True}
    assert all("No space left on device" in said[step] or "File too large" in said[step] for step in (1, 3))
    assert steps_in(run) == [2, 4]
    assert names_in(run) == [".lock", "step-2", "step-4"]
    count("saves on a full disk", 4)


def test_a_disk_without_room_for_the_lock_is_an_error(
    small_disk: pathlib.Path | None, tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """Not a byte is left: the first save says so, and the next process saves once there is room."""
    run = (small_disk or tmp_path) / "run"
    if small_disk is not None:
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "ballast").write_bytes(bytes(9 * MEGABYTE))

    said = save(fresh_python, run, 100, limit_bytes=0 if small_disk else 50)
    if small_disk is not None:
        (small_disk / "ballast").unlink()
    again = save(fresh_python, run, 100)

    assert said[1] != "saved"
    assert again[1] == "saved"
    assert steps_in(run) == [1]


def test_a_directory_where_nothing_may_be_written_is_an_error(
    tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """Permission denied, to a user who is not root; what is there can be read all the same."""
    run = tmp_path / "run"
    store = _made(run)
    store.commit("step-9", manifest=manifest_of(9), files=files_of(9))
    run.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(stat.S_IRWXU | stat.S_IXOTH)

    said = save(fresh_python, run, 100, user=65534 if os.geteuid() == 0 else 0)

    assert "Permission denied" in said[1]
    assert steps_in(run) == [9]


def _made(run: pathlib.Path) -> CheckpointStore:
    run.mkdir(parents=True)
    return store_of(run)


def test_a_read_only_file_system_is_an_error(
    small_disk: pathlib.Path | None, tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """One that is mounted so, or goes read-only after an error of the disk; reading goes on."""
    run = (small_disk or tmp_path) / "run"
    _made(run).commit("step-9", manifest=manifest_of(9), files=files_of(9))
    if small_disk is not None:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)  # noqa: S607 - as above

        said = save(fresh_python, run, 100)

        assert "Read-only file system" in said[1]
    assert steps_in(run) == [9]


def test_a_directory_that_vanishes_is_an_error_and_not_made_again_half(tmp_path: pathlib.Path) -> None:
    """Somebody deleted the run under a training, or the disk was unplugged."""
    writer = RunWriter(tmp_path / "run")
    writer.open()
    writer.commit("step-1", manifest=manifest_of(1), files=files_of(1))
    (tmp_path / "run").rename(tmp_path / "gone")

    with pytest.raises(CheckpointWriteError, match="is gone, and every checkpoint in it"):
        writer.commit("step-2", manifest=manifest_of(2), files=files_of(2))
    with pytest.raises(CheckpointNotFoundError, match="there is nothing of that name"):
        list_checkpoints(tmp_path / "run")

    assert steps_in(tmp_path / "gone") == [1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("moment", range(10))
def test_a_disk_that_fails_is_an_error(moment: int) -> None:
    """EIO of whatever operation, that of a sync included: it is no checkpoint until the disk has said that it is."""
    disk = MemoryFileSystem()
    error = OSError(errno.EIO, "Input/output error")
    store = CheckpointStore(FaultyFileSystem(disk, fails_at=moment, error=error), keys=OWN_KEYS)

    with pytest.raises(CheckpointWriteError, match="Input/output error"):
        store.commit("step-1", manifest=manifest_of(1), files=files_of(1))

    assert store.scan().checkpoints == ()
    store.commit("step-1", manifest=manifest_of(1), files=files_of(1))
    assert [info.step for info in store.scan().checkpoints] == [1]


def test_a_clock_that_goes_back_changes_no_order(tmp_path: pathlib.Path) -> None:
    """The newest is that of the last run and the most steps, whatever the time was."""
    store = store_of(tmp_path)
    for step, year in ((1, 2031), (2, 2026), (3, 1970)):
        manifest = dataclasses.replace(manifest_of(step), created_at=f"{year}-01-01T00:00:00Z")
        store.commit(f"step-{step}", manifest=manifest, files=files_of(step))
        os.utime(tmp_path / f"step-{step}", (0, 10**9 - step * 10**8))
    later = dataclasses.replace(manifest_of(1, run="0000000a", run_number=2), created_at="1969-12-31T23:59:59Z")
    store.commit("again", manifest=later, files=files_of(1))

    assert [info.name for info in list_checkpoints(tmp_path)] == ["step-1", "step-2", "step-3", "again"]
    assert verify_checkpoint(tmp_path).name == "again"


@pytest.mark.parametrize(
    "name",
    [
        "with spaces",
        " ",
        "Zoë 学習",
        "👩‍🔬",
        "e\u0301",
        "a'b\"c$(d);e&f|g",
        "new\nline",
        "%s{0}",
        "-rf",
        "x" * 200,
        "\u202egnp",
    ],
    ids=ascii,
)
def test_a_path_may_be_whatever_the_file_system_takes(tmp_path: pathlib.Path, name: str) -> None:
    """As the name of the run and of the checkpoint, several deep."""
    run = tmp_path / name / name
    writer = RunWriter(run)
    writer.open()
    writer.commit(name, manifest=manifest_of(1), files=files_of(1))
    writer.close()

    assert [info.name for info in list_checkpoints(run)] == [name]
    assert steps_in(run / name) == [1]


def test_a_path_that_is_too_long_is_an_error(tmp_path: pathlib.Path) -> None:
    """The kernel takes 4096 bytes: nothing is made, and the error is ours."""
    run = tmp_path.joinpath(*["x" * 200] * 21)

    with pytest.raises(CheckpointWriteError, match="File name too long"):
        RunWriter(run).open()
    with pytest.raises((CheckpointNotFoundError, OSError)):
        list_checkpoints(run)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_files_have_the_rights_and_the_group_that_the_process_gives_them(tmp_path: pathlib.Path, umask: int) -> None:
    """A group that shares a directory by its set-group-id bit shares what is saved there."""
    run = tmp_path / "run"
    run.mkdir()
    group = 12345 if os.geteuid() == 0 else os.getegid()
    os.chown(run, -1, group)
    run.chmod(stat.S_ISGID | stat.S_IRWXU | stat.S_IRWXG)
    before = os.umask(umask)
    try:
        writer = RunWriter(run)
        writer.open()
        info = writer.commit("step-1", manifest=manifest_of(1), files=files_of(1))
        writer.close()
    finally:
        os.umask(before)

    for path in (info.path, *info.path.iterdir(), run / ".lock"):
        status = path.stat()
        whole = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(status.st_mode) & 0o777 == whole & ~umask, path
        assert status.st_gid == group, path


def test_of_two_processes_that_write_one_run_the_second_is_told_and_the_first_goes_on(
    tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """Neither loses anything."""
    writer = RunWriter(tmp_path / "run")
    writer.open()
    writer.commit("step-1", manifest=manifest_of(1), files=files_of(1))
    program = (
        "import pathlib, sys; from keras_probckpt.storage.run import RunWriter;"
        "RunWriter(pathlib.Path(sys.argv[1])).open()"
    )

    second = fresh_python("-c", program, str(tmp_path / "run"), succeeds=False)
    writer.commit("step-2", manifest=manifest_of(2), files=files_of(2))
    writer.close()

    assert RunLockedError.__name__ in second.stderr
    assert f"process {os.getpid()} on" in second.stderr
    assert steps_in(tmp_path / "run") == [1, 2]
