"""What a user's path means, and what can be told of the checkpoints there without running any of them."""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
import warnings

from keras_probckpt.errors import CheckpointNotFoundError, DamagedCheckpointError
from keras_probckpt.format import strict_json
from keras_probckpt.format.manifest import MANIFEST_NAME
from keras_probckpt.format.requirements import requirements_of, variables_of
from keras_probckpt.records import CheckpointDetails, CheckpointInfo
from keras_probckpt.shown import shown
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.keys import load_keys
from keras_probckpt.storage.listing import Listing, find_directories
from keras_probckpt.storage.store import CheckpointStore

__all__ = [
    "ALL_RUNS",
    "LIMIT_RECIPE_BYTES",
    "RECIPE_NAME",
    "Location",
    "inspect_checkpoint",
    "list_checkpoints",
    "read_recipe",
    "resolve",
    "verify_checkpoint",
]

ALL_RUNS = "all"
"""What stands for every run where one is asked for: an identifier is 8 hexadecimal digits."""

RECIPE_NAME = "recipe.json"
LIMIT_RECIPE_BYTES = 256 * 1024 * 1024

_MOST_NAMES_SHOWN = 5
_MOST_LOOKS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Location:
    """What a path points at.

    Attributes:
        directory: The run directory.
        name: The checkpoint in it, where the path is that of one; `None` where it stands for all of them.
    """

    directory: pathlib.Path
    name: str | None


def resolve(path: str | os.PathLike[str]) -> Location:
    """Find the run directory, or the one checkpoint, that a path means.

    Args:
        path: A run directory, one checkpoint's directory, or what was given to the callback as `filepath`: where its
            last part has a `{...}`, the run directory is its parent.

    Raises:
        CheckpointNotFoundError: If there is no checkpoint there. It says what there is instead.
    """
    given = pathlib.Path(path)
    directory = given.parent if "{" in given.name and not given.exists() else given
    # A manifest that is a link to nothing is damage, which is for the reader to tell.
    if os.path.lexists(directory / MANIFEST_NAME):
        final = directory.resolve()
        return Location(directory=final.parent, name=final.name)
    if directory.is_dir() and _holds_checkpoints(directory):
        return Location(directory=directory, name=None)
    problem, advice = _what_is_there(directory)
    raise CheckpointNotFoundError(path=str(path), problem=problem, advice=advice)


def list_checkpoints(path: str | os.PathLike[str], *, run: str | None = None) -> tuple[CheckpointInfo, ...]:
    """List the committed checkpoints of a run directory, by run and then step, ascending.

    Reads manifests only: no TensorFlow is imported, nothing of a checkpoint is run, and no lock is taken, so it may be
    called while a training writes. Checkpoints that cannot be read are named in a `UserWarning`.

    Args:
        path: The run directory, or the callback's `filepath`. Of one checkpoint's directory, that one is listed.
        run: Identifier of one run, as in `CheckpointInfo.run`, to leave out the others; None and "all" are all runs.

    Returns:
        Of an empty directory, or one in which a training is at work that has saved nothing yet, an empty tuple.

    Raises:
        CheckpointNotFoundError: If there is no checkpoint at `path` but other things, nothing at all, or none of that
            run.

    Example:
        >>> for info in list_checkpoints("runs/exp1"):
        ...     print(info.name, info.run, info.step, info.logs["val_loss"], info.signature)
        step-0000001200 5eed1234 1200 0.25 own
    """
    try:
        location = resolve(path)
    except CheckpointNotFoundError:
        if run in (None, ALL_RUNS) and _is_empty(pathlib.Path(path)):
            return ()
        raise
    found = _listing(location).checkpoints
    if run in (None, ALL_RUNS):
        return found
    chosen = tuple(info for info in found if info.run == run)
    if not chosen:
        runs = ", ".join(dict.fromkeys(info.run for info in found)) or "none"
        problem = f"it holds no checkpoint of run {run!r}"
        raise CheckpointNotFoundError(path=str(path), problem=problem, advice=f"The runs there: {runs}.")
    return chosen


def inspect_checkpoint(path: str | os.PathLike[str]) -> CheckpointDetails:
    """Tell all that can be told of a checkpoint without running any of it: its manifest, variables and requirements.

    No TensorFlow is imported. `requires` is what a restore would import or unpickle, whoever wrote the checkpoint.

    Args:
        path: A checkpoint's directory. Of a run directory, or the callback's `filepath`, the newest is taken.

    Raises:
        CheckpointNotFoundError: If there is none.
        DamagedCheckpointError: If its manifest or recipe are not what was written.

    Example:
        >>> details = inspect_checkpoint("runs/exp1")
        >>> [(variable.path, variable.shape) for variable in details.variables]
        [('hidden/kernel', (10, 8))]
        >>> [requirement.describe() for requirement in details.requires]
        ['import mypkg.models.Regressor']
    """
    location = resolve(path)
    info = _newest(location)
    document = read_recipe(_store(location), info)
    try:
        variables, requires = variables_of(document), requirements_of(document)
    except ValueError as error:
        raise DamagedCheckpointError(path=str(info.path), file=RECIPE_NAME, problem=str(error)) from error
    fields = {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}
    return CheckpointDetails(**fields, variables=variables, requires=requires)


