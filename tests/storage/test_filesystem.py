from __future__ import annotations

import errno
import os
import pathlib
import resource
import stat

import pytest

from keras_probckpt.storage.filesystem import FileSystem, LocalFileSystem, make_directories
from tests.storage.filesystem_conformance import FileSystemConformance
from tests.storage.memory_filesystem import MemoryFileSystem
from tests.storage.samples import names_in


class TestLocalFileSystem(FileSystemConformance):
    """The local disk does what the port says."""

    @pytest.fixture
    def filesystem(self, tmp_path: pathlib.Path) -> FileSystem:
        """Give an empty directory."""
        return LocalFileSystem(tmp_path)


class TestMemoryFileSystem(FileSystemConformance):
    """So does the double that other tests put in its place."""

    @pytest.fixture
    def filesystem(self) -> FileSystem:
        """Give an empty tree."""
        return MemoryFileSystem()


def test_a_power_cut_in_memory_loses_what_was_not_synced() -> None:
    """The double can fail a protocol that forgets a sync: data, entries, or both."""
    filesystem = MemoryFileSystem()
    filesystem.make_directory("synced")
    filesystem.write("synced/data", [b"kept"])
    filesystem.write("synced/torn", [b"lost"])
    filesystem.sync("synced/data")
    filesystem.sync("synced")
    filesystem.sync("")
    filesystem.make_directory("unsynced")

    survivor = filesystem.after_power_cut(choose=lambda _states: 0)

    assert survivor.list_names() == ["synced"]
    assert survivor.read("synced/data", limit_bytes=9) == b"kept"
    assert survivor.read("synced/torn", limit_bytes=9) == b""


def test_a_power_cut_in_memory_may_also_lose_nothing() -> None:
    """What was not synced can be there all the same."""
    filesystem = MemoryFileSystem()
    filesystem.write("file", [b"data"])

    survivor = filesystem.after_power_cut(choose=lambda states: states - 1)

    assert survivor.read("file", limit_bytes=9) == b"data"


def test_a_symbolic_link_in_place_of_a_file_is_refused(tmp_path: pathlib.Path) -> None:
    """A checkpoint cannot point the reader at a file of the user's."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "file").symlink_to(tmp_path / "secret")

    with pytest.raises(OSError, match="it is a symbolic link, not a file of its own"):
        LocalFileSystem(tmp_path).read("file", limit_bytes=100)
    with pytest.raises(OSError, match="it is a symbolic link, not a file of its own"):
        LocalFileSystem(tmp_path).read_buffer("file", size_bytes=6)


def test_a_symbolic_link_in_place_of_a_directory_is_not_followed(tmp_path: pathlib.Path) -> None:
    """Nothing is read, written or listed through it."""
    (tmp_path / "root").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"data")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    filesystem = LocalFileSystem(tmp_path / "root")

    with pytest.raises(NotADirectoryError, match="symbolic link"):
        filesystem.read("link/file", limit_bytes=100)
    with pytest.raises(NotADirectoryError, match="symbolic link"):
        filesystem.write("link/new", [b""])
    with pytest.raises(NotADirectoryError, match="symbolic link"):
        filesystem.list_names("link")

    assert names_in(tmp_path / "elsewhere") == ["file"]


def test_removing_a_symbolic_link_leaves_what_it_points_at(tmp_path: pathlib.Path) -> None:
    """Only the link goes."""
    (tmp_path / "root").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")

    LocalFileSystem(tmp_path / "root").remove("link")

    assert names_in(tmp_path / "root") == []
    assert (tmp_path / "elsewhere").is_dir()


def test_a_rename_does_not_replace_a_dangling_link(tmp_path: pathlib.Path) -> None:
    """A link whose target is missing still has its name."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")

    with pytest.raises(FileExistsError):
        LocalFileSystem(tmp_path).rename("directory", "link")


def test_a_fifo_in_place_of_a_file_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    """Opening a FIFO waits for a writer for ever, unless one takes care."""
    os.mkfifo(tmp_path / "file")

    with pytest.raises(OSError, match="it is not a regular file"):
        LocalFileSystem(tmp_path).read("file", limit_bytes=100)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short read is never padded with what was in memory."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    fstat = os.fstat

    def fstat_and_shrink(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_ino == path.stat().st_ino:
            os.truncate(path, 3)
        return status

    monkeypatch.setattr(os, "fstat", fstat_and_shrink)

    with pytest.raises(OSError, match="it ended 2 bytes before its size of 5") as raised:
        LocalFileSystem(tmp_path).read_buffer("file", size_bytes=5)
    assert raised.value.filename == str(path)


def test_an_error_while_writing_names_the_file(tmp_path: pathlib.Path) -> None:
    """write(2) itself says only "No space left on device"."""

    def chunks() -> object:
        yield b"half"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device") as raised:
        LocalFileSystem(tmp_path).write("file", chunks())

    assert raised.value.filename == str(tmp_path / "file")


def test_a_write_that_the_kernel_takes_only_in_part_is_not_taken_for_done(tmp_path: pathlib.Path) -> None:
    """The kernel writes what fits and says how much; the next call is the one it refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            LocalFileSystem(tmp_path).write("file", [b"x" * 600, b"y" * 600])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert raised.value.filename == str(tmp_path / "file")
    assert (tmp_path / "file").stat().st_size == 1000


def test_new_files_and_directories_get_the_rights_that_the_umask_leaves(tmp_path: pathlib.Path) -> None:
    """A group that shares its runs by its umask can read what is saved, and nobody else can."""
    filesystem = LocalFileSystem(tmp_path)
    before = os.umask(0o027)
    try:
        filesystem.make_directory("directory")
        filesystem.write("directory/file", [b""])
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "directory").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "directory" / "file").stat().st_mode) == 0o640


def test_a_file_system_that_cannot_sync_directories_is_tolerated(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems say EINVAL to fsync on a directory; there is nothing better to do there."""

    def refuse(_descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(os, "fsync", refuse)

    LocalFileSystem(tmp_path).sync("")

    with pytest.raises(OSError, match="Invalid argument"):
        LocalFileSystem(tmp_path).sync("file")


def test_a_sync_that_fails_is_an_error(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO means the data is lost, and says which file's."""

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(OSError, match="Input/output error") as raised:
        LocalFileSystem(tmp_path).sync("")
    assert raised.value.filename == str(tmp_path)


def test_missing_directories_are_made_and_synced_from_above(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new directory's entry is durable; those that were there are left alone."""
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(str(pathlib.Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)

    make_directories(tmp_path / "a" / "b")
    make_directories(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a")]


def test_what_is_free_is_told_where_it_is_known(tmp_path: pathlib.Path) -> None:
    """Of a directory that is not there, and of a file system that has no blocks, it is not."""
    assert (LocalFileSystem(tmp_path).free_bytes() or 0) > 0
    assert LocalFileSystem(tmp_path / "missing").free_bytes() is None
    assert LocalFileSystem(pathlib.Path("/proc")).free_bytes() is None
