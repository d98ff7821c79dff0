"""The engine: takes the state of a model, commits it as a checkpoint, and keeps those that the rules want."""

from __future__ import annotations

import functools
import logging
import os
import pathlib
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import tf_keras as tfk

from keras_probckpt.errors import CheckpointNotFoundError
from keras_probckpt.manager.labels import Labels
from keras_probckpt.manager.live_state import LiveState, ModelValues
from keras_probckpt.manager.loop_optimizers import LoopOptimizers
from keras_probckpt.manager.rehearsal import Rehearsal
from keras_probckpt.manager.resumption import ResumePoint, find_resume_point, find_source, resumable_checkpoints
from keras_probckpt.manager.save_errors import OnSaveError, SaveErrors
from keras_probckpt.policy.naming import is_template, require_path, require_plain_parents
from keras_probckpt.policy.objective import objective_for
from keras_probckpt.policy.selection import Candidate, selection_for
from keras_probckpt.recipe.data import copy_data
from keras_probckpt.recipe.document import require_tf_keras_model
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.storage.contents import CheckpointReader, encode_contents
from keras_probckpt.storage.run import RunWriter, Save
from keras_probckpt.training.data_position import put_back_iterator, state_of_iterator

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CheckpointManager"]


_logger = logging.getLogger("keras_probckpt")


