"""The engine: takes the state of a model, commits it as a checkpoint, and keeps those that the rules want."""

from __future__ import annotations

import datetime as dt
import logging
import os
import pathlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import tf_keras as tfk

from keras_probckpt.errors import CheckpointNotFoundError
from keras_probckpt.format import strict_json
from keras_probckpt.manager.live_state import LiveState
from keras_probckpt.policy.naming import format_name, is_template, next_run_number, require_plain_parents, step_name
from keras_probckpt.policy.objective import objective_for
from keras_probckpt.policy.selection import Candidate, selection_for
from keras_probckpt.recipe.document import require_tf_keras_model
from keras_probckpt.records import CheckpointInfo, Manifest
from keras_probckpt.storage.contents import CheckpointReader, Contents, encode_contents
from keras_probckpt.storage.run import RunWriter
from keras_probckpt.training.versions import library_versions

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CheckpointManager"]

_logger = logging.getLogger("keras_probckpt")


class CheckpointManager:
    """Saves checkpoints of a model from a custom training loop, and keeps those that the rules want.

    `ProbCheckpoint` is a shell over it for `model.fit`. The first `save` takes the directory's lock; `close`, or the
    end of a `with` block, gives it back. A directory may hold several runs: each manager starts a new one.

    Args:
        model: A `tf_keras.Model`.
        directory: The run directory, made where it is missing. A last part with `{...}` names each checkpoint, as
            `ProbCheckpoint`'s `filepath` does, and its parent is the run directory.
        monitor: Key of the metrics by which the best is chosen; None ranks nothing.
        mode: `"min"`, `"max"`, or `"auto"`, which tells it from the name.
        min_delta: Smallest change that counts as an improvement, in units of the monitor.
        start_from_epoch: Number of first epochs whose checkpoints never count as best.
        initial_value_threshold: A score that the first best must improve on.
        save_top_k: How many of the best to keep: -1 is all. None is 1, or all where `directory` names each checkpoint.
        save_last: How many of the newest to keep besides. None is 1, or 0 with `save_best_only`.
        keep_every_n_epochs: Keep what was saved at the end of every n-th epoch.
        save_best_only: Save only what enters the best.
        save_weights_only: Leave out optimizer and training state. The recipe is recorded all the same.
        builder: A function that builds the model, recorded in place of its layers.
        builder_kwargs: The keyword arguments `builder` was called with.
        custom_metadata: Plain JSON values to write into each manifest.
        on_commit: Functions called with the `CheckpointInfo` of each checkpoint once it is durable.

    Raises:
        UnsupportedModelError: If `model` is not a tf_keras model.

    Example:
        >>> with CheckpointManager(model, "runs/loop", monitor="nll") as manager:
        ...     for step in range(1, 4):
        ...         manager.save(step, metrics={"nll": 1.0 / step})
        True
        True
        True
        >>> manager.best.logs["nll"]
        0.3333333333333333
    """

    def __init__(  # noqa: PLR0913 - one for each rule a user may set
        self,
        model: tfk.Model,
        directory: str | os.PathLike[str],
        *,
        monitor: str | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
        min_delta: float = 0.0,
        start_from_epoch: int = 0,
        initial_value_threshold: float | None = None,
        save_top_k: int | None = None,
        save_last: bool | int | None = None,
        keep_every_n_epochs: int | None = None,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        builder: Callable[..., tfk.Model] | None = None,
        builder_kwargs: Mapping[str, Any] | None = None,
        custom_metadata: Mapping[str, Any] | None = None,
        on_commit: Iterable[Callable[[CheckpointInfo], object]] = (),
    ) -> None:
        require_tf_keras_model(model)
        self.model = model
        require_plain_parents(pathlib.Path(directory).parts)
        given = pathlib.Path(directory).absolute()
        self._template = given.name if is_template(given.name) else None
        self.directory = given.parent if self._template else given
        objective = monitor and objective_for(
            monitor, mode=mode, min_delta=min_delta, start_from_epoch=start_from_epoch
        )
        self._selection = selection_for(
            objective=objective or None,
            save_top_k=save_top_k,
            save_last=save_last,
            keep_every_n_epochs=keep_every_n_epochs,
            save_best_only=save_best_only,
            threshold=initial_value_threshold,
            names_each_checkpoint=self._template is not None,
        )
        self._save_weights_only = save_weights_only
        self._state = LiveState(builder=builder, builder_kwargs=builder_kwargs)
        self._custom_metadata = dict(custom_metadata or {})
        _require_plain(self._custom_metadata)
        self._on_commit = tuple(on_commit)
        self._writer = RunWriter(self.directory)
        self._run_number = 0
        self._warned_of_monitor = False

    @property
    def best(self) -> CheckpointInfo | None:
        """The best checkpoint of this run so far; None if none has a finite score."""
        return self._selection.best(self._writer.infos)

    @property
    def latest(self) -> CheckpointInfo | None:
        """The newest checkpoint of this run; None before the first."""
        return self._writer.infos[-1] if self._writer.infos else None

    def open(self) -> None:
        """Take the right to write in the directory, clear up after writers that died, and settle the run's number.

        Raises:
            RunLockedError: If another process is writing there.
            CheckpointWriteError: If nothing can be written there.
            InvalidKeyError: If the signing key is not one.
        """
        self._writer.open()
        if self._run_number == 0:
            self._number_run()

    def _number_run(self) -> None:
        older = self._writer.store.scan().checkpoints
        self._run_number = next_run_number(older)
        if older:
            _logger.warning(
                "%s holds %d checkpoint(s) of earlier runs; this is run %s, beside them. None of theirs is removed.",
                self.directory,
                len(older),
                self._writer.run,
            )

    def save(
        self,
        step: int,
        *,
        metrics: Mapping[str, float] | None = None,
        epoch: int | None = None,
        batch: int | None = None,
    ) -> bool:
        """Save the model as it is now; what it is set to later does not change the checkpoint.

        The checkpoint is durable once `wait_until_finished` returns. Then older ones that no rule wants are removed.

        Args:
            step: Completed optimizer updates.
            metrics: Metrics by name, finite or not.
            epoch: Number of the epoch, counted from 1.
            batch: Completed batches of the epoch, where it has not ended.

        Returns:
            Whether it is saved: with `save_best_only`, only an improvement is.

        Raises:
            UnrecordableError: If a part of the model cannot be written down.
            CheckpointWriteError: If the file system refused. What was committed before is untouched.
            RunLockedError: If another writer holds the directory.
            ValueError: If `step` is less than that of the last save: the newest would not be the latest.
            KeyError: If the directory's template asks for a metric that there is not.
        """
        logs = {name: float(value) for name, value in (metrics or {}).items()}
        if self.latest is not None and step < self.latest.step:
            raise ValueError(f"step went back: {self.latest.step} was saved before, got {step}. Nothing was saved.")
        self._require_open()
        self._warn_of_missing_monitor(logs)
        if not self._selection.wants(Candidate(step=step, epoch=epoch, batch=batch, logs=logs), self._writer.infos):
            return False
        name = self._name_for(step, epoch=epoch, batch=batch, logs=logs)
        training = {"step": step, "epoch": epoch, "batch": batch}
        contents = self._state.take(self.model, is_weights_only=self._save_weights_only, training=training)
        manifest = self._manifest(step, epoch=epoch, batch=batch, logs=logs)
        self._commit(name, manifest, contents)
        return True

    def wait_until_finished(self) -> None:
        """Return once every checkpoint that was asked for is durable."""

    def restore_best(self) -> CheckpointInfo:
        """Put the best checkpoint of this run back into the live model, optimizer state included.

        Returns:
            The checkpoint that was put back.

        Raises:
            CheckpointNotFoundError: If none has a finite score.
        """
        best = self.best
        if best is None:
            problem = "this run has none with a finite score of the monitor"
            raise CheckpointNotFoundError(path=str(self.directory), problem=problem, advice="The model is as it was.")
        self._state.put_back(self.model, self._reader(best), is_weights_only=False)
        return best

    def restore_newest(self) -> CheckpointInfo | None:
        """Put the newest weights in the directory, of whatever run, into the live model, if there are any.

        The optimizer stays as it is: who compiles anew before a restart may want another learning rate.

        Returns:
            The checkpoint that was put back; None if there is none.
        """
        found = self._writer.store.scan().checkpoints
        if not found:
            return None
        self._state.put_back(self.model, self._reader(found[-1]), is_weights_only=True)
        return found[-1]

    def _reader(self, info: CheckpointInfo) -> CheckpointReader:
        return CheckpointReader(self._writer.store, info)

    def close(self) -> None:
        """Finish what is pending and give the directory back; a later `save` goes on with the run."""
        self.wait_until_finished()
        self._writer.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_open(self) -> None:
        self._writer.require_open()
        if self._run_number == 0:
            self._number_run()

    def _name_for(self, step: int, *, epoch: int | None, batch: int | None, logs: Mapping[str, float]) -> str:
        if self._template is not None:
            return format_name(self._template, epoch=epoch, batch=batch, step=step, logs=logs)
        return step_name(step, run=self._writer.run, run_number=self._run_number)

    def _manifest(self, step: int, *, epoch: int | None, batch: int | None, logs: Mapping[str, float]) -> Manifest:
        return Manifest(
            run=self._writer.run,
            run_number=self._run_number,
            step=step,
            epoch=epoch,
            batch=batch,
            logs=logs,
            objective=self._selection.objective,
            is_weights_only=self._save_weights_only,
            created_at=dt.datetime.now(dt.timezone.utc).isoformat(),
            versions=library_versions(),
            custom_metadata=self._custom_metadata,
            files={},
        )

    def _commit(self, name: str, manifest: Manifest, contents: Contents) -> None:
        info = self._writer.commit(name, manifest=manifest, files=encode_contents(contents))
        for callback in self._on_commit:
            callback(info)
        for unwanted in self._selection.removals(self._writer.infos):
            self._writer.remove(unwanted)

    def _warn_of_missing_monitor(self, logs: Mapping[str, float]) -> None:
        problem = self._selection.problem_with(logs)
        if problem and not self._warned_of_monitor:
            self._warned_of_monitor = True
            warnings.warn(problem, stacklevel=4)


def _require_plain(custom_metadata: Mapping[str, Any]) -> None:
    try:
        strict_json.dumps(custom_metadata)
    except (TypeError, ValueError) as error:
        raise ValueError(f"custom_metadata must be plain JSON values: {error}. Nothing was saved.") from error
