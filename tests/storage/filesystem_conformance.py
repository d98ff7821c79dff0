"""What every file system behind the port does, whatever it is: a subclass gives the `filesystem` fixture."""

from __future__ import annotations

import numpy as np
import pytest

from keras_probckpt.storage.filesystem import FileSystem


class FileSystemConformance:
    """One suite for all of them. The fixture is an empty file system."""

    @pytest.fixture
    def filesystem(self) -> FileSystem:
        """Give an empty file system."""
        raise AssertionError("a subclass gives the file system")

    def test_a_file_holds_its_chunks_one_after_the_other(self, filesystem: FileSystem) -> None:
        """Chunks of any type and shape are written byte by byte; empty ones add nothing."""
        matrix = np.array([[1, 2], [3, 4]], dtype="<u2")
        empty = np.zeros((0, 3), dtype="<f4")

        filesystem.write("file", [b"ab", memoryview(matrix), memoryview(empty), bytearray(b"c")])

        assert filesystem.read("file", limit_bytes=100) == b"ab\x01\x00\x02\x00\x03\x00\x04\x00c"

    def test_a_file_without_chunks_is_empty(self, filesystem: FileSystem) -> None:
        """An empty file is a file."""
        filesystem.write("file", [])

        assert filesystem.read("file", limit_bytes=0) == b""
        assert filesystem.read_buffer("file", size_bytes=0).nbytes == 0

    def test_writing_never_replaces_a_file(self, filesystem: FileSystem) -> None:
        """A second write under the same name is refused, and the first stays."""
        filesystem.write("file", [b"first"])

        with pytest.raises(FileExistsError):
            filesystem.write("file", [b"second"])

        assert filesystem.read("file", limit_bytes=100) == b"first"

    def test_writing_needs_the_directory(self, filesystem: FileSystem) -> None:
        """Nothing is created on the way to a file."""
        with pytest.raises(FileNotFoundError):
            filesystem.write("directory/file", [b""])

        assert filesystem.list_names() == []

    def test_a_write_that_stops_in_the_middle_leaves_the_error_to_the_caller(self, filesystem: FileSystem) -> None:
        """An error of the chunks is not swallowed."""

        def chunks() -> object:
            yield b"half"
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            filesystem.write("file", chunks())

    def test_a_directory_is_created_once(self, filesystem: FileSystem) -> None:
        """Creating is exclusive: two writers never stage in the same place."""
        filesystem.make_directory("directory")

        with pytest.raises(FileExistsError):
            filesystem.make_directory("directory")

    def test_listing_names_files_and_directories_of_one_level(self, filesystem: FileSystem) -> None:
        """Hidden names are shown too, and what is further down is not."""
        filesystem.make_directory("directory")
        filesystem.write("directory/inner", [b""])
        filesystem.write(".hidden", [b""])

        assert sorted(filesystem.list_names()) == [".hidden", "directory"]
        assert filesystem.list_names("directory") == ["inner"]

    def test_listing_what_is_no_directory_is_an_error(self, filesystem: FileSystem) -> None:
        """A file is not an empty directory, nor is nothing."""
        filesystem.write("file", [b""])

        with pytest.raises(NotADirectoryError):
            filesystem.list_names("file")
        with pytest.raises(FileNotFoundError):
            filesystem.list_names("nothing")

    def test_a_rename_moves_a_directory_with_all_it_holds(self, filesystem: FileSystem) -> None:
        """The old name is free, the new one has everything."""
        filesystem.make_directory("old")
        filesystem.write("old/file", [b"data"])

        filesystem.rename("old", "new")

        assert filesystem.list_names() == ["new"]
        assert filesystem.read("new/file", limit_bytes=100) == b"data"

    def test_a_rename_moves_a_file_between_directories(self, filesystem: FileSystem) -> None:
        """The port is not bound to one level."""
        filesystem.make_directory("directory")
        filesystem.write("file", [b"data"])

        filesystem.rename("file", "directory/file")

        assert filesystem.list_names() == ["directory"]
        assert filesystem.read("directory/file", limit_bytes=100) == b"data"

    @pytest.mark.parametrize("target", ["file", "empty", "full"])
    def test_a_rename_never_replaces_anything(self, filesystem: FileSystem, target: str) -> None:
        """Neither a file nor a directory, not even an empty one, which plain rename(2) replaces."""
        filesystem.make_directory("source")
        filesystem.write("file", [b"data"])
        filesystem.make_directory("empty")
        filesystem.make_directory("full")
        filesystem.write("full/file", [b"data"])

        with pytest.raises(FileExistsError):
            filesystem.rename("source", target)

        assert sorted(filesystem.list_names()) == ["empty", "file", "full", "source"]

    def test_renaming_nothing_is_an_error(self, filesystem: FileSystem) -> None:
        """So that a rename that did nothing is never taken for a commit."""
        with pytest.raises(FileNotFoundError):
            filesystem.rename("nothing", "new")

    def test_removing_takes_a_whole_tree_or_one_file(self, filesystem: FileSystem) -> None:
        """What is beside it stays."""
        filesystem.make_directory("directory")
        filesystem.make_directory("directory/inner")
        filesystem.write("directory/inner/file", [b""])
        filesystem.write("file", [b""])
        filesystem.write("stays", [b""])

        filesystem.remove("directory")
        filesystem.remove("file")

        assert filesystem.list_names() == ["stays"]

    def test_removing_nothing_is_an_error(self, filesystem: FileSystem) -> None:
        """The caller decides whether gone already is good enough."""
        with pytest.raises(FileNotFoundError):
            filesystem.remove("nothing")

    def test_the_root_cannot_be_removed(self, filesystem: FileSystem) -> None:
        """An empty name deletes nothing."""
        with pytest.raises(ValueError, match="root"):
            filesystem.remove("")

    def test_files_directories_and_the_root_can_be_synced(self, filesystem: FileSystem) -> None:
        """Everything the protocol makes durable has a way to be made so."""
        filesystem.make_directory("directory")
        filesystem.write("directory/file", [b"data"])

        filesystem.sync("directory/file")
        filesystem.sync("directory")
        filesystem.sync("")

        assert filesystem.read("directory/file", limit_bytes=100) == b"data"

    def test_syncing_nothing_is_an_error(self, filesystem: FileSystem) -> None:
        """What is not there is not durable."""
        with pytest.raises(FileNotFoundError):
            filesystem.sync("nothing")

    def test_a_file_above_the_limit_is_refused(self, filesystem: FileSystem) -> None:
        """The error has both numbers."""
        filesystem.write("file", [b"12345"])

        with pytest.raises(OSError, match="it holds 5 bytes, the limit is 4"):
            filesystem.read("file", limit_bytes=4)

    def test_a_buffer_is_fresh_aligned_and_writable(self, filesystem: FileSystem) -> None:
        """TensorFlow may adopt it: nobody else has this memory."""
        filesystem.write("file", [b"12345"])

        first = filesystem.read_buffer("file", size_bytes=5)
        second = filesystem.read_buffer("file", size_bytes=5)
        first[0] = ord("x")

        assert bytes(first) == b"x2345"
        assert bytes(second) == b"12345"
        assert np.frombuffer(first, dtype=np.uint8).ctypes.data % 64 == 0

    def test_a_part_of_a_file_is_read_by_itself(self, filesystem: FileSystem) -> None:
        """Into memory of its own, so that whoever keeps it keeps no more; aligned, wherever it was in the file."""
        filesystem.write("file", [b"12345"])

        parts = [
            filesystem.read_buffer("file", size_bytes=5, start=start, stop=stop)
            for start, stop in ((0, 2), (1, 4), (3, None), (5, 5))
        ]

        assert [bytes(part) for part in parts] == [b"12", b"234", b"45", b""]
        assert all(np.frombuffer(part, dtype=np.uint8).ctypes.data % 64 == 0 for part in parts[:3])

    @pytest.mark.parametrize("size_bytes", [4, 6])
    def test_a_file_of_another_size_is_refused(self, filesystem: FileSystem, size_bytes: int) -> None:
        """Shorter or longer: the error has both numbers."""
        filesystem.write("file", [b"12345"])

        with pytest.raises(OSError, match=f"it holds 5 bytes where {size_bytes} were written"):
            filesystem.read_buffer("file", size_bytes=size_bytes)

    def test_reading_nothing_or_a_directory_is_an_error(self, filesystem: FileSystem) -> None:
        """FileNotFoundError is kept for what is missing."""
        filesystem.make_directory("directory")

        with pytest.raises(FileNotFoundError):
            filesystem.read("nothing", limit_bytes=100)
        with pytest.raises(OSError, match=r"not a regular file|[Dd]irectory"):
            filesystem.read("directory", limit_bytes=100)

    def test_a_path_through_a_file_is_an_error(self, filesystem: FileSystem) -> None:
        """A file holds nothing."""
        filesystem.write("file", [b""])

        with pytest.raises(NotADirectoryError):
            filesystem.read("file/inner", limit_bytes=100)
        with pytest.raises(NotADirectoryError):
            filesystem.write("file/inner", [b""])

    @pytest.mark.parametrize("name", ["..", "../file", "/file", "a//b", "a/", ".", "a/../b", "a\0b"])
    def test_no_name_leaves_the_root(self, filesystem: FileSystem, name: str) -> None:
        """Nor has anything two names."""
        filesystem.make_directory("a")
        filesystem.write("source", [b""])

        for operation in (
            lambda: filesystem.read(name, limit_bytes=100),
            lambda: filesystem.read_buffer(name, size_bytes=0),
            lambda: filesystem.write(name, [b""]),
            lambda: filesystem.make_directory(name),
            lambda: filesystem.remove(name),
            lambda: filesystem.rename("source", name),
            lambda: filesystem.rename(name, "target"),
            lambda: filesystem.list_names(name),
            lambda: filesystem.sync(name),
        ):
            with pytest.raises(ValueError, match="not a name within"):
                operation()

    def test_there_is_room_for_something_or_that_is_not_known(self, filesystem: FileSystem) -> None:
        """What is free is a number of bytes, if it is told at all."""
        assert filesystem.free_bytes() is None or filesystem.free_bytes() > 0

    def test_messages_can_name_a_place(self, filesystem: FileSystem) -> None:
        """The last part is the name itself: `CheckpointInfo.path` is made of it."""
        assert filesystem.describe("step-1").endswith("/step-1")
