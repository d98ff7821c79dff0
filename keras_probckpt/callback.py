"""`ProbCheckpoint`: decides during `model.fit` when the manager saves."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import difflib
import inspect
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import tf_keras as tfk

from keras_probckpt.manager import CheckpointManager
from keras_probckpt.manager.fit_state import FitState
from keras_probckpt.manager.live_state import ModelValues
from keras_probckpt.manager.own_best import OwnBest
from keras_probckpt.manager.save_errors import OnSaveError, SaveErrors
from keras_probckpt.manager.stop_signals import StopSignals
from keras_probckpt.manager.training_logs import print_save, require_monitor_seen, scalars_of, warn_of_no_occasion
from keras_probckpt.model.trainable import note_scopes
from keras_probckpt.policy.naming import is_template, require_path, require_plain_parents
from keras_probckpt.policy.objective import is_known_direction, objective_for
from keras_probckpt.policy.resume_point import require_resumable
from keras_probckpt.policy.schedule import Progress, after_batch, after_epoch, schedule_for
from keras_probckpt.policy.selection import Candidate, selection_for
from keras_probckpt.recipe.document import require_tf_keras_model
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.training.fit_call import batch_hooks_of, call_if_interrupted, fit_watch, running_fit

__all__ = ["ProbCheckpoint"]

_logger = logging.getLogger("keras_probckpt")

_LEGACY_KEYWORDS = ("load_weights_on_restart", "period")


class ProbCheckpoint(tfk.callbacks.ModelCheckpoint):  # type: ignore[misc] # tf_keras is untyped
    """Saves checkpoints of a probabilistic model during `fit`, from which `restore_best` gives back a working model.

    A drop-in `tf_keras.callbacks.ModelCheckpoint`: the same nine arguments in the same order with the same defaults
    decide when a checkpoint is saved and what it is called. What is saved is a directory with a recipe for the model,
    its weights, and the state of training.

    Args:
        filepath: The run directory. A last part with `{...}`, such as `"runs/exp1/{epoch:02d}-{val_loss:.2f}"`, names
            each checkpoint, and its parent is the run directory: `{epoch}` and `{batch}` count from 1, any other name
            is a log.
        monitor: Name of the log by which the best is chosen.
        verbose: 1 to print a line for each save.
        save_best_only: Save only what enters the best.
        save_weights_only: Leave out optimizer and training state. The recipe is recorded all the same.
        mode: `"min"`, `"max"`, or `"auto"`, which tells it from the monitor's name: less is better for losses and
            errors, more for log-probabilities, ELBO, accuracies and the like; an unknown name follows Keras's rule,
            and that is said.
        save_freq: `"epoch"`, or a number of batches after which to save.
        options: None, or what `ModelCheckpoint` takes; checked, and without effect on this format.
        initial_value_threshold: A value of the monitor that the first best must improve on.
        builder: A function that builds the model, recorded in place of its layers.
        builder_kwargs: The keyword arguments `builder` was called with.
        rehearse: Whether to try if what is saved can be restored; it raises if not. None rebuilds the model beside the
            training, without its values: before the first batch where the model is built, else at the first save. That
            takes about as long as building the model does, mostly below a second, whatever the size of the weights
            (measured by `tests/benchmarks`, as "stall of the first save"). True restores the first checkpoint in a new
            process, which takes as long as importing TensorFlow and loading the model. False is neither.
        save_top_k: How many of the best to keep: -1 is all. None is 1, or all where `filepath` names each checkpoint.
        save_last: How many of the newest to keep besides. None is 1, or 0 with `save_best_only`.
        keep_every_n_epochs: Keep what was saved at the end of every n-th epoch.
        min_delta: Smallest change that counts as an improvement, in units of the monitor.
        start_from_epoch: Number of first epochs whose checkpoints never count as best.
        train_time_interval: A `datetime.timedelta`: besides, save at the first batch end so long after the last save.
        resume: True to go on with the newest run in the run directory, if there is one, as if it had never stopped:
            model, optimizer, callbacks, epoch, place in the data, random numbers. What the script sets otherwise than
            before, such as a learning rate, is kept and said. A path goes on from a checkpoint or run elsewhere, which
            is only read, until this directory holds a run that began there. Set it from the first run on: only then a
            checkpoint waits for the callbacks behind this one to have seen the same epoch, and knows its place in the
            data.
        reproducible: A training that is stopped and resumed, however often, ends in the same bits as one that never
            was. At each save, new random numbers are begun and the train step is traced anew, which takes as long as
            the first step of a `fit`; what of the data cannot be put back is read again. Needs a seed set with
            `tf_keras.utils.set_random_seed`.
        save_before_preemption: On SIGTERM, SIGINT or SIGUSR1, save at the end of the batch, whatever the other rules
            say, and then let the process do what the signal asks. A second Ctrl-C does not wait. Only where `fit` runs
            in the main thread.
        restore_best_weights: At the end of training, put the weights of the best checkpoint back into the model; also
            where an error or an interrupt ends it.
        custom_metadata: Plain JSON values to write into each manifest.
        on_commit: Functions called with the `CheckpointInfo` of each checkpoint once it is durable, in the thread that
            wrote it. They may read, but neither save nor wait for a save.
        save_on_background: Whether training goes on while a checkpoint is written. One that a newer one supersedes
            before that is dropped: see `CheckpointManager`.
        on_save_error: What an error of writing does: `"raise"` ends the training with it at the next batch, save or end
            of an epoch, `"warn"` warns and trains on. The checkpoints there are stay in either case.
        **kwargs: ModelCheckpoint's legacy keywords, `load_weights_on_restart` and `period`.

    Raises:
        ValueError: If an argument has no meaning, such as a mode that is none of the three.
        TypeError: If `options` is of the wrong kind or a keyword is unknown.

    Example:
        >>> checkpoint = ProbCheckpoint("runs/exp1", monitor="loss")
        >>> history = model.fit(x, y, epochs=2, callbacks=[checkpoint], verbose=0)
        >>> checkpoint.best_model_score == min(history.history["loss"])
        True
    """

    def __init__(  # noqa: PLR0913, PLR0917 - ModelCheckpoint's nine arguments, and what is new
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,  # noqa: FBT001, FBT002 - ModelCheckpoint's place
        save_weights_only: bool = False,  # noqa: FBT001, FBT002 - ModelCheckpoint's place
        mode: Literal["auto", "min", "max"] = "auto",
        save_freq: int | Literal["epoch"] = "epoch",
        options: Any = None,
        initial_value_threshold: float | None = None,
        *,
        builder: Callable[..., tfk.Model] | None = None,
        builder_kwargs: Mapping[str, Any] | None = None,
        rehearse: bool | None = None,
        save_top_k: int | None = None,
        save_last: bool | int | None = None,
        keep_every_n_epochs: int | None = None,
        min_delta: float = 0.0,
        start_from_epoch: int = 0,
        train_time_interval: dt.timedelta | None = None,
        resume: bool | str | os.PathLike[str] = False,
        reproducible: bool = False,
        save_before_preemption: bool = False,
        restore_best_weights: bool = False,
        custom_metadata: Mapping[str, Any] | None = None,
        on_commit: Iterable[Callable[[CheckpointInfo], object]] = (),
        save_on_background: bool = True,
        on_save_error: OnSaveError = "raise",
        **kwargs: Any,
    ) -> None:
        _require_known_keywords(kwargs)
        note_scopes()
        require_path(os.fspath(filepath))
        require_plain_parents(pathlib.Path(filepath).parts)
        objective = objective_for(monitor, mode=mode, min_delta=min_delta, start_from_epoch=start_from_epoch)
        self._schedule = schedule_for(
            save_freq, period=kwargs.get("period", 1), train_time_interval=train_time_interval
        )
        self._manager: CheckpointManager | None = None
        self._objective = objective
        # The best and the newest of the callback that this is a copy of.
        self._copied: tuple[CheckpointInfo | None, CheckpointInfo | None] = None, None
        super().__init__(
            os.fspath(filepath),
            monitor,
            verbose,
            save_best_only,
            save_weights_only,
            objective.mode,
            save_freq,
            options,
            initial_value_threshold,
            **kwargs,
        )
        if mode == "auto" and not is_known_direction(monitor):
            _logger.warning(
                "Whether more or less %s is better is not known; mode=%r is taken.", monitor, objective.mode
            )
        self._manager_arguments: dict[str, Any] = {
            "monitor": monitor,
            "mode": objective.mode,
            "min_delta": min_delta,
            "start_from_epoch": start_from_epoch,
            "initial_value_threshold": initial_value_threshold,
            "save_top_k": save_top_k,
            "save_last": save_last,
            "keep_every_n_epochs": keep_every_n_epochs,
            "save_best_only": save_best_only,
            "save_weights_only": save_weights_only,
            "builder": builder,
            "builder_kwargs": builder_kwargs,
            "rehearse": rehearse,
            "custom_metadata": custom_metadata,
            "on_commit": tuple(on_commit),
            "save_on_background": save_on_background,
            "on_save_error": on_save_error,
        }
        SaveErrors(on_save_error)
        selection_for(
            objective=objective,
            save_top_k=save_top_k,
            save_last=save_last,
            keep_every_n_epochs=keep_every_n_epochs,
            save_best_only=save_best_only,
            names_each_checkpoint=is_template(pathlib.Path(self.filepath).name),
        )
        require_resumable(
            resume=resume, reproducible=reproducible, weights_only=save_weights_only, schedule=self._schedule
        )
        self._saves_before_preemption = save_before_preemption
        self._resume = resume
        self._is_reproducible = reproducible
        self._restore_best_weights = restore_best_weights
        # To be called after each batch takes time in each. Who does not need it is called only once a save has failed.
        self._needs_batch_hooks = (
            save_freq != "epoch"
            or train_time_interval is not None
            or save_before_preemption
            or reproducible
            or resume is not False
        )
        self._progress = Progress()
        self._seen_logs: set[str] = set()
        self._saved_at_seconds = 0.0
        self._has_ended = False
        self._prepare()

    def _prepare(self) -> None:
        """Make what belongs to this process, and to no copy of this callback."""
        is_resumable = self._is_reproducible or self._resume is not False
        self._manager = None
        self._fit = FitState(is_resumable=is_resumable, is_reproducible=self._is_reproducible)
        self._signals = StopSignals(is_training=lambda: running_fit(self.model) is not None)
        self._own_best = OwnBest(self._objective, threshold=self._manager_arguments["initial_value_threshold"])

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process: a copy trains in a run of its own, as a new callback does.

        It knows the best and the newest checkpoint until then, as a copy of `ModelCheckpoint` knows its best.
        """
        of_process = ("_manager", "_fit", "_signals", "_own_best")
        kept = {name: value for name, value in vars(self).items() if name not in of_process}
        return {**kept, "_copied": (self._best_info, self._latest_info)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take what `__getstate__` gave."""
        self.__dict__.update(state)
        self._prepare()

    @property
    def best(self) -> float:
        """Value of the monitor of the best committed checkpoint; before there is one, what it has to improve on.

        As `best_model_path` and its like it is of committed checkpoints only: in training it may be behind the last
        save, until `wait_until_finished`. After `fit` it is of all.
        """
        return self._improved(self.best_model_score)

    @best.setter
    def best(self, value: float) -> None:
        self._best_to_improve_on = value

    def _improved(self, score: float | None) -> float:
        is_better = score is not None and not self.monitor_op(self._best_to_improve_on, score)
        return score if score is not None and is_better else self._best_to_improve_on

    @property
    def _planned_best(self) -> float:
        return self._improved(self._manager._planned_best_score if self._manager else None)

    @property
    def best_model_path(self) -> str | None:
        """Directory of the best checkpoint; None before the first that has a finite score."""
        info = self._best_info
        return None if info is None else str(info.path)

    @property
    def best_model_score(self) -> float | None:
        """Value of the monitor of the best checkpoint; None before the first that has a finite one."""
        info = self._best_info
        return None if info is None else info.logs[self.monitor]

    @property
    def last_model_path(self) -> str | None:
        """Directory of the newest checkpoint; None before the first."""
        info = self._latest_info
        return None if info is None else str(info.path)

    @property
    def _best_info(self) -> CheckpointInfo | None:
        return self._manager.best if self._manager else self._copied[0]

    @property
    def _latest_info(self) -> CheckpointInfo | None:
        return self._manager.latest if self._manager else self._copied[1]

    @property
    def _running_manager(self) -> CheckpointManager:
        if self._manager is None:
            raise RuntimeError("ProbCheckpoint was called outside of fit: no training has begun. Nothing was saved.")
        return self._manager

    def wait_until_finished(self) -> None:
        """Return once every checkpoint that was asked for is durable."""
        if self._manager is not None:
            self._manager.wait_until_finished()

    def set_model(self, model: tfk.Model) -> None:
        """Take the model that is going to be trained.

        Raises:
            UnsupportedModelError: If it is not a tf_keras model.
        """
        require_tf_keras_model(model)
        super().set_model(model)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Take the run directory before the first batch, so that trouble with it is known now."""
        if self._manager is None:
            self._manager = CheckpointManager(self.model, self.filepath, **self._manager_arguments)
        manager = self._manager
        manager.model = self.model
        manager.keep_while(fit_watch(self.model))
        point = None
        if self._resume is not False:
            source = None if self._resume is True else self._resume
            point = manager.find_resume_point(source, is_exact=self._is_reproducible)
        manager.open()
        if self.load_weights_on_restart:
            manager.restore_newest()
        self._own_best.begin(self.model)
        self._fit.begin(self.model, manager, point)
        self._saved_at_seconds = time.monotonic()
        self._has_ended = False
        call_if_interrupted(self.model, self._end_early)
        manager.call_on_failure(batch_hooks_of(self.model))
        if self._saves_before_preemption:
            self._signals.watch()
        if self.model.built:
            manager.rehearse()

    def get_state(self) -> dict[str, Any]:
        """Return what this callback knows beyond its checkpoints."""
        return {
            "progress": self._progress._asdict(),
            "seconds_since_save": time.monotonic() - self._saved_at_seconds,
            "seen_logs": sorted(self._seen_logs),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `get_state` returned."""
        progress, seconds, names = (state[key] for key in ("progress", "seconds_since_save", "seen_logs"))
        if not all(type(value) is int for value in progress.values()) or not all(type(name) is str for name in names):
            raise ValueError(f"no state of a ProbCheckpoint: {state!r:.200}")
        self._progress = Progress(**progress)
        self._saved_at_seconds = time.monotonic() - seconds
        self._seen_logs = set(names)
        score = self.best_model_score
        if score is not None:
            self.best = score

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """The first time after a resume, put data and metrics where they were."""
        super().on_epoch_begin(epoch, logs)
        self._fit.begin_epoch(self.model)

    def _implements_train_batch_hooks(self) -> bool:
        return self._needs_batch_hooks

    def _implements_test_batch_hooks(self) -> bool:
        return self._saves_before_preemption

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Save if a number of batches or an interval of time is up, or if a signal asks the process to stop."""
        self._running_manager._surface_failures()
        if self._fit.pass_over(batch):
            return
        elapsed = time.monotonic() - self._saved_at_seconds
        self._progress, is_due = after_batch(self._schedule, self._progress, batch=batch, seconds_since_save=elapsed)
        self._save_if(is_due=is_due, epoch=self._current_epoch + 1, batch=batch + 1, logs=logs)

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Keep the metrics of the epoch, which a validation begins with."""
        if self._saves_before_preemption:
            self._fit.keep_metrics(self.model)

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's
        """Save in a validation if a signal asks the process to stop: the epoch's training is done."""
        if self._signals.names:
            self._save_if(is_due=False, epoch=self._current_epoch + 1, batch=self._progress.last_batch + 1, logs=None)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Save if the end of an epoch is an occasion to, or if a signal asks the process to stop."""
        self._running_manager._surface_failures()
        self._progress, is_due = after_epoch(self._schedule, self._progress)
        if not self._fit.has_batches:
            _logger.warning("Epoch %d had no batch, for the data were at their end: it is not saved.", epoch + 1)
            is_due, logs = False, None
        self._save_if(is_due=is_due, epoch=epoch + 1, batch=None, logs=logs)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Finish what is pending and give the run directory back.

        Raises:
            MonitorNeverSeenError: If `save_best_only` saved nothing, because the monitor was never in the logs.
        """
        manager = self._running_manager
        self._has_ended = True
        self._fit.end(self.model)
        with contextlib.ExitStack() as stack:
            stack.callback(self._signals.pass_on)
            stack.callback(manager.call_on_failure, None)
            stack.push(manager)
            manager.wait_until_finished()
            self._restore_best()
        if manager.latest is None and not self._seen_logs:
            warn_of_no_occasion(manager.directory, schedule=self._schedule, batches=self._fit.batches(self.model))
        elif manager.latest is None and self.save_best_only:
            require_monitor_seen(manager.directory, monitor=self.monitor, best=self.best, seen=self._seen_logs)

    def _end_early(self) -> None:
        """Leave everything in order where an error or an interrupt ends the training; that error is on its way."""
        if self._has_ended:
            return
        manager = self._running_manager
        self._fit.abandon()
        with contextlib.ExitStack() as stack:
            stack.callback(self._signals.pass_on)
            stack.callback(manager.call_on_failure, None)
            manager.close(raises=False)
            self._restore_best()

    def _restore_best(self) -> None:
        manager = self._running_manager
        if self._restore_best_weights:
            self._own_best.put_back(manager)

    def _save_if(self, *, is_due: bool, epoch: int, batch: int | None, logs: Mapping[str, Any] | None) -> None:
        """Save if it is due, or if a signal is held back, which is passed on after that."""
        signals = self._signals.names
        if not (is_due or signals):
            return
        metrics = scalars_of(logs)
        self._seen_logs.update(metrics)
        values = self._running_manager.take_values()
        candidate = Candidate(step=self._fit.step(values.batches), epoch=epoch, batch=batch, logs=metrics)
        if is_due and self._restore_best_weights:
            self._own_best.offer(candidate, values)
        if self._fit.waits_for_others:  # Some of them set the optimizer for the next epoch.
            values = dataclasses.replace(values, optimizers=None)

        def save() -> None:
            self._save(candidate, values, is_planned=is_due, is_last=bool(signals))
            if signals:
                self._stop_for(signals)

        self._fit.call_after_others(save)

    def _save(self, candidate: Candidate, values: ModelValues, *, is_planned: bool, is_last: bool) -> None:
        manager, metrics, epoch = self._running_manager, candidate.logs, candidate.epoch or 0
        before = self._planned_best if self.verbose > 0 else 0.0
        training, position = self._fit.take(
            self.model, step=candidate.step, epoch=epoch, batch=candidate.batch, is_planned=is_planned
        )
        is_saved = manager.save_taken(candidate, values, training=training, data_position=position, is_exempt=is_last)
        if is_saved and is_planned:
            self._fit.begin_anew(self.model, step=candidate.step)
        self._saved_at_seconds = time.monotonic()
        if self.verbose > 0:
            bests = (before, self._planned_best if self.save_best_only else before)
            path = manager._newest_path if is_saved else None
            print_save(epoch, monitor=self.monitor, score=metrics.get(self.monitor), bests=bests, path=path)

    def _stop_for(self, signals: str) -> None:
        """Pass signals on once all is on disk, and go on if they let the process live."""
        self.wait_until_finished()
        _logger.warning(
            "%s came: the newest checkpoint is %s, and the signal is passed on.", signals, self.last_model_path
        )
        self._signals.pass_on()
        self._signals.watch()


def _require_known_keywords(keywords: Mapping[str, Any]) -> None:
    for name in keywords:
        if name not in _LEGACY_KEYWORDS:
            parameters = [item for item in inspect.signature(ProbCheckpoint).parameters if item != "kwargs"]
            closest = difflib.get_close_matches(name, [*parameters, *_LEGACY_KEYWORDS], n=1)
            hint = f" Did you mean {closest[0]!r}?" if closest else ""
            raise TypeError(f"ProbCheckpoint has no argument {name!r}.{hint}")
