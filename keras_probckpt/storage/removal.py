"""How a checkpoint goes: hidden first, durably, and only then deleted, so that no part of one is ever listed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence

from keras_probckpt.format.manifest import MANIFEST_NAME
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.shown import shown
from keras_probckpt.storage.filesystem import FileSystem
from keras_probckpt.storage.listing import UNREADABLE, counts, read_info
from keras_probckpt.storage.names import (
    displaced_names,
    foreign_names,
    holds_only_files_of_ours,
    make_hidden_name,
    parse_hidden_name,
)

__all__ = ["delete_hidden", "discard", "hide", "put_back_displaced", "stale_names"]


def hide(filesystem: FileSystem, names: Iterable[str]) -> list[str]:
    """Take directories out of every listing, in the order given; durable on return. Gone already is as good.

    Returns:
        Their new names, for `delete_hidden`.
    """
    hidden = []
    for name in names:
        parsed = parse_hidden_name(name)
        removed = str(make_hidden_name(name if parsed is None else parsed.name, role="removed"))
        with contextlib.suppress(FileNotFoundError):
            filesystem.rename(name, removed)
            hidden.append(removed)
    filesystem.sync("")
    return hidden


def delete_hidden(filesystem: FileSystem, names: Iterable[str]) -> None:
    """Delete what no listing shows, but no file that this library did not write.

    What cannot be deleted stays until a later sweep, and what somebody else put there for good; a warning says so.
    """
    for name in names:
        with _warning_of_rest(filesystem, name):
            _delete(filesystem, name)


def _delete(filesystem: FileSystem, directory: str) -> None:
    foreign = foreign_names(filesystem, directory)
    if not foreign:
        filesystem.remove(directory)
        return
    for name in sorted({*filesystem.list_names(directory)} - {*foreign}):
        filesystem.remove(f"{directory}/{name}")
    warnings.warn(
        f"The checkpoint's own files are deleted; {shown(', '.join(foreign))} beside them was not written by this "
        f"library, and is kept in {shown(filesystem.describe(directory))}.",
        stacklevel=5,
    )


def discard(filesystem: FileSystem, name: str) -> None:
    """Delete one that was moved aside and that nothing needs any more; a failure is a warning."""
    with _warning_of_rest(filesystem, name):
        delete_hidden(filesystem, hide(filesystem, [name]))


def put_back_displaced(filesystem: FileSystem, *, keys: KeyRing, is_alone: bool) -> None:
    """Give what a dead writer moved aside its name again, where the new one never got it: the latest, if several."""
    names = filesystem.list_names()
    for name, candidates in displaced_names(names).items():
        has_live_writer = not is_alone and any(map(_has_live_writer, candidates))
        if name in names or has_live_writer:
            continue
        source = _latest(filesystem, candidates, keys=keys)
        if source is not None:
            # Without a sync: until it is durable the hidden one counts, so a power cut loses nothing.
            filesystem.rename(source, name)


def stale_names(filesystem: FileSystem, *, is_alone: bool) -> list[str]:
    """Find the hidden directories that nothing needs: their writer is dead, and all they hold is ours."""
    names = filesystem.list_names()
    return [name for name in sorted(names) if _is_stale(filesystem, name, is_alone=is_alone)]


def _is_stale(filesystem: FileSystem, name: str, *, is_alone: bool) -> bool:
    hidden = parse_hidden_name(name)
    if hidden is None or not holds_only_files_of_ours(filesystem, name):
        return False
    if not is_alone and hidden.has_live_writer():
        return False
    return hidden.role != "replaced" or _has_manifest(filesystem, hidden.name)


def _has_live_writer(name: str) -> bool:
    hidden = parse_hidden_name(name)
    return hidden is not None and hidden.has_live_writer()


def _has_manifest(filesystem: FileSystem, name: str) -> bool:
    try:
        return MANIFEST_NAME in filesystem.list_names(name)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _latest(filesystem: FileSystem, candidates: Sequence[str], *, keys: KeyRing) -> str | None:
    try:
        info = read_info(filesystem, candidates, keys=keys)
    except UNREADABLE:
        return candidates[-1]  # it is no business of a sweep to judge a checkpoint that the user may still want to mend
    # What somebody else put there with such a name is not what a writer of one's own moved aside.
    return info.name if info is not None and counts(info, keys=keys) else None


@contextlib.contextmanager
def _warning_of_rest(filesystem: FileSystem, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        path = filesystem.describe(name)
        warnings.warn(
            f"{shown(path)} could not be deleted: {shown(error)}. It is tried again at the next start.", stacklevel=4
        )
