"""A trial right after the first save: can the checkpoint be restored?

2026-11-24: what fails here is tried in a new process before the training is stopped for it. This one has what a later
one has not: classes that refuse to be defined twice, variables that hold zeros. An error must be one that a later
script would meet too.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import CheckpointError, RehearsalError
from keras_probckpt.manager.rebuilding import Request, needs, place, rebuild, recipe_of, require_output, saved_variables
from keras_probckpt.manager.second_process import Outputs, restore_in_second_process
from keras_probckpt.recipe.document import Recipe
from keras_probckpt.recipe.outputs import fixed_outputs
from keras_probckpt.recipe.registry import unchanged_registries
from keras_probckpt.storage.contents import CheckpointReader
from keras_probckpt.training.assignment import build_optimizers, require_fit
from keras_probckpt.training.unbacked import unbacked_variables
from keras_probckpt.training.undisturbed import undisturbed
from keras_probckpt.training.variables import find_layers

__all__ = ["Rehearsal"]

_logger = logging.getLogger("keras_probckpt")

_FuncGraph = tf.__internal__.FuncGraph


class Rehearsal:
    """Tries once for each recipe whether a checkpoint that has it can be restored.

    Args:
        rehearse: None to rebuild the model beside the training, without its values; True to restore it in a new
            process and compare what it returns; False for neither.

    Raises:
        TypeError: If it is none of these.
    """

    def __init__(self, rehearse: bool | None) -> None:  # noqa: FBT001 - three values, one of them the default
        if rehearse is not None and not isinstance(rehearse, bool):
            raise TypeError(f"rehearse must be True, False or None, got {rehearse!r:.200}. Nothing was saved.")
        self._rehearse = rehearse
        self._rehearsed: str | None = None

    def is_due(self, recipe: Recipe) -> bool:
        """Whether no checkpoint of a model made of the same parts was tried yet, and one is to be."""
        return self._rehearse is not False and recipe.structure != self._rehearsed

    def try_out(
        self, model: tfk.Model, reader: CheckpointReader, recipe: Recipe, *, values: Mapping[str, tf.Tensor]
    ) -> None:
        """Try a checkpoint that was just committed, before the model is trained on.

        Args:
            model: The live model; it is as it was saved.
            reader: The checkpoint.
            recipe: The recipe in it.
            values: The values of the model's variables, by path.

        Raises:
            RehearsalError: If it cannot be restored.
        """
        self._rehearsed = recipe.structure
        if self._rehearse:
            _compare_with_second_process(model, reader)
        else:
            _rebuild_here(reader, values)
        reason = recipe.document["compile"].get("reason")
        if reason:
            warnings.warn(f"{reader.info.path} will come back uncompiled: {reason}.", stacklevel=5)


def _rebuild_here(reader: CheckpointReader, values: Mapping[str, tf.Tensor]) -> None:
    path = reader.info.path
    try:
        with undisturbed(), unchanged_registries():
            _follow(reader, values)
    except Exception as error:  # noqa: BLE001 - a user's code may fail in any way
        problem = str(error) if isinstance(error, CheckpointError) else f"{type(error).__name__}: {error}"
        try:
            restore_in_second_process(path, written=reader.info.files)
        except RehearsalError:
            raise RehearsalError(path=str(path), problem=problem) from error
        _logger.info("%s can be restored by a new process, but not in this one: %s", path, problem)


def _follow(reader: CheckpointReader, values: Mapping[str, tf.Tensor]) -> None:
    """Do what a restore does; the values stay where they are, and are lent to what is compared."""
    request, path = Request(trusted=True), str(reader.info.path)
    recipe = recipe_of(reader, request, finds_live=False)
    saved = recipe.saved("variables")
    with unbacked_variables():
        model = rebuild(recipe, saved, request, path=path)
        optimizer = recipe.saved("optimizer_variables") if model._is_compiled else {}
        fit = functools.partial(require_fit, path=path)
        is_needed = needs(model, request)
        place(model, recipe, saved, optimizer or None, put=fit, is_needed=is_needed, build=_build_symbolically)
        recipe.check_layers(find_layers(model), is_as_recorded=True).report(path, skip_mismatch=False)
        variables = saved_variables(model, recipe, saved)
        require_output(model, recipe, request, path=path, variables=variables, values=values)


def _build_symbolically(model: tfk.Model, saved: Iterable[str]) -> None:
    with _FuncGraph("rehearsal").as_default():  # The zeros that optimizers begin with are not computed there.
        build_optimizers(model, saved)


def _compare_with_second_process(model: tfk.Model, reader: CheckpointReader) -> None:
    path = reader.info.path
    with undisturbed(), unchanged_registries():
        here, reason = _outputs_of(model, reader)
    there = restore_in_second_process(path, written=reader.info.files, wants_outputs=not reason)
    if reason:
        warnings.warn(
            f"{path} can be restored by a new process, but what the model returns was not compared: {reason}.",
            stacklevel=6,
        )
    differences = [_difference(place, here.get(place), there.get(place)) for place in sorted({*here, *there})]
    lines = "\n".join(f"  - {difference}" for difference in differences if difference)
    if lines:
        raise RehearsalError(
            path=str(path), problem=f"the model that a new process restored returns something else:\n{lines}"
        )


def _outputs_of(model: tfk.Model, reader: CheckpointReader) -> tuple[Outputs, str]:
    """Return what the live model returns, and empty; or nothing, and why."""
    try:
        signatures = recipe_of(reader, Request(trusted=True)).signatures
        with tf.device("CPU"):  # As in the new process.
            outputs = fixed_outputs(find_layers(model), signatures)
    except Exception as error:  # noqa: BLE001 - a model may be called in ways that no graph holds; it is trained on
        return {}, f"calling it fails with {type(error).__name__}: {error}"
    return outputs, "" if outputs else "neither it nor a part of it was called with tensors"


def _difference(place: str, here: Any, there: Any) -> str:
    if here is None or there is None:
        return f"{place}: only the {'restored' if here is None else 'live'} model returns it"
    if (here.shape, here.dtype) != (there.shape, there.dtype):
        return f"{place}: live {here.shape} {here.dtype}, restored {there.shape} {there.dtype}"
    if here.tobytes() == there.tobytes():
        return ""
    return f"{place}: live {_shown(here)}, restored {_shown(there)}"


def _shown(array: np.ndarray[Any, Any]) -> str:
    return np.array2string(array.ravel()[:4], separator=", ") + (" ..." if array.size > 4 else "")  # noqa: PLR2004