class CheckpointManager:
    """Saves checkpoints of a model from a custom training loop, and keeps those that the rules want.

    `ProbCheckpoint` is a shell over it for `model.fit`. The first `save` takes the directory's lock; `close`, or the
    end of a `with` block, gives it back. A directory may hold several runs: each manager starts a new one.

    A save takes the values of the variables by reference and is written in a thread, while training goes on. Where
    saves come faster than they are written, one that no rule would keep beside the newer ones is dropped before it is;
    one that a rule wants never is. Memory: what is still to be written stays as it was, beside what training makes of
    it. A few saves of up to 64 MiB together may wait while another is written; a larger one waits until it is alone.

    `best` and `latest` are of committed checkpoints only, so they may be behind the last `save` until
    `wait_until_finished`.

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
        optimizers: What trains the model where the model does not hold it, as in a loop whose optimizer is a local
            variable: an optimizer of tf_keras, a list of them, or a dict by name. `resume` puts their state back; those
            of a dict are told by their names, those of a list by their places.
        builder: A function that builds the model, recorded in place of its layers.
        builder_kwargs: The keyword arguments `builder` was called with.
        rehearse: Whether to try the first checkpoint, as for `ProbCheckpoint`.
        custom_metadata: Plain JSON values to write into each manifest.
        on_commit: Functions called with the `CheckpointInfo` of each checkpoint once it is durable, in the thread that
            wrote it. They may read, but neither save nor wait for a save.
        save_on_background: Whether `save` returns before the checkpoint is written.
        on_save_error: What an error of writing does: `"raise"` raises it at the next call of `save`,
            `wait_until_finished` or `close`; `"warn"` warns and goes on. The checkpoints there are stay in either case.

    Raises:
        UnsupportedModelError: If `model` is not a tf_keras model.
        TypeError: If `optimizers` are not tf_keras optimizers.

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
        optimizers: Any = None,
        builder: Callable[..., tfk.Model] | None = None,
        builder_kwargs: Mapping[str, Any] | None = None,
        rehearse: bool | None = None,
        custom_metadata: Mapping[str, Any] | None = None,
        on_commit: Iterable[Callable[[CheckpointInfo], object]] = (),
        save_on_background: bool = True,
        on_save_error: OnSaveError = "raise",
    ) -> None:
        require_tf_keras_model(model)
        self.model = model
        self._loop = LoopOptimizers(optimizers)
        require_path(os.fspath(directory))
        require_plain_parents(pathlib.Path(directory).parts)
        given = pathlib.Path(directory).absolute()
        template = given.name if is_template(given.name) else None
        self.directory = given.parent if template else given
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
            names_each_checkpoint=template is not None,
        )
        self._save_weights_only = save_weights_only
        self._save_on_background = save_on_background
        self._state = LiveState(builder=builder, builder_kwargs=builder_kwargs, probes=rehearse is not False)
        self._errors = SaveErrors(on_save_error)
        self._writer = RunWriter(
            self.directory,
            choose_removals=self._selection.removals,
            on_commit=on_commit,
            is_background=save_on_background,
        )
        self._labels = Labels(
            self._writer.run,
            template=template,
            objective=self._selection.objective,
            is_weights_only=save_weights_only,
            custom_metadata=custom_metadata,
        )
        self._rehearsal = Rehearsal(rehearse)
        self._newest_name: str | None = None
        self._source: Mapping[str, Any] | None = None
        self._warned_of_monitor = False

    @property
    def best(self) -> CheckpointInfo | None:
        """The best committed checkpoint of this run; None if none has a finite score."""
        return self._selection.best(self._writer.infos)

    @property
    def latest(self) -> CheckpointInfo | None:
        """The newest committed checkpoint of this run; None before the first."""
        infos = self._writer.infos
        return infos[-1] if infos else None

    @property
    def _planned_best_score(self) -> float | None:
        """Value of the monitor of what `best` will be once all that was asked for is committed."""
        objective, best = self._selection.objective, self._selection.best(self._writer.planned)
        return None if objective is None or best is None else best.logs[objective.monitor]

    @property
    def _newest_path(self) -> pathlib.Path | None:
        """Where the last checkpoint goes that was asked for."""
        return None if self._newest_name is None else self.directory / self._newest_name

    def open(self) -> None:
        """Take the right to write in the directory, clear up after writers that died, and settle the run's number.

        Raises:
            RunLockedError: If another process is writing there.
            CheckpointWriteError: If nothing can be written there.
            InvalidKeyError: If the signing key is not one.
        """
        self._writer.open()
        self._surface_failures(raises=False)  # Those of an earlier training, which another error ended.
        self._number_run()

    def keep_while(self, is_running: Callable[[], bool]) -> None:
        """Let no other callback or manager of this thread take the directory over while a function says so."""
        self._writer.is_running = is_running

    def _number_run(self) -> None:
        if not self._labels.run_number:
            self._labels.settle_run_number(self._writer.store.scan(), directory=self.directory)

    def save(  # noqa: PLR0913 - each is a part of where training stands
        self,
        step: int,
        *,
        metrics: Mapping[str, float] | None = None,
        epoch: int | None = None,
        batch: int | None = None,
        state: Mapping[str, Any] | None = None,
        data_iterator: Iterator[Any] | None = None,
    ) -> bool:
        """Save the model as it is now; what it is set to later does not change the checkpoint.

        The checkpoint is durable once `wait_until_finished` returns; a newer one may have taken its place by then.
        Older ones that no rule wants are removed after that.

        Args:
            step: Completed optimizer updates.
            metrics: Metrics by name, finite or not.
            epoch: Number of the epoch, counted from 1.
            batch: Completed batches of the epoch, where it has not ended.
            state: Plain values and arrays of your own, by name, that `resume` gives back.
            data_iterator: The `tf.data` iterator of the training, whose position is saved with it.

        Returns:
            Whether it is saved: with `save_best_only`, only an improvement is.

        Raises:
            UnrecordableError: If a part of the model cannot be written down.
            RehearsalError: If the checkpoint was committed and cannot be restored.
            CheckpointWriteError: If the file system refused this save, or one before it in the background. What was
                committed before is untouched.
            RunLockedError: If another writer holds the directory.
            ValueError: If `step` is less than that of the last save: the newest would not be the latest.
            KeyError: If the directory's template asks for a metric that there is not.
        """
        self._loop.watch(self.model)
        position = None if data_iterator is None else state_of_iterator(data_iterator, is_exact=False)
        if data_iterator is not None and position is None:
            _logger.warning("This data iterator has no position that can be saved: resume begins the data anew.")
        logs = {name: float(value) for name, value in (metrics or {}).items()}
        candidate = Candidate(step=step, epoch=epoch, batch=batch, logs=logs)
        own = {"state": copy_data(dict(state or {}), where="state")}
        return self.save_taken(candidate, None, training=lambda: own, data_position=position)

    def take_values(self) -> ModelValues:
        """Take the model and its optimizers as they are now, for a `save_taken` that follows."""
        return self._state.take_values(self.model)

    def save_taken(
        self,
        candidate: Candidate,
        values: ModelValues | None,
        *,
        training: Callable[[], Mapping[str, Any]],
        data_position: bytes | None = None,
        is_exempt: bool = False,
    ) -> bool:
        """Save a model as it was taken, and all else as it is now; see `save`.

        Args:
            candidate: The moment the model was taken at.
            values: The model then; None takes it now. Optimizers that are not among the values are taken now.
            training: Gives, whenever it is called, what to have back on resume, as plain values and arrays.
            data_position: Position of the data iterator.
            is_exempt: Save it whatever the rules say, and let them wait for the next save.
        """
        self._surface_failures()
        self._writer.require_open()
        self._number_run()
        step, last_step = candidate.step, self._writer.last_step
        if last_step is not None and step < last_step:
            raise ValueError(f"step went back: {last_step} was saved before, got {step}. Nothing was saved.")
        if not is_exempt:
            self._warn_of_missing_monitor(candidate.logs)
            if self._selection.save_best_only and not self._selection.wants(candidate, self._writer.planned):
                return False
        name, manifest = self._writer.free_name(self._labels.name_of(candidate)), self._labels.manifest_of(candidate)
        counters = {"step": step, "epoch": candidate.epoch, "batch": candidate.batch, "source": self._source}
        taken = self._state.take(
            self.model,
            values=values or self.take_values(),
            training=None if self._save_weights_only else lambda: {**counters, **training()},
            data_position=None if self._save_weights_only else data_position,
        )
        self._newest_name = name
        size_bytes = taken.size_bytes
        trial = self._rehearsal.prepare(taken, manifest, path=self.directory / name)
        # Whoever writes it has it alone, so that its memory is free as soon as it is written.
        handed_over = [taken]
        del taken, values
        save = Save(
            name=name,
            manifest=manifest,
            encode=lambda: encode_contents(handed_over.pop().contents()),
            size_bytes=size_bytes,
            is_exempt=is_exempt,
        )
        self._writer.submit(save)
        if not self._save_on_background:
            self._surface_failures()
        if trial is not None:
            trial(functools.partial(self._written, name, step))
        return True

    def rehearse(self) -> None:
        """Try before anything is trained whether what will be saved can be restored, where that can be told already.

        Raises:
            UnrecordableError: If a part of the model cannot be written down.
            RehearsalError: If no model can be made of what was written down.
        """
        taken = self._state.take(self.model, values=self.take_values(), training=None)
        manifest = self._labels.manifest_of(Candidate(step=0, epoch=None, batch=None, logs={}))
        self._rehearsal.try_unsaved(taken, manifest, path=self.directory)

    def _written(self, name: str, step: int) -> CheckpointInfo | None:
        self.wait_until_finished()
        latest = self.latest
        # One that failed was warned of; one that no rule wants is gone again.
        return latest if latest is not None and (latest.name, latest.step) == (name, step) else None

    def call_on_failure(self, function: Callable[[], None] | None) -> None:
        """Have a function, or none, called as soon as a save has failed, by the thread that it failed in."""
        self._writer.call_on_failure(function)

    def wait_until_finished(self) -> None:
        """Return once every checkpoint that was asked for is durable.

        Raises:
            CheckpointWriteError: If the file system refused one; or what else went wrong with it.
        """
        self._writer.wait_until_finished()
        self._surface_failures()

    def _surface_failures(self, *, raises: bool = True) -> None:
        failures = self._writer.take_failures()
        if failures:
            self._errors.surface(failures, raises=raises)

    def restore_best(self, *, is_weights_only: bool = False) -> CheckpointInfo:
        """Put the best checkpoint of this run back into the live model.

        Args:
            is_weights_only: Leave the optimizers as they are.

        Returns:
            The checkpoint that was put back.

        Raises:
            CheckpointNotFoundError: If none has a finite score.
        """
        self._loop.note(self.model)
        self.wait_until_finished()
        best = self.best
        if best is None:
            problem = "this run has none with a finite score of the monitor"
            raise CheckpointNotFoundError(path=str(self.directory), problem=problem, advice="The model is as it was.")
        self._state.put_back(self.model, self._reader(best), is_weights_only=is_weights_only)
        return best

    def resume(
        self, path: str | os.PathLike[str] | None = None, *, data_iterator: Iterator[Any] | None = None
    ) -> ResumePoint | None:
        """Go on with the newest run in the directory: put its newest state back, and save under its name from now on.

        Puts back the model, its optimizers, the state of Python's, numpy's and TensorFlow's random generators, and the
        position of the data. Where the newest loss is not finite, the newest before it is taken.

        Args:
            path: A run directory or a checkpoint to begin from where this directory holds nothing that began from it
                yet. What is there is only read.
            data_iterator: A `tf.data` iterator of the same data, not used yet, to put where that of the checkpoint was.

        Returns:
            Where training goes on from, with the `state` that was saved; None where there is nothing to resume.

        Raises:
            VariableMismatchError: If the model has other variables than were saved. Nothing was put back.
            LayerMismatchError: If it has these variables, but other layers. Nothing was put back.

        Example:
            >>> manager = CheckpointManager(model, "runs/loop", monitor="nll")
            >>> point = manager.resume()
            >>> point.info.step
            3
            >>> manager.close()
        """
        point = self.find_resume_point(path)
        if point is None:
            return None
        self._loop.note(self.model)
        self.put_back(point)
        point.put_back_randomness(self.model)
        position = point.read_data_position()
        if data_iterator is not None and (position is None or not put_back_iterator(data_iterator, position)):
            _logger.warning("%s holds no position of this data iterator: the data begin anew.", point.info.path)
        return point

    def find_resume_point(
        self, path: str | os.PathLike[str] | None = None, *, is_exact: bool = False
    ) -> ResumePoint | None:
        """Open the directory, take its newest run over, and find where to go on from; the model stays as it is.

        Args:
            path: As in `resume`.
            is_exact: Look first for a checkpoint after which an uninterrupted training begins new random numbers.
        """
        self._writer.open()
        own = resumable_checkpoints(self._writer.store.scan(), directory=self.directory, is_required=path is None)
        point = find_resume_point(self._writer.store, own, is_exact=is_exact)
        source = None if path is None else find_source(path)
        if source is not None and (
            point is None or (point.training.get("source") or {}).get("run") != source[1][-1].run
        ):
            self._source = {"run": source[1][-1].run}
            return find_resume_point(*source, is_exact=is_exact)
        if point is not None:
            self._source = point.training.get("source")
            until = next(number for number, info in enumerate(own, start=1) if info is point.info)
            abandoned = () if self._selection.retention.keeps_all else own[until:]
            self._writer.adopt(own[:until], abandoned=abandoned)
            self._labels.adopt(own[-1])
        return point

    def put_back(
        self, point: ResumePoint, *, is_weights_only: bool = False, skip_optimizer_mismatch: bool = False
    ) -> None:
        """Put model and optimizers where a checkpoint left them.

        Args:
            point: The checkpoint.
            is_weights_only: Leave the optimizers as they are.
            skip_optimizer_mismatch: Put back of the optimizers' state what fits.
        """
        self._state.put_back(
            self.model,
            point.reader,
            is_weights_only=is_weights_only,
            skip_optimizer_mismatch=skip_optimizer_mismatch,
            compares_layers=True,
            frozen=[path for path in point.training.get("frozen") or () if isinstance(path, str)],
        )

    def put_back_values(self, values: ModelValues) -> None:
        """Put the variables of the live model back to what `take_values` took; its optimizers stay as they are."""
        self._state.put_back_values(self.model, values)

    def restore_newest(self) -> CheckpointInfo | None:
        """Put the newest weights in the directory, of whatever run, into the live model, if there are any.

        The optimizer stays as it is: who compiles anew before a restart may want another learning rate.

        Returns:
            The checkpoint that was put back; None if there is none.
        """
        self.wait_until_finished()
        found = self._writer.store.scan().preferred
        if not found:
            return None
        self._state.put_back(self.model, self._reader(found[-1]), is_weights_only=True)
        return found[-1]

    def _reader(self, info: CheckpointInfo) -> CheckpointReader:
        return CheckpointReader(self._writer.store, info)

    def close(self, *, raises: bool = True) -> None:
        """Finish what is pending and give the directory back; a later `save` goes on with the run.

        Args:
            raises: Whether to raise what went wrong with a save, and not only to warn of it.

        Raises:
            CheckpointWriteError: If the file system refused a save. The directory is given back all the same.
        """
        self._writer.close()
        self._surface_failures(raises=raises)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.close(raises=error is None)

    def _warn_of_missing_monitor(self, logs: Mapping[str, float]) -> None:
        problem = self._selection.problem_with(logs)
        if problem and not self._warned_of_monitor:
            self._warned_of_monitor = True
            warnings.warn(problem, stacklevel=4)
