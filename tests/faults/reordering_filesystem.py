"""A double of the file-system port: a disk that keeps what was not synced in any order, in parts, or not at all."""

from __future__ import annotations

from collections.abc import Callable

from tests.storage.memory_filesystem import MemoryFileSystem, _Directory, _File

_BLOCK_BYTES = 5


class ReorderingFileSystem(MemoryFileSystem):
    """Of what was not synced, a power cut keeps any selection: later changes without earlier ones too.

    Each change of a directory is there or not, by itself: a rename is one change, as every file system with a journal
    has it, and only changes that share a name keep their order. Of a file's unsynced bytes each block is there or is
    zeros, at any of the lengths that the file had. `MemoryFileSystem` is the gentler disk, which keeps the order within
    one directory.
    """

    def remove(self, name: str) -> None:
        """Delete one entry after the other, as `rmtree` does: the files of a directory may be gone before it is."""
        node = self._find(name)
        if isinstance(node, _Directory):
            for entry in list(node.entries):
                self.remove(f"{name}/{entry}")
        super().remove(name)

    def after_power_cut(self, *, choose: Callable[[int], int]) -> ReorderingFileSystem:
        """Give what is left; `choose(n)` picks one of n, for each change, each length and each block."""
        survivor = ReorderingFileSystem()
        survivor._root = _survivor_of(self._root, choose)
        return survivor


def _survivor_of(directory: _Directory, choose: Callable[[int], int]) -> _Directory:
    entries = dict(directory.versions[0])
    lost: set[str] = set()
    for before, after in zip(directory.versions, directory.versions[1:], strict=False):
        changed = {name for name in before.keys() | after.keys() if before.get(name) is not after.get(name)}
        if changed & lost or not choose(2):
            lost |= changed
        else:
            entries = {name: node for name, node in entries.items() if name not in changed}
            entries |= {name: after[name] for name in changed if name in after}
    return _Directory([{name: _node(node, choose) for name, node in entries.items()}])


def _node(node: _File | _Directory, choose: Callable[[int], int]) -> _File | _Directory:
    return _survivor_of(node, choose) if isinstance(node, _Directory) else _File([_bytes_of(node, choose)])


def _bytes_of(file: _File, choose: Callable[[int], int]) -> bytes:
    data = file.versions[choose(len(file.versions))]
    durable = len(file.versions[0])
    blocks = [data[start : start + _BLOCK_BYTES] for start in range(durable, len(data), _BLOCK_BYTES)]
    return data[:durable] + b"".join(block if choose(2) else bytes(len(block)) for block in blocks)
