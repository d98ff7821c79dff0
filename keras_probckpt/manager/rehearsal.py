"""A trial before training goes on: can the checkpoint be restored?

2026-11-24: what fails here is tried in a new process before the training is stopped for it. This one has what a later
one has not: classes that refuse to be defined twice, variables that hold zeros. An error must be one that a later
script would meet too.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import CheckpointError, RehearsalError
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.manager.live_state import TakenState
from keras_probckpt.manager.rebuilding import Request, needs, place, rebuild, recipe_of, require_output, saved_variables
from keras_probckpt.manager.second_process import restore_in_second_process
from keras_probckpt.recipe.document import Recipe
from keras_probckpt.recipe.registry import unchanged_registries
from keras_probckpt.records import CheckpointInfo, Manifest
from keras_probckpt.storage.contents import UnwrittenCheckpoint, encode_contents
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.listing import as_info
from keras_probckpt.storage.store import CheckpointStore
from keras_probckpt.training.assignment import build_optimizers, require_fit
from keras_probckpt.training.unbacked import unbacked_variables
from keras_probckpt.training.undisturbed import undisturbed

__all__ = ["Rehearsal", "Trial"]

Trial = Callable[[Callable[[], CheckpointInfo | None]], None]

_logger = logging.getLogger("keras_probckpt")

_FuncGraph = tf.__internal__.FuncGraph


class Rehearsal:
    """Tries once for each recipe whether a checkpoint that has it can be restored.

    Args:
        rehearse: None to rebuild the model beside the training, without its values; True to restore it in a new
            process once it is written; False for neither.

    Raises:
        TypeError: If it is none of these.
    """

    def __init__(self, rehearse: bool | None) -> None:  # noqa: FBT001 - three values, one of them the default
        if rehearse is not None and not isinstance(rehearse, bool):
            raise TypeError(f"rehearse must be True, False or None, got {rehearse!r:.200}. Nothing was saved.")
        self._rehearse = rehearse
        self._rehearsed: str | None = None

    def prepare(self, taken: TakenState, manifest: Manifest, *, path: pathlib.Path) -> Trial | None:
        """Prepare to try a checkpoint, if none of a model made of the same parts was tried yet.

        Args:
            taken: The training, as it is going to be written.
            manifest: What the checkpoint's manifest will say.
            path: Its directory.

        Returns:
            The trial, to be called with what waits until the checkpoint is written and gives its info, or None
            where it came to nothing or is gone again. It raises RehearsalError if it cannot be restored.
        """
        if self._rehearse is False or taken.model.recipe.structure == self._rehearsed:
            return None
        checkpoint = taken.unwritten(as_info(manifest, path=str(path), signature="own"))
        return functools.partial(self._try_out, checkpoint, taken.model.recipe, taken.model.arrays.tensors)

    def try_unsaved(self, taken: TakenState, manifest: Manifest, *, path: pathlib.Path) -> None:
        """Try what would be saved of a model, before it is trained; the arguments are those of `prepare`.

        Raises:
            RehearsalError: If it could not be restored.
        """
        trial = None if self._rehearse else self.prepare(taken, manifest, path=path)
        if trial is not None:
            with tempfile.TemporaryDirectory(prefix="keras-probckpt-") as place:
                store = CheckpointStore(LocalFileSystem(pathlib.Path(place)), keys=KeyRing())
                trial(lambda: store.commit("trial", manifest=manifest, files=encode_contents(taken.contents())))

    def _try_out(
        self,
        checkpoint: UnwrittenCheckpoint,
        recipe: Recipe,
        values: Mapping[str, tf.Tensor],
        written: Callable[[], CheckpointInfo | None],
    ) -> None:
        self._rehearsed = recipe.structure
        problem = None if self._rehearse else _problem_here(checkpoint, values)
        if self._rehearse or problem is not None:
            info = written()
            if info is None:
                self._rehearsed = None  # The next one is tried.
                return
            _restore_elsewhere(info, problem, shown_as=checkpoint.info.path)
        shown_path, reason = checkpoint.info.path, recipe.document["compile"].get("reason")
        if self._rehearse and not recipe_of(checkpoint, Request(trusted=True)).has_outputs:
            warnings.warn(
                f"{shown_path} can be restored by a new process, but what the model returns there was not compared: "
                "its call cannot be traced.",
                stacklevel=5,
            )
        if reason:
            warnings.warn(f"{shown_path} will come back uncompiled: {reason}.", stacklevel=5)


def _problem_here(checkpoint: UnwrittenCheckpoint, values: Mapping[str, tf.Tensor]) -> Exception | None:
    """Rebuild the model in this process; what went wrong, None if nothing did."""
    try:
        with undisturbed(), unchanged_registries():
            _follow(checkpoint, values)
    except Exception as error:  # noqa: BLE001 - a user's code may fail in any way
        return error
    return None


def _restore_elsewhere(info: CheckpointInfo, problem: Exception | None, *, shown_as: pathlib.Path) -> None:
    """Restore a checkpoint in a new process; its failure is shown as that of this one, where that failed too."""
    try:
        restore_in_second_process(info)
    except RehearsalError as error:
        if problem is None:
            raise
        said = str(problem) if isinstance(problem, CheckpointError) else f"{type(problem).__name__}: {problem}"
        raise dataclasses.replace(error, path=str(shown_as), problem=said) from problem
    if problem is not None:
        _logger.info("%s can be restored by a new process, but not in this one: %s", shown_as, problem)


def _follow(reader: UnwrittenCheckpoint, values: Mapping[str, tf.Tensor]) -> None:
    """Do what a restore does; the values stay where they are, and are lent to what is compared."""
    request, path = Request(trusted=True), str(reader.info.path)
    recipe = recipe_of(reader, request, finds_live=False)
    saved = recipe.saved("variables")
    with unbacked_variables():
        model, differences = rebuild(recipe, saved, request, path=path)
        optimizer = recipe.saved("optimizer_variables") if model._is_compiled else {}
        fit = functools.partial(require_fit, path=path)
        is_needed = needs(model, request)
        place(model, recipe, saved, optimizer or None, put=fit, is_needed=is_needed, build=_build_symbolically)
        differences.report(path, skip_mismatch=False)
    variables = saved_variables(model, recipe, saved)
    with recipe.policy():
        require_output(model, recipe, request, path=path, variables=variables, values=values)


def _build_symbolically(model: tfk.Model, saved: Iterable[str]) -> None:
    with _FuncGraph("rehearsal").as_default():  # The zeros that optimizers begin with are not computed there.
        build_optimizers(model, saved)
