"""`ProbCheckpoint`: decides during `model.fit` when the manager saves."""

from __future__ import annotations

import datetime as dt
import difflib
import inspect
import logging
import numbers
import os
import pathlib
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
import tf_keras as tfk
from tf_keras.src.utils import io_utils, tf_utils

from keras_probckpt.errors import MonitorNeverSeenError
from keras_probckpt.manager import CheckpointManager
from keras_probckpt.policy.naming import is_template, require_plain_parents
from keras_probckpt.policy.objective import is_known_direction, objective_for
from keras_probckpt.policy.schedule import Progress, after_batch, after_epoch, schedule_for
from keras_probckpt.policy.selection import selection_for
from keras_probckpt.recipe.document import require_tf_keras_model
from keras_probckpt.records import CheckpointInfo

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
        save_top_k: How many of the best to keep: -1 is all. None is 1, or all where `filepath` names each checkpoint.
        save_last: How many of the newest to keep besides. None is 1, or 0 with `save_best_only`.
        keep_every_n_epochs: Keep what was saved at the end of every n-th epoch.
        min_delta: Smallest change that counts as an improvement, in units of the monitor.
        start_from_epoch: Number of first epochs whose checkpoints never count as best.
        train_time_interval: A `datetime.timedelta`: besides, save at the first batch end so long after the last save.
        custom_metadata: Plain JSON values to write into each manifest.
        on_commit: Functions called with the `CheckpointInfo` of each checkpoint once it is durable.
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
        save_top_k: int | None = None,
        save_last: bool | int | None = None,
        keep_every_n_epochs: int | None = None,
        min_delta: float = 0.0,
        start_from_epoch: int = 0,
        train_time_interval: dt.timedelta | None = None,
        custom_metadata: Mapping[str, Any] | None = None,
        on_commit: Iterable[Callable[[CheckpointInfo], object]] = (),
        **kwargs: Any,
    ) -> None:
        _require_known_keywords(kwargs)
        require_plain_parents(pathlib.Path(filepath).parts)
        objective = objective_for(monitor, mode=mode, min_delta=min_delta, start_from_epoch=start_from_epoch)
        self._schedule = schedule_for(
            save_freq, period=kwargs.get("period", 1), train_time_interval=train_time_interval
        )
        self.best: float
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
            "custom_metadata": custom_metadata,
            "on_commit": tuple(on_commit),
        }
        selection_for(
            objective=objective,
            save_top_k=save_top_k,
            save_last=save_last,
            keep_every_n_epochs=keep_every_n_epochs,
            save_best_only=save_best_only,
            names_each_checkpoint=is_template(pathlib.Path(self.filepath).name),
        )
        self._manager: CheckpointManager | None = None
        self._progress = Progress()
        self._seen_logs: set[str] = set()
        self._first_step = 0
        self._saved_at_seconds = 0.0

    @property
    def best_model_path(self) -> str | None:
        """Directory of the best checkpoint; None before the first that has a finite score."""
        info = self._manager.best if self._manager else None
        return None if info is None else str(info.path)

    @property
    def best_model_score(self) -> float | None:
        """Value of the monitor of the best checkpoint; None before the first that has a finite one."""
        info = self._manager.best if self._manager else None
        return None if info is None else info.logs[self.monitor]

    @property
    def last_model_path(self) -> str | None:
        """Directory of the newest checkpoint; None before the first."""
        info = self._manager.latest if self._manager else None
        return None if info is None else str(info.path)

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
        manager.open()
        if self.load_weights_on_restart:
            manager.restore_newest()
        latest = manager.latest
        self._first_step = max(_updates_so_far(self.model), latest.step if latest else 0)
        self._saved_at_seconds = time.monotonic()

    def _implements_train_batch_hooks(self) -> bool:
        return self._schedule.save_freq != "epoch" or self._schedule.interval_seconds is not None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Save if a number of batches or an interval of time is up."""
        elapsed = time.monotonic() - self._saved_at_seconds
        self._progress, is_due = after_batch(self._schedule, self._progress, batch=batch, seconds_since_save=elapsed)
        if is_due:
            self._save(epoch=self._current_epoch + 1, batch=batch + 1, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Save if the end of an epoch is an occasion to."""
        self._progress, is_due = after_epoch(self._schedule, self._progress)
        if is_due:
            self._save(epoch=epoch + 1, batch=None, logs=logs)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's signature
        """Finish what is pending and give the run directory back.

        Raises:
            MonitorNeverSeenError: If `save_best_only` saved nothing, because the monitor was never in the logs.
        """
        manager = self._running_manager
        manager.close()
        if not self.save_best_only or manager.latest is not None or not self._seen_logs:
            return
        if self.monitor in self._seen_logs:
            warnings.warn(
                f"No checkpoint was saved in {manager.directory}: no value of {self.monitor} was finite, better than "
                f"{self.best} and past the epochs that start_from_epoch passes over.",
                stacklevel=2,
            )
            return
        closest = difflib.get_close_matches(self.monitor, self._seen_logs, n=1)
        raise MonitorNeverSeenError(
            path=str(manager.directory),
            monitor=self.monitor,
            seen=tuple(sorted(self._seen_logs)),
            closest=closest[0] if closest else None,
        )

    def _save(self, *, epoch: int, batch: int | None, logs: Mapping[str, Any] | None) -> None:
        metrics = _scalars(logs)
        self._seen_logs.update(metrics)
        step = self._first_step + int(self.model._train_counter)
        best_before = self.best
        is_saved = self._running_manager.save(step, metrics=metrics, epoch=epoch, batch=batch)
        self._saved_at_seconds = time.monotonic()
        score = self.best_model_score
        if score is not None and not self.monitor_op(best_before, score):
            self.best = score
        if self.verbose > 0:
            self._report(epoch, metrics.get(self.monitor), best_before, is_saved=is_saved)

    def _report(self, epoch: int, score: float | None, best_before: float, *, is_saved: bool) -> None:
        place = f"\nEpoch {epoch}: "
        saving = f"saving model to {self.last_model_path}"
        if self.save_best_only and self.best != best_before:
            change = f"{self.monitor} improved from {best_before:.5f} to {self.best:.5f}"
            io_utils.print_msg(f"{place}{change}, {saving}")
        elif is_saved:
            io_utils.print_msg(f"{place}{saving}")
        elif score is not None:
            io_utils.print_msg(f"{place}{self.monitor} did not improve from {best_before:.5f}")


def _require_known_keywords(keywords: Mapping[str, Any]) -> None:
    for name in keywords:
        if name not in _LEGACY_KEYWORDS:
            parameters = [item for item in inspect.signature(ProbCheckpoint).parameters if item != "kwargs"]
            closest = difflib.get_close_matches(name, [*parameters, *_LEGACY_KEYWORDS], n=1)
            hint = f" Did you mean {closest[0]!r}?" if closest else ""
            raise TypeError(f"ProbCheckpoint has no argument {name!r}.{hint}")


def _updates_so_far(model: tfk.Model) -> int:
    optimizer = getattr(model, "optimizer", None)
    return int(optimizer.iterations) if optimizer is not None else 0


def _scalars(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Bring logs from the device and leave out those that are not single numbers."""
    values = tf_utils.sync_to_numpy_or_python_type(dict(logs or {}))
    return {name: float(value) for name, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    is_scalar = isinstance(value, numbers.Real) or (isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0)
    return is_scalar and np.asarray(value).dtype.kind in "biuf"
