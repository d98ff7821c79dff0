"""The reader's and writer's own signing keys: from the environment, or from a file made at the first save."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import stat
import sys
import warnings
from collections.abc import Mapping

import platformdirs

from keras_probckpt.errors import InvalidKeyError
from keras_probckpt.format.signature import SECRET_BYTES, KeyRing, parse_keys
from keras_probckpt.shown import shown
from keras_probckpt.storage.filesystem import LocalFileSystem, make_directories

__all__ = ["KEY_VARIABLE", "key_path", "load_keys", "load_or_create_keys"]

KEY_VARIABLE = "KERAS_PROBCKPT_KEY"

_LIMIT_KEY_FILE_BYTES = 65536


def load_or_create_keys(*, environment: Mapping[str, str] = os.environ) -> KeyRing:
    """Give the keys to save with: those of `load_keys`, or a new one, kept for every later process of this user.

    Where no key can be kept (a read-only home directory), one warning says so and the ring is empty: checkpoints are
    then saved unsigned.

    Args:
        environment: Where `KERAS_PROBCKPT_KEY` is looked up. It goes before the file, and no file is made then.

    Raises:
        InvalidKeyError: If what is there is not a key, or others may have put it there. No other is made in its place.
    """
    if KEY_VARIABLE in environment:
        return load_keys(environment=environment)
    path = key_path()
    if path is None:
        warnings.warn(_unsigned("this user has no home directory"), stacklevel=2)
        return KeyRing()
    try:
        # Another process may be first, and then its key is the user's.
        with contextlib.suppress(FileExistsError):
            _create(path)
        return _read(path)
    except OSError as error:
        warnings.warn(_unsigned(str(error)), stacklevel=2)
        return KeyRing()


def load_keys(*, environment: Mapping[str, str] = os.environ) -> KeyRing:
    """Give the keys to read with. Makes nothing: without `KERAS_PROBCKPT_KEY` and without a file the ring is empty.

    Args:
        environment: Where `KERAS_PROBCKPT_KEY` is looked up.

    Raises:
        InvalidKeyError: If what is there is not a key, or others may have put it there.
    """
    if KEY_VARIABLE in environment:
        return parse_keys(environment[KEY_VARIABLE], source=f"the environment variable {KEY_VARIABLE}")
    path = key_path()
    if path is not None:
        with contextlib.suppress(FileNotFoundError):
            return _read(path)
    return KeyRing()


def key_path() -> pathlib.Path | None:
    """Say where the key of this user is kept, whether it is there or not. Honours `XDG_CONFIG_HOME` on Linux.

    Returns:
        `None` for a user without a home directory, as containers have them.
    """
    try:
        path = platformdirs.user_config_path("keras-probckpt", appauthor=False) / "signing-key"
    except RuntimeError:
        return None
    # Older releases of platformdirs leave the "~" as it is, and the working directory is no place for a secret.
    return path if path.is_absolute() else None


def _create(path: pathlib.Path) -> None:
    """Put a new key in place, whole or not at all; FileExistsError if one is there."""
    if os.path.lexists(path):
        raise FileExistsError(path)
    make_directories(path.parent.parent)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _require_own_directory(path.parent, source=path)
    staged = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        _write_private(staged, f"{secrets.token_hex(SECRET_BYTES)}\n".encode())
        # A link, unlike a rename, never replaces: of two processes at their first save, the second takes the first's.
        os.link(staged, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            staged.unlink()
    # A checkpoint that outlives a power cut is one's own only as long as the key does.
    for directory in (path.parent, path.parent.parent):
        LocalFileSystem(directory).sync("")


def _write_private(path: pathlib.Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, opened for this user only
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _read(path: pathlib.Path) -> KeyRing:
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT_KEY_FILE_BYTES)
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        raise
    except OSError as error:
        warnings.warn(_unsigned(str(error)), stacklevel=3)
        return KeyRing()
    _require_in_own_hands(path, status)
    mode = status.st_mode
    if mode & 0o077 and sys.platform != "win32":
        rights = f"{mode & 0o777:o}"
        warnings.warn(
            f"Others on this machine may use your signing key {shown(path)} (its mode is {shown(rights)}): whoever "
            f"reads it can make checkpoints that run code as you. Close it: chmod 600 {shown(path)}",
            stacklevel=3,
        )
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        raise InvalidKeyError(source=str(path), problem="the file is not text") from None
    return parse_keys(text, source=str(path))


def _require_in_own_hands(path: pathlib.Path, status: os.stat_result) -> None:
    """Refuse a key that another user gave, or may exchange: it would vouch for code of theirs.

    Args:
        path: Where the key is looked for, which may be a link.
        status: Of the file that was read.

    Raises:
        InvalidKeyError: With what to do.
    """
    _require_own(status, what="it", source=path)
    for directory in dict.fromkeys([path.parent, path.resolve().parent]):
        _require_own_directory(directory, source=path)


def _require_own_directory(directory: pathlib.Path, *, source: pathlib.Path) -> None:
    status = directory.stat()
    # In a directory with the sticky bit nobody replaces what is another's.
    is_sticky = bool(status.st_mode & stat.S_ISVTX)
    _require_own(status, what=f"its directory {directory}", source=source, may_be_shared=is_sticky)


def _require_own(status: os.stat_result, *, what: str, source: pathlib.Path, may_be_shared: bool = False) -> None:
    if sys.platform == "win32":  # pragma: no cover - its rights are not in the mode
        return
    mine = os.geteuid()
    if status.st_uid not in {mine, 0}:  # The administrator may do anything as it is.
        problem = f"{what} belongs to another user, {status.st_uid}, and you are {mine}"
        advice = f"Remove it, so that a key of your own is made, or set {KEY_VARIABLE} to one that you trust."
        raise InvalidKeyError(source=str(source), problem=problem, advice=advice)
    if status.st_mode & 0o022 and not may_be_shared:
        problem = f"others may write to {what} (its mode is {stat.S_IMODE(status.st_mode):o}), and so give you a key"
        advice = f"Look whether the key is your own; then close it: chmod go-w {source.parent} {source}"
        raise InvalidKeyError(source=str(source), problem=problem, advice=advice)


def _unsigned(problem: str) -> str:
    return (
        f"There is no signing key, and none can be kept: {problem}. Checkpoints are saved unsigned, and none counts as "
        f"your own: restoring one that needs code will ask for trusted=. Set {KEY_VARIABLE} to 64 hexadecimal digits "
        "(secrets.token_hex(32) makes them), or make that file readable and its directory writable."
    )
