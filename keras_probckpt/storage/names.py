"""Names in a run directory: what a checkpoint may be called, and the hidden names of what is not one, or no longer."""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
from typing import Literal, cast

from keras_probckpt.storage.filesystem import FileSystem
from keras_probckpt.storage.process import PROCESS_TOKEN, is_alive, is_this_process

__all__ = [
    "LIMIT_NAME_BYTES",
    "HiddenName",
    "Role",
    "displaced_names",
    "foreign_names",
    "holds_only_files_of_ours",
    "is_checkpoint_name",
    "is_file_of_ours",
    "make_hidden_name",
    "parse_hidden_name",
    "validate_name",
    "visible_name",
    "with_suffix",
]

Role = Literal["partial", "replaced", "removed"]

LIMIT_NAME_BYTES = 200
"""Longest name of a checkpoint in UTF-8: file systems stop at 255, and a hidden name adds up to 38."""

_HIDDEN = re.compile(
    r"\.(?P<name>.+)\.(?P<role>partial|replaced|removed)-(?P<process_id>[1-9][0-9]{0,9})-(?P<token>[0-9a-f]{16})",
    re.DOTALL,
)
_FILE = re.compile(
    r"manifest\.json|recipe\.json|recipe\.safetensors|model\.safetensors|optimizer\.safetensors|training\.json"
    r"|training\.safetensors|code\.pickle|data-position(\.[0-9A-Za-z-]+)?"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HiddenName:
    """Name of a directory that no listing shows.

    Attributes:
        name: The checkpoint it is about.
        role: `"partial"`: being written, not committed. `"replaced"`: committed, moved aside for a newer one of the
            same name; it still counts while that name is free. `"removed"`: to be deleted.
        process_id: Id of the process that made it.
        token: 16 hexadecimal digits: the process's token, then random ones.
    """

    name: str
    role: Role
    process_id: int
    token: str

    def __str__(self) -> str:
        return f".{self.name}.{self.role}-{self.process_id}-{self.token}"

    def has_live_writer(self) -> bool:
        """Tell whether the process that made it may still be at work on it."""
        if self.process_id == os.getpid():
            return is_this_process(self.process_id, token=self.token[:8])
        return is_alive(self.process_id)


def make_hidden_name(name: str, *, role: Role) -> HiddenName:
    """Make a hidden name that no other process, and no other call, ever makes."""
    token = PROCESS_TOKEN + secrets.token_hex(4)
    return HiddenName(name=name, role=role, process_id=os.getpid(), token=token)


def parse_hidden_name(text: str) -> HiddenName | None:
    """Read a hidden name; `None` for anything that this module would not have made."""
    match = _HIDDEN.fullmatch(text)
    if match is None or _problem_of(match["name"]):
        return None
    role = cast("Role", match["role"])
    return HiddenName(name=match["name"], role=role, process_id=int(match["process_id"]), token=match["token"])


def with_suffix(name: str, suffix: str) -> str:
    """Add `-` and a suffix to a name of a checkpoint, shortened at its end if it would be too long."""
    room_bytes = LIMIT_NAME_BYTES - len(f"-{suffix}".encode())
    return f"{name.encode()[:room_bytes].decode(errors='ignore')}-{suffix}"


def visible_name(name: str) -> str:
    """Give the name that a checkpoint has, had, or is to have, whatever hidden name its directory has now."""
    hidden = parse_hidden_name(name)
    return name if hidden is None else hidden.name


def displaced_names(names: list[str]) -> dict[str, list[str]]:
    """Group the hidden names of moved-aside checkpoints by the name they had."""
    found: dict[str, list[str]] = {}
    for text in names:
        hidden = parse_hidden_name(text)
        if hidden is not None and hidden.role == "replaced":
            found.setdefault(hidden.name, []).append(text)
    return found


def validate_name(name: str) -> None:
    """Refuse a name that no checkpoint can have.

    Raises:
        ValueError: With the reason.
    """
    problem = _problem_of(name)
    if problem:
        raise ValueError(f"A checkpoint cannot be named {name!r}: {problem}. Nothing was written; choose another name.")


def is_checkpoint_name(name: str) -> bool:
    """Tell whether a checkpoint may have this name."""
    return not _problem_of(name)


def is_file_of_ours(name: str) -> bool:
    """Tell whether a file of this name may be part of a checkpoint: what is deleted holds no other."""
    return _FILE.fullmatch(name) is not None


def foreign_names(filesystem: FileSystem, directory: str) -> list[str]:
    """List what is in a directory and is no file of a checkpoint, ascending: such a file is never deleted.

    Raises:
        OSError: If there is no such directory.
    """
    names = sorted(filesystem.list_names(directory))
    return [name for name in names if not is_file_of_ours(name) or _is_directory(filesystem, f"{directory}/{name}")]


def holds_only_files_of_ours(filesystem: FileSystem, directory: str) -> bool:
    """Tell whether it is a directory in which nobody keeps anything but files of a checkpoint."""
    try:
        return not foreign_names(filesystem, directory)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_directory(filesystem: FileSystem, name: str) -> bool:
    try:
        filesystem.list_names(name)
    except NotADirectoryError:
        return False
    return True


def _problem_of(name: str) -> str:
    if not name:
        return "it is empty"
    if name.startswith("."):
        return "it starts with a dot, as the names of unfinished checkpoints do"
    if any(separator in name for separator in "/\\\0"):
        return "it holds '/', '\\' or NUL, and a checkpoint is one directory directly in its run's"
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if size_bytes > LIMIT_NAME_BYTES:
        return f"it is {size_bytes} bytes long, the limit is {LIMIT_NAME_BYTES}"
    return ""
