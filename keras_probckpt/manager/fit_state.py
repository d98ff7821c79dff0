"""What a `fit` knows besides its model: its callbacks, its place in epoch and data, its random numbers."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tf_keras as tfk

from keras_probckpt.manager.checkpoint_manager import CheckpointManager
from keras_probckpt.manager.fit_resume import FitResume
from keras_probckpt.manager.resumption import ResumePoint
from keras_probckpt.recipe.data import copy_data
from keras_probckpt.training.callback_places import Baseline
from keras_probckpt.training.callback_state import callback_states
from keras_probckpt.training.data_position import OrderOfSequence, is_of_arrays, is_sequence, state_of_iterator
from keras_probckpt.training.epoch_metrics import metric_values
from keras_probckpt.training.fit_call import FitCall, add_callback, call_before_first_epoch, running_fit, watch_epoch
from keras_probckpt.training.randomness import (
    begin_anew,
    draw_order_seed,
    global_seed,
    packed,
    python_state,
    seed_order,
)
from keras_probckpt.training.settings import settings_of
from keras_probckpt.training.used import watch_eager_step

__all__ = ["FitState"]


class FitState:
    """Follows the fits of one callback; takes what they know, and has it put back.

    The fits are counted, so that a script with several of them finds, when it is run again, the one it was in.

    Args:
        is_resumable: Take all that an exact resume needs: where the data iterator is, and the state of the callbacks
            after each of them has had the hook. Otherwise a save is where `ModelCheckpoint`'s is, before those behind.
        is_reproducible: Begin new random numbers at each save point, as a resumed training does.
    """

    def __init__(self, *, is_resumable: bool, is_reproducible: bool) -> None:
        self._is_resumable = is_resumable
        self._is_reproducible = is_reproducible
        self._number = 0
        self._models: list[weakref.ref[tfk.Model]] = []
        self._histories: list[Mapping[str, Any]] = []
        self._settings: Mapping[str, Any] = {}
        self._seed: int | None = None
        self._are_arrays = False
        self._python_at_epoch: Any = None
        self._order_seeds: list[int | None] = []
        self._metrics_of_epoch: Mapping[str, Any] | None = None
        self._first_step = 0
        self._after_others = _AfterOthers()
        self._waits_for_others = False
        self._resume: FitResume | None = None
        self._baseline: Baseline | None = None
        self._has_warned = False
        self._has_batches: Callable[[], bool] = lambda: True
        self._order: OrderOfSequence | None = None

    def begin(self, model: tfk.Model, manager: CheckpointManager, point: ResumePoint | None) -> None:
        """Count a fit, before any of its epochs.

        Args:
            model: The model to be trained.
            manager: Has the run directory open.
            point: Where to go on from once all callbacks have begun; None begins at the beginning.

        Raises:
            ValueError: If it is to be reproducible, and no seed was set; or if another callback resumes it.
        """
        self._number += 1
        self._models[self._number - 1 :] = [weakref.ref(model)]
        self._resume = None
        self._order_seeds = []
        self._waits_for_others = False
        self._after_others.pending = None
        self._after_others.draw_order = lambda: self._draw_order(model)
        fit = running_fit(model)
        # tf_keras puts those in order, and asks TensorFlow's generator.
        self._are_arrays = fit is not None and is_of_arrays(fit.data_handler)
        self._settings = settings_of(model, fit) if fit is not None else {}
        if fit is not None:
            watch_eager_step(model)
        if self._is_reproducible and self._seed is None:
            self._seed = _required_seed()
        latest = manager.latest
        self._first_step = max(_updates_so_far(model), latest.step if latest else 0)
        call_before_first_epoch(model, lambda first: self._before_first_epoch(model, manager, point, first))

    def _before_first_epoch(
        self, model: tfk.Model, manager: CheckpointManager, point: ResumePoint | None, first: int
    ) -> tuple[int, int]:
        self._waits_for_others = self._is_resumable and add_callback(model, self._after_others)
        running = running_fit(model)
        self._baseline = None if running is None else Baseline(running.callbacks, model)
        begin = self._put_back(model, manager, point, first)
        fit = running_fit(model)
        if self._is_resumable and fit is not None and is_sequence(fit.data_handler):
            self._order = OrderOfSequence(fit.data_handler)
        return begin

    def _put_back(
        self, model: tfk.Model, manager: CheckpointManager, point: ResumePoint | None, first: int
    ) -> tuple[int, int]:
        if point is None:
            return first, 0
        saved = point.training.get("fit") or {}
        if saved.get("number", self._number) < self._number:  # A later fit of the process that saved it.
            return first, 0
        seed = saved.get("seed") or self._seed if self._is_reproducible else None
        self._resume = FitResume(model, manager, point, number=self._number, settings=self._settings, seed=seed)
        begin = self._resume.put_back(first)
        self._order_seeds = list((saved.get("data") or {}).get("order_seeds", ()))
        self._seed, self._histories = seed, list(saved.get("histories", ()))
        self._first_step = point.info.step - int(model._train_counter)
        return begin

    @property
    def has_batches(self) -> bool:
        """Whether a batch of the epoch was done."""
        return self._has_batches()

    def begin_epoch(self, model: tfk.Model) -> None:
        """At the begin of each epoch; after a resume, put data and metrics where they were.

        Args:
            model: The model in training.
        """
        self._metrics_of_epoch = None
        resume = self._resume
        is_within_epoch = resume is not None and resume.begin_epoch()
        self._has_batches = watch_epoch(model)
        if resume is not None and resume.is_finished:
            self._resume = None
        if resume is not None and is_within_epoch:
            self.call_after_others(resume.put_back_callbacks)
            self._python_at_epoch = resume.python_at_epoch
            return
        if self._order_seeds and self._order_seeds[-1] is not None:
            seed_order(self._order_seeds[-1])
        self._python_at_epoch = None if self._are_arrays else python_state()

    def pass_over(self, batch: int) -> bool:
        """Pass over a batch that was not trained but only stands for the end of an epoch that was over.

        The other callbacks have had its hooks before: what they know is put back once they have had them again.

        Args:
            batch: Index of the batch that has ended.

        Returns:
            Whether it is that one.
        """
        resume = self._resume
        if resume is None or not resume.pass_over(batch):
            return False
        self.call_after_others(resume.put_back_callbacks)
        return True

    def step(self, batches: int) -> int:
        """Count completed optimizer updates, those before this fit included.

        Args:
            batches: Batches of this fit. The optimizer's own count stays 0 in a model with a train_step that does not
                use it.
        """
        return self._first_step + batches

    def batches(self, model: tfk.Model) -> int:
        """Count the batches that a fit has trained."""
        return int(model._train_counter.numpy())

    @property
    def waits_for_others(self) -> bool:
        """Whether `call_after_others` has a function wait until all callbacks have had the same hook."""
        return self._waits_for_others

    def call_after_others(self, function: Callable[[], None]) -> None:
        """Call a function once all callbacks have had the same hook: now, where that cannot be known."""
        if self._waits_for_others:
            self._after_others.pending = function
        else:
            function()

    def end(self, model: tfk.Model) -> None:
        """Keep the history of a fit that is over."""
        self._let_go()
        history = getattr(model, "history", None)
        if history is not None:
            self._histories.append(callback_states([history])()["History"])

    def abandon(self) -> None:
        """Forget a fit that an error ended: begun again, it is the same one."""
        self._let_go()
        self._number -= 1
        self._metrics_of_epoch = None

    def _let_go(self) -> None:
        self._resume = self._after_others.pending = None
        if self._order is not None:
            self._order.give_back()
            self._order = None

    def keep_metrics(self, model: tfk.Model) -> None:
        """Keep what the metrics gathered in the training of an epoch, before its validation starts them anew."""
        self._metrics_of_epoch = metric_values(model)

    def take(
        self, model: tfk.Model, *, step: int, epoch: int, batch: int | None, is_planned: bool
    ) -> tuple[Callable[[], dict[str, Any]], bytes | None]:
        """Take what the running fit knows.

        Args:
            model: The model in training.
            step: What `step` returned.
            epoch: Number of the epoch, counted from 1.
            batch: Completed batches of it; None at its end.
            is_planned: Whether each training of the same settings is saved here.

        Returns:
            What gives it whenever it is called, as plain values and arrays; and the position of the data iterator.
        """
        counter, is_exact = step - self._first_step, self._is_reproducible and is_planned
        known = {
            "number": self._number,
            "models": self._model_numbers(),
            "histories": list(self._histories),
            "settings": self._settings,
            "counter": counter,
            "seed": self._seed,
        }
        fit = running_fit(model)
        if fit is None:
            return lambda: {"fit": {**known, "callbacks": {}}, "is_exact": is_exact}, None
        unwritable: list[str] = []
        states = callback_states(fit.callbacks, copy=_copy, baseline=self._baseline, unwritable=unwritable)
        self._warn_of_unwritable(unwritable)
        known["metrics"] = {} if batch is None else self._metrics_of_epoch or metric_values(model)
        data, position = self._position(fit, counter, epoch=epoch, batch=batch)
        return lambda: {"fit": {**known, "callbacks": states(), "data": data()}, "is_exact": is_exact}, position

    def _model_numbers(self) -> list[int]:
        """Tell for each fit, in order, which of the models of this process it trained: the first is 0."""
        return [self._models.index(model) for model in self._models]

    def _warn_of_unwritable(self, places: Sequence[str]) -> None:
        if places and self._is_resumable and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"A resumed training begins anew with what callbacks keep and is no data: {', '.join(places)}. "
                "Give the callback get_state and set_state, or let it keep numbers, texts, arrays and lists of them.",
                stacklevel=6,
            )

    def _position(
        self, fit: FitCall, counter: int, *, epoch: int, batch: int | None
    ) -> tuple[Callable[[], dict[str, Any]], bytes | None]:
        adapter = fit.data_handler._adapter
        is_recreated = adapter.should_recreate_iterator()
        is_array = self._are_arrays
        # The same seed would put the first epoch after a resume in the order of the first of all.
        is_ordered_by_seed = is_array and bool(adapter._shuffle) and global_seed() is not None
        is_new_order = is_array and batch is None and not self._is_reproducible
        batches = (batch or 0) if is_recreated else counter
        epochs = epoch - (0 if batch is None else 1) - fit.initial_epoch
        order_seeds, seeds = self._order_seeds, len(self._order_seeds)
        known = {
            "epochs": epochs,
            "batches": 0 if is_new_order and not is_ordered_by_seed else batches,
            "is_ordered_by_seed": is_ordered_by_seed,
            "steps": fit.data_handler.inferred_steps,
            "is_exact": self._is_reproducible,
        }
        python = self._python_at_epoch

        def give() -> dict[str, Any]:
            # The seeds are only ever appended to; an epoch before the first of them has none.
            return {
                **known,
                "order_seeds": [None] * (epochs - seeds) + order_seeds[:seeds],
                "python": None if python is None else packed(python),
            }

        is_new_pass = (is_recreated and batch is None) or is_new_order
        # What an iterator over arrays writes down ends with the epochs of its own fit, and lacks the order of later
        # ones: they are read again, or begun anew. What one that ends with its epoch writes down once a shuffle in it
        # has read all of its input has TensorFlow pass over the next order: it is read again where that matters.
        if not self._is_resumable or is_new_pass or (self._is_reproducible and (is_array or is_recreated)):
            return give, None
        return give, state_of_iterator(fit.iterator, is_exact=self._is_reproducible)

    def begin_anew(self, model: tfk.Model, *, step: int) -> None:
        """After a save of a reproducible training: begin the random numbers that a resumed one begins."""
        if self._is_reproducible and self._seed is not None:
            begin_anew(model, seed=self._seed, step=step)

    def _draw_order(self, model: tfk.Model) -> int | None:
        """Draw the seed of the order of the next epoch, where code of the user's makes that order."""
        fit = running_fit(model)
        if fit is None or not is_sequence(fit.data_handler):
            return None
        self._order_seeds.append(draw_order_seed(self._python_at_epoch))
        return self._order_seeds[-1]


class _AfterOthers(tfk.callbacks.Callback):  # type: ignore[misc] # tf_keras is untyped
    """Called last: a checkpoint holds what all other callbacks know once they have seen the same epoch or batch."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: Callable[[], None] | None = None
        self.draw_order: Callable[[], int | None] = lambda: None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's
        self._call()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's
        self._call()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's
        self._call()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's
        order_seed = self.draw_order()
        self._call()
        if order_seed is not None:
            seed_order(order_seed)

    def _call(self) -> None:
        pending, self.pending = self.pending, None
        if pending is not None:
            pending()


def _copy(state: Any, name: str) -> Any:
    return copy_data(state, where=f"the state of the callback {name}")


def _required_seed() -> int:
    seed = global_seed()
    if seed is None:
        raise ValueError(
            "reproducible=True needs a seed to begin with, and none is set. Nothing was trained. Call "
            "tf_keras.utils.set_random_seed(1), with a number of yours, before the model and the data are made."
        )
    return seed


def _updates_so_far(model: tfk.Model) -> int:
    optimizer = getattr(model, "optimizer", None)
    return int(optimizer.iterations) if optimizer is not None else 0