def verify_checkpoint(path: str | os.PathLike[str]) -> CheckpointInfo:
    """Read every byte of a checkpoint and compare it with what was written.

    No TensorFlow is imported and nothing of the checkpoint is run.

    Args:
        path: A checkpoint's directory. Of a run directory, or the callback's `filepath`, the newest is taken.

    Returns:
        The checkpoint, which is whole. `signature` says who vouches for it.

    Raises:
        CheckpointNotFoundError: If there is none.
        DamagedCheckpointError: If a bit of any of its files is another than was written. It names the file.

    Example:
        >>> verify_checkpoint("runs/exp1").name
        'step-0000001200'
    """
    location = resolve(path)
    info = _newest(location)
    store = _store(location)
    for file in info.files:
        store.open_file(info, file).verify()
    return info


def read_recipe(store: CheckpointStore, info: CheckpointInfo) -> object:
    """Read a checkpoint's recipe as plain JSON values.

    Raises:
        DamagedCheckpointError: If it is missing, is not what was written, or is longer than `LIMIT_RECIPE_BYTES`.
    """
    record = info.files.get(RECIPE_NAME)
    if record is None:
        problem = "the manifest does not record it, so there is nothing to rebuild a model from"
    elif record.size_bytes > LIMIT_RECIPE_BYTES:
        problem = f"it has {record.size_bytes} bytes, the limit is {LIMIT_RECIPE_BYTES}"
    else:
        data = bytes(store.read_file(info, RECIPE_NAME))
        try:
            return strict_json.loads(data, where="the recipe", limit_bytes=LIMIT_RECIPE_BYTES)
        except ValueError as error:
            problem = str(error)
    raise DamagedCheckpointError(path=str(info.path), file=RECIPE_NAME, problem=problem)


def _store(location: Location) -> CheckpointStore:
    return CheckpointStore(LocalFileSystem(location.directory), keys=load_keys())


def _listing(location: Location) -> Listing:
    store = _store(location)
    if location.name is not None:
        return Listing(checkpoints=(store.open(location.name),), damaged=())
    listing = store.scan()
    if listing.damaged:
        problems = "\n".join(f"  - {error}" for error in listing.damaged)
        warnings.warn(
            f"Not everything in {shown(location.directory)} can be read, and is left out:\n{problems}", stacklevel=3
        )
    return listing


def _newest(location: Location) -> CheckpointInfo:
    found = _listing(location).checkpoints
    if not found:
        problem = "none of its checkpoints can be read"
        advice = "The warning above names what is wrong with each."
        raise CheckpointNotFoundError(path=str(location.directory), problem=problem, advice=advice)
    return found[-1]


def _holds_checkpoints(directory: pathlib.Path) -> bool:
    # Not by one look: a checkpoint that is replaced meanwhile, the only one there, is at neither of its names in it.
    return any(_shows_checkpoints(directory) for _ in range(_MOST_LOOKS))


def _shows_checkpoints(directory: pathlib.Path) -> bool:
    candidates = find_directories(LocalFileSystem(directory)).values()
    return any(os.path.lexists(directory / name / MANIFEST_NAME) for names in candidates for name in names)


def _is_empty(directory: pathlib.Path) -> bool:
    """Whether a directory holds nothing, or only a lock and what an unfinished save left."""
    return directory.is_dir() and all(entry.name.startswith(".") for entry in directory.iterdir())


def _what_is_there(directory: pathlib.Path) -> tuple[str, str]:
    """Say what is at a path that holds no checkpoint, and what to do about it."""
    if directory.is_dir():
        return _what_is_in(directory)
    if directory.exists():
        advice = "Pass the directory of a checkpoint or of a run."
        if (directory.parent / MANIFEST_NAME).exists():
            advice = f"Pass its directory: {directory.parent}."
        return "it is a file, and a checkpoint is a directory", advice
    if not directory.parent.is_dir():
        problem = f"there is no directory {directory.parent} either"
        return problem, "Check the path; a relative one starts where you are."
    siblings = sorted(entry.name for entry in directory.parent.iterdir() if entry.is_dir())
    closest = difflib.get_close_matches(directory.name, siblings, n=1)
    advice = f"Did you mean {directory.parent / closest[0]}?" if closest else f"There is {_some(siblings)} beside it."
    return "there is nothing of that name", advice


def _what_is_in(directory: pathlib.Path) -> tuple[str, str]:
    entries = sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith("."))
    runs = [name for name in entries if (directory / name).is_dir() and _holds_checkpoints(directory / name)]
    if runs:
        return "it is a directory of runs", f"Pass one of them: {_some(runs)}."
    problem = f"it is a directory without checkpoints, which holds {_some(entries)}"
    return problem, "A checkpoint is there once the first save is committed. Check the path, or train on."


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES_SHOWN]) or "nothing"
    more = len(names) - _MOST_NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
