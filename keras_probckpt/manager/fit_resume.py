"""A running `fit` put where a checkpoint left another, and what is said of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.manager.checkpoint_manager import CheckpointManager
from keras_probckpt.manager.resumption import ResumePoint, log_other_versions
from keras_probckpt.training.callback_state import drop_repeated_rows, put_back_callback_states
from keras_probckpt.training.data_position import (
    begin_again,
    is_of_arrays,
    most_batches_used,
    put_back_length,
    put_back_position,
    read_earlier_epochs,
    skip_batches,
)
from keras_probckpt.training.epoch_metrics import make_metrics, put_back_metrics
from keras_probckpt.training.fit_call import FitCall, answer_next_step, end_with_data, running_fit
from keras_probckpt.training.settings import changed_settings, layers_weighted_by, learning_rates

__all__ = ["FitResume"]

_logger = logging.getLogger("keras_probckpt")

# Settings without which a place in the data says nothing; said in a line of their own, or of no interest to a user.
_DATA_SETTINGS = frozenset({"batch_size", "samples"})
_UNSAID_SETTINGS = frozenset({"samples", "steps_per_epoch", "ProbCheckpoint.filepath"})


class FitResume:
    """Puts one fit where a checkpoint left it: most of it before the first epoch, data and metrics as that begins.

    Args:
        model: The model in training.
        manager: Puts back the model.
        point: The checkpoint.
        number: Which of the fits of its callback this one is, counted from 1.
        settings: What the user chose for this fit.
        seed: Seed of a reproducible training; None otherwise.
    """

    def __init__(  # noqa: PLR0913 - all that a fit is
        self,
        model: tfk.Model,
        manager: CheckpointManager,
        point: ResumePoint,
        *,
        number: int,
        settings: Mapping[str, Any],
        seed: int | None,
    ) -> None:
        self._model = model
        self._manager = manager
        self._point = point
        self._number = number
        self._settings = settings
        self._seed = seed
        self._saved: Mapping[str, Any] = point.training.get("fit") or {}
        self._epochs_begun = 0
        self._epoch = 0
        self._lacks_next_order = False
        self._is_same_data = False
        self._batch = 0
        self._answered_batch: int | None = None
        self._rates: Sequence[tuple[tf.Variable, Any]] = ()
        self._is_over = False

    def put_back(self, first: int) -> tuple[int, int]:
        """Put back what there is before the first epoch.

        Args:
            first: Index of the first epoch that the caller of `fit` gave.

        Returns:
            Index of the epoch to begin with, and how many of its batches are done.

        Raises:
            VariableMismatchError: If the model has other variables than were saved. Nothing was put back.
        """
        fit = running_fit(self._model)
        log_other_versions(self._point.info)
        if fit is None or "data" not in self._saved:
            self._manager.put_back(self._point)
            self._point.put_back_randomness(self._model, seed=self._seed)
            return max(first, self._point.info.epoch or 0), 0
        if self._saved["number"] > self._number:
            return self._pass_over(fit)
        self._put_back_state(fit)
        return self._place(fit, first)

    def _pass_over(self, fit: FitCall) -> tuple[int, int]:
        """Let a fit that was over before the checkpoint was saved end at once."""
        self._is_over = True
        models = self._saved.get("models")  # Releases before it was recorded wrote none.
        if models and models[self._number - 1] != models[self._saved["number"] - 1]:
            _logger.warning(
                "Fit %d of this callback was over before, and fit %d is to go on with another model: of this one no "
                "weights are there, and it stays as it is.",
                *(self._number, self._saved["number"]),
            )
            return fit.epochs, 0
        # Its optimizer may be another than that of the fit in which the checkpoint was saved.
        self._manager.put_back(self._point, is_weights_only=True)
        histories = [callback for callback in fit.callbacks if isinstance(callback, tfk.callbacks.History)]
        put_back_callback_states(histories, {"History": self._saved["histories"][self._number - 1]})
        _logger.warning(
            "Fit %d of this callback was over before; fit %d is to go on.", self._number, self._saved["number"]
        )
        return fit.epochs, 0

    def _put_back_state(self, fit: FitCall) -> None:
        changed = changed_settings(self._saved["settings"], self._settings)
        rates = learning_rates(self._model, changed)
        is_other_optimizer = any(name.startswith("optimizer") for name in changed)
        self._manager.put_back(self._point, skip_optimizer_mismatch=is_other_optimizer)
        for variable, rate in rates:
            variable.assign(rate)
        self._is_same_data = not changed.keys() & _DATA_SETTINGS and self._is_within(fit)
        self._say_what_changed(changed)
        absent, ignored = self._put_back_callbacks(fit)
        if absent:
            _logger.warning("Of callbacks that are not in this fit, a state was saved: %s.", ", ".join(absent))
        if ignored:
            _logger.warning("Not put back, for it does not fit the callbacks of now: %s.", ", ".join(ignored))
        self._rates = learning_rates(self._model)
        self._model._train_counter.assign(self._saved["counter"])
        self._point.put_back_randomness(self._model, seed=self._seed)

    def _is_within(self, fit: FitCall) -> bool:
        """Whether the place in the data is one that this fit has: a stranger may name any, and it is read up to."""
        data, steps = self._saved["data"], fit.data_handler.inferred_steps
        if self._point.info.signature == "own":
            return True
        is_within = steps is not None and data["epochs"] <= fit.epochs and data["batches"] <= fit.epochs * steps
        if not is_within:
            _logger.warning(
                "%s is not signed with a key of yours: its place in the data is not used.", self._point.info.path
            )
        return bool(is_within)

    def _place(self, fit: FitCall, first: int) -> tuple[int, int]:
        info = self._point.info
        done = (info.epoch or 0) - (0 if info.batch is None else 1)
        if done < first:
            self._is_same_data = False
            return first, 0
        if self._point.info.signature == "own":  # What others did is not in the reader's files.
            drop_repeated_rows(fit.callbacks, first_epoch=done)
        if done >= fit.epochs:
            _logger.warning("Training was complete: %d of %d epochs were done (%s).", done, fit.epochs, info.path)
            return done, 0
        self._epoch = done
        if self._is_same_data:
            self._batch = info.batch or 0
            put_back_length(fit.data_handler, self._saved["data"])
            read_earlier_epochs(fit.data_handler, self._saved["data"])
        elif info.batch:
            _logger.warning("The data are not those that were trained on: epoch %d is begun again.", done + 1)
        _logger.warning(
            "Resuming run %s after epoch %d, batch %d (step %d) from %s.",
            *(info.run, done, self._batch, info.step, info.path),
        )
        steps = fit.data_handler.inferred_steps
        if self._batch and steps is not None and self._batch >= steps:
            # Saved at the last batch: all that is left of the epoch is its end, to which fit comes by a step.
            self._answered_batch = steps - 1
            return done, steps - 1
        return done, self._batch

    @property
    def is_finished(self) -> bool:
        """Whether all that there is to put back was: a second epoch has begun."""
        return self._epochs_begun > 1

    def begin_epoch(self) -> bool:
        """At the begin of each epoch: the first gets its data and metrics back, arrays a new order for the second.

        Returns:
            Whether some of the epoch was over before.
        """
        fit = running_fit(self._model)
        self._epochs_begun += 1
        if fit is None or self._is_over or "data" not in self._saved:
            return False
        if self._epochs_begun == 1:
            self._begin_first_epoch(fit)
            return self._batch > 0
        if self._lacks_next_order:
            self._lacks_next_order = False
            begin_again(fit.iterator)
            if self._saved["data"]["is_ordered_by_seed"]:
                batches = int(self._model._train_counter)
                skip_batches(fit.iterator, most_batches_used(fit, batches, epoch=self._epoch + 1, batch=0))
        return False

    def _begin_first_epoch(self, fit: FitCall) -> None:
        # Making the variables of the metrics takes a trace more than an uninterrupted training has here.
        make_metrics(self._model, fit.iterator)
        self._point.put_back_randomness(self._model, seed=self._seed)
        if not self._is_same_data:
            return
        # Read now: the checkpoint may be gone by the next epoch.
        state = self._point.read_data_position()
        is_array = is_of_arrays(fit.data_handler)
        self._lacks_next_order = is_array and state is not None
        data = dict(self._saved["data"])
        data["batches"] = most_batches_used(fit, data["batches"], epoch=self._epoch, batch=self._batch)
        how, is_there = put_back_position(fit.iterator, data, state)
        if not is_there:
            self._batch, self._answered_batch, fit.data_handler._initial_step = 0, None, 0
        if self._batch and not put_back_metrics(self._model, self._saved["metrics"]):
            how += "; the logs of this epoch are those of its rest, for its metrics are others or not made yet"
        _logger.warning("In the data: %s.", how)
        if self._answered_batch is not None:
            answer_next_step(self._model, self._last_logs)
        elif self._batch and fit.data_handler.inferred_steps is None:
            end_with_data(self._model, lambda: self._answer(fit.data_handler))

    @property
    def python_at_epoch(self) -> Any:
        """State of Python's generator as the epoch began that some batches of were over before."""
        return self._saved["data"]["python"]

    def put_back_callbacks(self) -> None:
        """Within an epoch, put back once more what callbacks changed as it began: for them it had begun before."""
        fit = running_fit(self._model)
        for variable, rate in self._rates:
            variable.assign(rate)
        if fit is not None:
            self._put_back_callbacks(fit)

    def _put_back_callbacks(self, fit: FitCall) -> tuple[list[str], list[str]]:
        is_own = self._point.info.signature == "own"
        return put_back_callback_states(fit.callbacks, self._saved["callbacks"], is_own=is_own)

    def _answer(self, data_handler: Any) -> Any:
        self._answered_batch = data_handler._current_step + data_handler.step_increment
        return self._last_logs()

    def _last_logs(self) -> Any:
        """Give the logs of the last batch: what metrics gathered, or what a train step of the user's returned."""
        results, logs = self._model.get_metrics_result(), dict(self._point.info.logs)
        return logs if logs and logs.keys() != results.keys() else results

    def pass_over(self, batch: int) -> bool:
        """Pass over a batch that was not trained but only stands for the end of an epoch that was over.

        Returns:
            Whether it is that one. There is one at most.
        """
        is_passed, self._answered_batch = batch == self._answered_batch, None
        return is_passed

    def _say_what_changed(self, changed: Mapping[str, tuple[Any, Any]]) -> None:
        for name, (old, new) in changed.items():
            if name not in _UNSAID_SETTINGS:
                was, now = _shown(old), _shown(new)
                _logger.warning("%s was %s before and is %s now; the new value is taken.", name, was, now)
        if "samples" in changed:
            old, new = changed["samples"]
            layers = {
                *layers_weighted_by(self._model, samples=old),
                *layers_weighted_by(self._model, samples=new),
            }
            weighted = ", ".join(sorted(layers))
            question = f" The KL weight of {weighted} is one over a number of examples: is it right?" if layers else ""
            _logger.warning("There were %d training examples before and are %d now.%s", old, new, question)


def _shown(value: Any) -> str:
    # An optimizer keeps 0.1 as the float32 that is 0.10000000149011612.
    return repr(float(f"{value:.7g}") if isinstance(value, float) else value)
