"""From a path to a working model: choose a checkpoint, rebuild the model, put its state back."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import tf_keras as tfk

from keras_probckpt.errors import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    MonitorNotFoundError,
)
from keras_probckpt.manager.rebuilding import Request, load
from keras_probckpt.policy.objective import best_of, is_improvement, objective_for, rank, score_of
from keras_probckpt.records import CheckpointInfo, Objective
from keras_probckpt.shown import shown
from keras_probckpt.storage.catalog import ALL_RUNS, Location, resolve
from keras_probckpt.storage.contents import CheckpointReader
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.keys import load_keys
from keras_probckpt.storage.listing import is_renamed
from keras_probckpt.storage.store import CheckpointStore

__all__ = ["restore_best", "restore_checkpoint", "restore_latest"]

_logger = logging.getLogger("keras_probckpt")

Path = str | os.PathLike[str]
Builder = Callable[..., tfk.Model]


def restore_best(  # noqa: PLR0913 - each is a way a restore may need help
    path: Path,
    *,
    monitor: str | None = None,
    mode: Literal["min", "max"] | None = None,
    run: str | None = None,
    builder: Builder | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    trusted: bool | Iterable[str] | None = None,
    compile: bool = True,  # noqa: A002 - Keras's name in load_model
    skip_mismatch: bool = False,
    verify_outputs: bool = True,
    skip_damaged: bool = False,
) -> tfk.Model:
    """Rebuild the model of the best checkpoint, with its weights and working distribution outputs.

    Reads only; a training that goes on writing there is not disturbed.

    Args:
        path: A run directory, one checkpoint in it, or what was given to the callback as `filepath`.
        monitor: Name of the log that ranks the checkpoints; None is the one the run monitored.
        mode: Whether less (`"min"`) or more (`"max"`) of a given `monitor` is better; None tells it from the name.
        run: Identifier of a run, as `list_checkpoints` shows it; None is the newest run in the directory, and "all" is
            the best of all runs. Where an older run holds a better checkpoint than the newest, that is said.
        builder: A function to call in place of the recorded constructor, with the arguments a recorded builder had. The
            model must have the variables that were saved.
        custom_objects: Classes and functions the recipe may use, by name, in place of what it would import or unpickle.
        trusted: What may be imported and unpickled of a checkpoint that none of your own keys signed: True for
            everything it asks for, or a list of modules that may be imported (a package stands for its modules).
            `inspect_checkpoint(path).requires` shows what it asks for.
        compile: Compile the model as it was, where that was recorded, and put the optimizer's state back.
        skip_mismatch: Load the variables that fit and warn of the rest, in place of an error. Code or configurations
            that changed since, where layers and variables are the same, are always a warning that shows both.
        verify_outputs: Call the rebuilt model once on a small fixed input and compare the numbers with those that were
            recorded when it was saved. It costs about as much as tracing one call.
        skip_damaged: Pass over checkpoints that are damaged, with a warning, to the next best.

    Returns:
        A `tf_keras.Model` with bit-identical variables; calling it returns distributions where the original did.

    Raises:
        CheckpointNotFoundError: If there is none at `path`. Says what is there.
        MonitorNotFoundError: If none has a finite value of the monitor. Names those that could be used.
        DamagedCheckpointError: If a file is not what was written. Nothing was loaded.
        UntrustedCheckpointError: If it asks for code nobody vouches for. Nothing was run.
        MalformedRecipeError: If the recipe cannot be followed, as when the code it names has changed.
        VariableMismatchError: If the rebuilt model has other variables than were saved.
        LayerMismatchError: If it has these variables, but other layers.
        OutputMismatchError: If it returns something else, such as another distribution.

    Example:
        >>> best = restore_best("runs/exp1")
        >>> best(x[:2]).log_prob(y[:2]).shape
        TensorShape([2])
    """
    request = Request(
        builder=builder,
        custom_objects=custom_objects,
        trusted=trusted,
        compile=compile,
        skip_mismatch=skip_mismatch,
        verify_outputs=verify_outputs,
    )
    store, found, others = _find(path, run=run, skip_damaged=skip_damaged)
    if len(found) == 1 and monitor is None and resolve(path).name is not None:
        return _restore(store, found[0], request)
    objective = _objective_of(found, monitor=monitor, mode=mode)
    if objective and run == ALL_RUNS:  # Each run judged its own by min_delta.
        objective = dataclasses.replace(objective, min_delta=0.0)
    ranked = rank(found, objective) if objective else []
    if objective is None or not ranked:
        raise _no_monitor(path, found, objective)
    _tell_of_better(ranked[0], others, objective)
    return _restore_first(store, ranked, request, skip_damaged=skip_damaged)


def restore_latest(  # noqa: PLR0913 - each is a way a restore may need help
    path: Path,
    *,
    run: str | None = None,
    builder: Builder | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    trusted: bool | Iterable[str] | None = None,
    compile: bool = True,  # noqa: A002 - Keras's name in load_model
    skip_mismatch: bool = False,
    verify_outputs: bool = True,
    skip_damaged: bool = False,
) -> tfk.Model:
    """Rebuild the model of the newest checkpoint. Arguments, result and errors are those of `restore_best`.

    Example:
        >>> latest = restore_latest("runs/exp1")
        >>> len(latest.layers)
        2
    """
    request = Request(
        builder=builder,
        custom_objects=custom_objects,
        trusted=trusted,
        compile=compile,
        skip_mismatch=skip_mismatch,
        verify_outputs=verify_outputs,
    )
    store, found, _ = _find(path, run=run, skip_damaged=skip_damaged)
    return _restore_first(store, list(reversed(found)), request, skip_damaged=skip_damaged)


def restore_checkpoint(  # noqa: PLR0913 - each is a way a restore may need help
    path: Path,
    *,
    builder: Builder | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    trusted: bool | Iterable[str] | None = None,
    compile: bool = True,  # noqa: A002 - Keras's name in load_model
    skip_mismatch: bool = False,
    verify_outputs: bool = True,
) -> tfk.Model:
    """Rebuild the model of one checkpoint. Result and errors are those of `restore_best`.

    Args:
        path: Directory of the checkpoint.
        builder: As in `restore_best`.
        custom_objects: As in `restore_best`.
        trusted: As in `restore_best`.
        compile: As in `restore_best`.
        skip_mismatch: As in `restore_best`.
        verify_outputs: As in `restore_best`.

    Example:
        >>> model = restore_checkpoint(list_checkpoints("runs/exp1")[0].path)
        >>> len(model.layers)
        2
    """
    location = resolve(path)
    if location.name is None:
        problem = "it holds checkpoints, but is not one"
        advice = "Pass one of them, or take restore_best or restore_latest of this path."
        raise CheckpointNotFoundError(path=str(path), problem=problem, advice=advice)
    request = Request(
        builder=builder,
        custom_objects=custom_objects,
        trusted=trusted,
        compile=compile,
        skip_mismatch=skip_mismatch,
        verify_outputs=verify_outputs,
    )
    store = _store(location)
    info = store.open(location.name)
    if is_renamed(info):
        _logger.warning("%s was saved as %r: it is a copy, or was renamed.", info.path, info.saved_name)
    return _restore(store, info, request)


def _store(location: Location) -> CheckpointStore:
    return CheckpointStore(LocalFileSystem(location.directory), keys=load_keys())


def _find(
    path: Path, *, run: str | None, skip_damaged: bool
) -> tuple[CheckpointStore, tuple[CheckpointInfo, ...], tuple[CheckpointInfo, ...]]:
    """Find the checkpoints a path stands for, of one run or of all, ascending; and those of older runs beside it."""
    location = resolve(path)
    store = _store(location)
    if location.name is not None:
        return store, (store.open(location.name),), ()
    listing = store.scan()
    for error in listing.damaged:
        if not skip_damaged:
            # It might be the best, or the newest.
            raise error
        warnings.warn(f"Passed over: {error}", stacklevel=3)
    wanted = listing if run in (None, ALL_RUNS) else listing.of_run(str(run))
    found = tuple(info for info in wanted.preferred if run == ALL_RUNS or info.run == wanted.preferred[-1].run)
    if wanted.left_out:
        warnings.warn(
            f"{shown(location.directory)} holds checkpoints that are passed over beside your own: "
            f"{shown(wanted.left_out)}. To restore one of them, pass its own path to restore_checkpoint.",
            stacklevel=3,
        )
    chosen = {info.run for info in found}
    others = tuple(info for info in wanted.preferred if info.run not in chosen)
    if others:
        older = len({info.run for info in others})
        _logger.info("%s holds %d older run(s) beside run %s.", shown(location.directory), older, found[-1].run)
    if not found:
        runs = ", ".join(dict.fromkeys(info.run for info in listing.checkpoints)) or "none"
        problem = "none of its checkpoints can be read" if run is None else f"it holds no checkpoint of run {run!r}"
        raise CheckpointNotFoundError(path=str(path), problem=problem, advice=f"The runs there: {runs}.")
    return store, found, others


def _tell_of_better(best: CheckpointInfo, others: Sequence[CheckpointInfo], objective: Objective) -> None:
    """Warn where a run that was not asked for holds a better checkpoint."""
    rival = best_of(others, dataclasses.replace(objective, min_delta=0.0))
    score, other = score_of(best, objective), None if rival is None else score_of(rival, objective)
    if rival is None or score is None or other is None or not is_improvement(other, best=score, objective=objective):
        return
    _logger.warning(
        "The best of run %s, the newest in %s, has %s %g; the older run %s holds a better one, %s with %g. "
        'run="all" restores the best of all runs, run=%r that of the older one.',
        *(best.run, shown(best.path.parent), shown(objective.monitor), score),
        *(rival.run, shown(rival.name), other, rival.run),
    )


def _objective_of(
    found: tuple[CheckpointInfo, ...], *, monitor: str | None, mode: Literal["min", "max"] | None
) -> Objective | None:
    recorded = next((info.objective for info in reversed(found) if info.objective is not None), None)
    if monitor is None or (recorded is not None and monitor == recorded.monitor):
        if recorded is None or mode is None:
            return recorded
        return dataclasses.replace(recorded, mode=objective_for(recorded.monitor, mode=mode).mode)
    return objective_for(monitor, mode=mode or "auto")


def _no_monitor(path: Path, found: tuple[CheckpointInfo, ...], objective: Objective | None) -> MonitorNotFoundError:
    usable = sorted({name for info in found for name, value in info.logs.items() if math.isfinite(value)})
    monitor = objective.monitor if objective else None
    closest = difflib.get_close_matches(monitor or "", usable, n=1)
    return MonitorNotFoundError(
        path=str(path), monitor=monitor, available=tuple(usable), closest=closest[0] if closest else None
    )


def _restore_first(
    store: CheckpointStore, candidates: Sequence[CheckpointInfo], request: Request, *, skip_damaged: bool
) -> tfk.Model:
    """Restore the first candidate, or with `skip_damaged` the first that is whole."""
    first, *others = candidates
    if not others or not skip_damaged:
        return _restore(store, first, request)
    try:
        return _restore(store, first, request)
    except DamagedCheckpointError as error:
        warnings.warn(f"Passed over: {error}", stacklevel=2)
    return _restore_first(store, others, request, skip_damaged=True)


def _restore(store: CheckpointStore, info: CheckpointInfo, request: Request) -> tfk.Model:
    return load(CheckpointReader(store, info), request)
