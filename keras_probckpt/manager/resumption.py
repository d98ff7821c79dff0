"""Where a training may go on from, found and read."""

from __future__ import annotations

import dataclasses
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tf_keras as tfk

from keras_probckpt.errors import CheckpointNotFoundError, MalformedRecipeError, UntrustedCheckpointError
from keras_probckpt.policy.resume_point import has_finite_loss, plan_resume_points
from keras_probckpt.recipe.data import decode_data
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.shown import shown
from keras_probckpt.storage.catalog import resolve
from keras_probckpt.storage.contents import CheckpointReader
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.keys import load_keys
from keras_probckpt.storage.listing import Listing
from keras_probckpt.storage.store import CheckpointStore
from keras_probckpt.training.checked_state import check_training
from keras_probckpt.training.randomness import (
    begin_anew,
    global_seed,
    leave_old_noise,
    put_back_random_state,
    put_back_trace_counters,
)
from keras_probckpt.training.versions import library_versions

__all__ = ["ResumePoint", "find_resume_point", "find_source", "log_other_versions", "resumable_checkpoints"]

_logger = logging.getLogger("keras_probckpt")

_FIRST_WITHOUT_ROOM = 2**62


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """A checkpoint that training goes on from.

    Attributes:
        info: The checkpoint, with its `step`, `epoch` and `batch`.
        state: What was given to `CheckpointManager.save` as `state`.
    """

    info: CheckpointInfo
    state: Mapping[str, Any]
    reader: CheckpointReader = dataclasses.field(repr=False)
    training: Mapping[str, Any] = dataclasses.field(repr=False)

    def read_data_position(self) -> bytes | None:
        """Read the position of the data iterator, if there is one that nobody else can have written.

        TensorFlow reads it, and ends the process by some bytes that are none. So of a checkpoint that was not signed
        with one of the reader's own keys it is not read.
        """
        position = self.reader.read_data_position()
        if position is None or self.info.signature == "own":
            return position
        _logger.warning("%s is not signed with a key of yours: its position in the data is not used.", self.info.path)
        return None

    def put_back_randomness(self, model: tfk.Model, *, seed: int | None = None) -> None:
        """Put the random generators where this checkpoint left them.

        Args:
            model: The model in training.
            seed: Seed of a reproducible training, which begins new random numbers here; None otherwise.
        """
        if "random" in self.training:  # Release 0.1 did not save it.
            put_back_random_state(self.training["random"])
            put_back_trace_counters(model, self.training["trace_counters"])
        if seed is not None:
            begin_anew(model, seed=seed, step=self.info.step)
        else:
            leave_old_noise(model, seed=global_seed(), step=self.info.step)


def newest_run(infos: Sequence[CheckpointInfo]) -> list[CheckpointInfo]:
    """Choose the checkpoints of the newest run, oldest first."""
    return [info for info in infos if info.run == infos[-1].run]


def find_source(path: str | os.PathLike[str]) -> tuple[CheckpointStore, list[CheckpointInfo]]:
    """Find the checkpoints that a path stands for: one, or those of the newest run in a directory.

    Raises:
        CheckpointNotFoundError: If there is none.
    """
    location = resolve(path)
    store = CheckpointStore(LocalFileSystem(location.directory), keys=load_keys())
    if location.name is not None:
        return store, [store.open(location.name)]
    listing = store.scan()
    if not listing.preferred:
        problem = "none of its checkpoints can be read"
        raise CheckpointNotFoundError(path=str(path), problem=problem, advice="Nothing was resumed.")
    _log_left_out(listing, directory=location.directory)
    return store, newest_run(listing.preferred)


def resumable_checkpoints(listing: Listing, *, directory: pathlib.Path, is_required: bool) -> list[CheckpointInfo]:
    """Choose what a training in this directory may go on with: one's own checkpoints of its newest run, oldest first.

    Args:
        listing: What the directory holds.
        directory: The run directory.
        is_required: Whether to refuse a directory in which others only have checkpoints.

    Raises:
        UntrustedCheckpointError: If it is refused. To begin anew there would pass over what the caller wants to go on.
    """
    if listing.counted:
        _log_left_out(listing, directory=directory)
        return newest_run(listing.counted)
    if listing.checkpoints and is_required:
        reason = f"resume=True goes on from your own checkpoints only, and it holds only others: {listing.described}"
        raise UntrustedCheckpointError(
            path=str(directory),
            reason=reason,
            requirements=("train on under your name, from the newest of these",),
            allow="resume= with the path of one, and another directory as filepath; or set KERAS_PROBCKPT_KEY to the "
            "key that they are signed with",
        )
    return []


def _log_left_out(listing: Listing, *, directory: pathlib.Path) -> None:
    if listing.left_out:
        _logger.warning("%s holds checkpoints that are passed over: %s.", directory, listing.left_out)


def find_resume_point(store: CheckpointStore, infos: Sequence[CheckpointInfo], *, is_exact: bool) -> ResumePoint | None:
    """Find the checkpoint to go on from.

    Args:
        store: Where the checkpoints are.
        infos: Those of one run, oldest first.
        is_exact: Only from where a training that goes on begins new random numbers too.

    Returns:
        The newest that serves; None if there is none.
    """
    for info in plan_resume_points([info for info in infos if not info.is_weights_only]):
        reader = CheckpointReader(store, info)
        _require_room(info)
        training = _read_training(reader)
        if is_exact and not training.get("is_exact"):
            _logger.warning("reproducible=True passes over %s, which was not saved at a planned moment.", info.path)
            continue
        if not has_finite_loss(info):
            _logger.warning(
                "Every checkpoint of run %s has a loss that is not finite; going on all the same.", info.run
            )
        elif info is not infos[-1] and not has_finite_loss(infos[-1]):
            _logger.warning("%s has a loss that is not finite and is passed over.", infos[-1].path)
        return ResumePoint(info=info, state=training.get("state") or {}, reader=reader, training=training)
    return None


def _require_room(info: CheckpointInfo) -> None:
    """Refuse numbers so large that what is counted from there could not be saved."""
    for name, number in (("step", info.step), ("epoch", info.epoch or 0), ("batch", info.batch or 0)):
        if number >= _FIRST_WITHOUT_ROOM:
            problem = f"no training goes on from {name} {number}: nothing that it counts could be saved"
            raise MalformedRecipeError(where=f"manifest[{name!r}] of {shown(info.path)}", problem=problem)


def _read_training(reader: CheckpointReader) -> dict[str, Any]:
    nodes = reader.read_training()
    if not isinstance(nodes, dict):
        raise MalformedRecipeError(where="training", problem=f"it is a {type(nodes).__name__}, not an object")
    training = decode_data(nodes, reader.read_training_arrays(), where="training")
    check_training(training)
    return training


def log_other_versions(info: CheckpointInfo) -> None:
    """Say which packages are no longer of the version that a checkpoint was written with."""
    now = library_versions()
    others = [
        f"{name} {version} (now {now[name]})"
        for name, version in info.versions.items()
        if name in now and now[name] != version
    ]
    if others:
        _logger.warning("The checkpoint was written with other versions: %s.", ", ".join(others))
