"""What a run directory holds: every committed checkpoint whole, everything else named or left out."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from keras_probckpt.errors import DamagedCheckpointError, TamperedCheckpointError, UnsupportedFormatError
from keras_probckpt.format.manifest import LIMIT_MANIFEST_BYTES, MANIFEST_NAME, decode_manifest
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.records import CheckpointInfo, Manifest, SignatureState
from keras_probckpt.storage.filesystem import FileSystem
from keras_probckpt.storage.names import displaced_names, is_checkpoint_name, visible_name

__all__ = [
    "UNREADABLE",
    "Listing",
    "Unreadable",
    "as_info",
    "counts",
    "find_directories",
    "is_renamed",
    "problem_of",
    "read_info",
    "scan",
]

# A writer that saves a tiny model many times a second can be ahead of a slow reader for several looks.
_MOST_SCANS = 10
_MOST_SHOWN = 5

UNREADABLE = (DamagedCheckpointError, TamperedCheckpointError, UnsupportedFormatError)
Unreadable: TypeAlias = DamagedCheckpointError | TamperedCheckpointError | UnsupportedFormatError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """The checkpoints of a run directory.

    Attributes:
        checkpoints: Every committed checkpoint whose manifest can be read, by run and then step, ascending.
        damaged: For each of the others, the error that `CheckpointStore.open` raises: damaged, tampered with, or of a
            newer format.
        uncounted: Those of `checkpoints` that no rule counts: others wrote them, or they have another name than they
            were saved under.
    """

    checkpoints: tuple[CheckpointInfo, ...]
    damaged: tuple[Unreadable, ...]
    uncounted: tuple[CheckpointInfo, ...] = ()

    @property
    def counted(self) -> tuple[CheckpointInfo, ...]:
        """One's own checkpoints, each under the name it was saved under: what the rules of a run go by."""
        uncounted = {id(info) for info in self.uncounted}
        return tuple(info for info in self.checkpoints if id(info) not in uncounted)

    @property
    def preferred(self) -> tuple[CheckpointInfo, ...]:
        """What to choose from: one's own checkpoints, and only where there are none of those, all."""
        return self.counted or self.checkpoints

    @property
    def left_out(self) -> str:
        """Name those of `checkpoints` that are not `preferred`, with the reason for each, in one line; or nothing."""
        return self.described if self.counted else ""

    @property
    def described(self) -> str:
        """Name those that no rule counts, with the reason for each, in one line."""
        reasons = [f"{info.name!r} ({_why_uncounted(info)})" for info in self.uncounted]
        more = len(reasons) - _MOST_SHOWN
        return ", ".join(reasons[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")

    def of_run(self, run: str) -> Listing:
        """Give the same of one run."""
        return Listing(
            checkpoints=tuple(info for info in self.checkpoints if info.run == run),
            damaged=self.damaged,
            uncounted=tuple(info for info in self.uncounted if info.run == run),
        )


def scan(filesystem: FileSystem, *, keys: KeyRing) -> Listing:
    """List a run directory, which may be written to meanwhile. Reads manifests only.

    A directory without `manifest.json` is not a checkpoint and is left out, as is one that vanishes meanwhile. A
    checkpoint that was moved aside for a newer one counts, under its hidden name, while its own name is free: that is
    what a crash between the two renames leaves.
    """
    directories = find_directories(filesystem)
    for _ in range(_MOST_SCANS - 1):
        outcomes = _read_all(filesystem, directories, keys=keys)
        before, directories = directories, find_directories(filesystem)
        # A checkpoint that was moved aside between the two looks is under neither name in the first; one that was
        # replaced between them has its name in both, and had none when it was read.
        if directories == before and not _appeared(filesystem, directories, outcomes, keys=keys):
            break
    else:
        outcomes = _read_all(filesystem, directories, keys=keys)
    checkpoints = [outcome for outcome in outcomes.values() if isinstance(outcome, CheckpointInfo)]
    damaged = tuple(outcome for outcome in outcomes.values() if isinstance(outcome, UNREADABLE))
    ordered = tuple(sorted(checkpoints, key=_order))
    uncounted = tuple(info for info in ordered if not counts(info, keys=keys))
    return Listing(checkpoints=ordered, damaged=damaged, uncounted=uncounted)


def counts(info: CheckpointInfo, *, keys: KeyRing) -> bool:
    """Tell whether a checkpoint counts for the rules of its run: it is one's own, and where it was saved.

    For whoever has no key, and so saves unsigned, what is unsigned may be one's own.
    """
    is_own = info.signature == "own" or (info.signature == "unsigned" and keys.signing_key is None)
    return is_own and not is_renamed(info)


def is_renamed(info: CheckpointInfo) -> bool:
    """Tell whether a checkpoint has another name than it was saved under, as a copy may have."""
    return info.saved_name is not None and info.saved_name != visible_name(info.name)


def _why_uncounted(info: CheckpointInfo) -> str:
    if info.signature == "foreign":
        return "signed with a key that is not yours"
    return f"saved as {info.saved_name!r}" if is_renamed(info) else "unsigned"


def find_directories(filesystem: FileSystem) -> dict[str, list[str]]:
    """Find where the checkpoint of each name may be: in the directory so named, else in those moved aside."""
    try:
        names = sorted(filesystem.list_names())
    except FileNotFoundError:
        return {}
    visible = {name: [name] for name in names if is_checkpoint_name(name)}
    return {**displaced_names(names), **visible}


def read_info(filesystem: FileSystem, directories: Iterable[str], *, keys: KeyRing) -> CheckpointInfo | None:
    """Read the manifests of the directories in which one checkpoint may be, and give the latest.

    Returns:
        `None` where there is no manifest.

    Raises:
        DamagedCheckpointError: If no manifest can be read and one is damaged; likewise the next two.
        TamperedCheckpointError: If one of the reader's keys did not give the signature that the manifest says it gave.
        UnsupportedFormatError: If it was written in a newer format.
    """
    outcome = _outcome(filesystem, directories, keys=keys)
    if isinstance(outcome, UNREADABLE):
        raise outcome
    return outcome


def as_info(manifest: Manifest, *, path: str, signature: SignatureState) -> CheckpointInfo:
    """Add to a manifest where it is and who vouches for it."""
    fields = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(Manifest)}
    return CheckpointInfo(**fields, path=pathlib.Path(path), signature=signature)


def problem_of(error: OSError) -> str:
    """Say as part of a sentence why a file could not be read."""
    if isinstance(error, FileNotFoundError):
        return "the file is missing"
    return f"it cannot be read: {error.strerror}"


def _outcome(
    filesystem: FileSystem, directories: Iterable[str], *, keys: KeyRing
) -> CheckpointInfo | Unreadable | None:
    outcomes = [_outcome_of_one(filesystem, directory, keys=keys) for directory in directories]
    infos = [outcome for outcome in outcomes if isinstance(outcome, CheckpointInfo)]
    if infos:
        return max(infos, key=lambda info: (counts(info, keys=keys), *_order(info)))
    return next((outcome for outcome in outcomes if outcome is not None), None)


def _outcome_of_one(filesystem: FileSystem, directory: str, *, keys: KeyRing) -> CheckpointInfo | Unreadable | None:
    path = filesystem.describe(directory)
    try:
        data = filesystem.read(f"{directory}/{MANIFEST_NAME}", limit_bytes=LIMIT_MANIFEST_BYTES)
        manifest, signature = decode_manifest(data, path=path, keys=keys)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        damaged = DamagedCheckpointError(path=path, file=MANIFEST_NAME, problem=problem_of(error))
        damaged.__cause__ = error
        return damaged
    except UNREADABLE as error:
        return error
    return as_info(manifest, path=path, signature=signature)


def _read_all(
    filesystem: FileSystem, directories: Mapping[str, list[str]], *, keys: KeyRing
) -> dict[str, CheckpointInfo | Unreadable | None]:
    return {name: _outcome(filesystem, candidates, keys=keys) for name, candidates in directories.items()}


def _appeared(
    filesystem: FileSystem,
    directories: Mapping[str, list[str]],
    outcomes: Mapping[str, CheckpointInfo | Unreadable | None],
    *,
    keys: KeyRing,
) -> bool:
    """Tell whether there is a manifest now where there was none."""
    absent = [name for name, outcome in outcomes.items() if outcome is None]
    return any(_outcome(filesystem, directories[name], keys=keys) is not None for name in absent)


def _order(info: CheckpointInfo) -> tuple[int, str, int, str, str]:
    # Beyond run number and step only for directories that were merged by hand, and for names that users choose.
    return info.run_number, info.run, info.step, info.created_at, info.name
