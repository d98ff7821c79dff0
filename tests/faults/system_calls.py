"""The system calls of a writer, seen from within its process: written down, and any of them its last."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import io
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any, Literal

When = Literal["before", "inside", "after"]

_open = io.open
_fsync = os.fsync


@dataclasses.dataclass
class Tap:
    """Sees every call that changes the disk, whoever makes it.

    Attributes:
        dies_at: Number of the call, from 0, at which the process is killed; `None` for none.
        when: Before the call, after it, or inside: of a write half is done, of any other nothing.
        calls: What was called with what, such as `("rename", "/run/.a", "/run/a")`.
    """

    dies_at: int | None = None
    when: When = "before"
    calls: list[tuple[str, ...]] = dataclasses.field(default_factory=list)

    def see(self, call: tuple[str, ...], function: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Do a call, or die of it."""
        number = len(self.calls)
        self.calls.append(call)
        if number == self.dies_at and self.when != "after":
            if self.when == "inside" and half is not None:
                half()
            os.kill(os.getpid(), signal.SIGKILL)
        result = function()
        if number == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


class _File(io.FileIO):
    def __init__(self, path: Any, mode: str, tap: Tap) -> None:
        tap.see(("create", os.fspath(path)), lambda: super(_File, self).__init__(path, mode.replace("b", "")))
        self._tap = tap

    def write(self, data: Any) -> int:
        """Write, and say so."""
        view = memoryview(data)

        def half() -> None:
            super(_File, self).write(view[: len(view) // 2])

        return int(self._tap.see(("write", str(self.name)), lambda: super(_File, self).write(view), half))


@contextlib.contextmanager
def tapped(tap: Tap) -> Iterator[Tap]:
    """Let every change of the disk that this process makes go through a tap."""
    with contextlib.ExitStack() as stack:

        def replace(module: Any, name: str, function: Any) -> None:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, function)

        for name in ("mkdir", "rename", "unlink", "rmdir", "link", "write", "ftruncate", "fsync"):
            replace(os, name, _tapped_call(getattr(os, name), name, tap))
        replace(fcntl, "flock", _tapped_call(fcntl.flock, "flock", tap))
        replace(io, "open", lambda path, mode="r", *rest, **how: _open_file(tap, path, mode, *rest, **how))
        yield tap


def _open_file(tap: Tap, path: Any, mode: str, *rest: Any, **how: Any) -> Any:
    # With buffering=0: the files of a checkpoint. The key is written to a descriptor that was opened by os.open.
    return _File(path, mode, tap) if mode == "xb" else _open(path, mode, *rest, **how)


def _tapped_call(function: Callable[..., Any], name: str, tap: Tap) -> Callable[..., Any]:
    def call(*arguments: Any, **how: Any) -> Any:
        return tap.see((name, *map(_path_of, arguments[:2])), lambda: function(*arguments, **how))

    return call


def _path_of(argument: Any) -> str:
    if isinstance(argument, int):
        with contextlib.suppress(OSError):
            return str(pathlib.Path(f"/proc/self/fd/{argument}").readlink())
    return os.fsdecode(argument) if isinstance(argument, (str, bytes, os.PathLike)) else repr(argument)


def losses_of_a_power_cut(calls: list[tuple[str, ...]]) -> list[str]:
    """Say which syncs are missing, by the rules that SPEC.md gives a writer.

    Before a directory gets a visible name, each file in it was synced after its last write, and it itself after its
    last entry. After that, and before anything is deleted, the directory that holds it was synced. Each directory that
    was made was synced from above. A link, as of the key, was synced from above, after what it leads to.
    """
    unsynced: dict[str, str] = {}
    losses = []
    for name, *arguments in calls:
        path = arguments[0]
        if name in {"create", "write"} and not path.endswith("/.lock"):
            unsynced[path] = f"{path} was not synced after its last write"
            unsynced[_above(path)] = f"the entry of {path} was not synced"
        elif name in {"mkdir", "rename", "link"}:
            target = arguments[-1] if name != "mkdir" else path
            losses += [why for other, why in unsynced.items() if name == "rename" and _is_at(other, path)]
            unsynced[_above(target)] = f"the entry of {target} was not synced"
        elif name in {"unlink", "rmdir"} and ".signing-key" not in path:
            losses += unsynced.values()
        elif name == "fsync":
            unsynced.pop(path, None)
    return losses + list(unsynced.values())


def _is_at(path: str, directory: str) -> bool:
    is_hidden = directory.rpartition("/")[2].startswith(".")
    return is_hidden and (path == directory or path.startswith(f"{directory}/"))


def _above(path: str) -> str:
    return path.rpartition("/")[0]
