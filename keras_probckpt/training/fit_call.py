"""What a running `fit` works with, and the moment before its first epoch.

tf_keras tells a callback neither which callbacks run beside it nor where the data come from, and resuming needs both.
They are read from the frame of `tf_keras.Model.fit` on the stack of the caller: never kept, never written to.

2026-11-24: a module of its own, so that what depends on names inside of tf_keras has one place and one test.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as tfk

__all__ = [
    "FitCall",
    "add_callback",
    "answer_next_step",
    "batch_hooks_of",
    "call_before_first_epoch",
    "call_if_interrupted",
    "end_with_data",
    "fit_watch",
    "running_callbacks",
    "running_fit",
    "watch_epoch",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitCall:
    """One call of `fit` that is under way.

    Attributes:
        callback_list: The callbacks of the call.
        data_handler: tf_keras's `DataHandler` of the training data.
        iterator: Iterator of the epoch under way; None before the first.
        epochs: Index of the epoch to stop before.
        initial_epoch: Index of the epoch the caller begins with.
    """

    callback_list: tfk.callbacks.CallbackList
    data_handler: Any
    iterator: Any
    epochs: int
    initial_epoch: int

    @property
    def callbacks(self) -> Sequence[tfk.callbacks.Callback]:
        """Every callback, `History` among them, in the order they are called."""
        return _callbacks_of(self.callback_list)


def running_fit(model: tfk.Model) -> FitCall | None:
    """Return the `fit` of a model that the caller was called from; None where there is none."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "fit":
            names = frame.f_locals
            if names.get("self") is model and "data_handler" in names:
                return FitCall(
                    callback_list=names["callbacks"],
                    data_handler=names["data_handler"],
                    iterator=names.get("iterator"),
                    epochs=int(names["epochs"]),
                    initial_epoch=int(names["initial_epoch"]),
                )
        frame = frame.f_back
    return None


def watch_epoch(model: tfk.Model) -> Callable[[], bool]:
    """Watch an epoch that begins, for data may end before it has a batch: it has logs all the same.

    Args:
        model: The model that `fit` trains.

    Returns:
        Tells, at the end of the epoch, whether a batch of it was done.
    """
    fit = running_fit(model)
    if fit is None:
        return lambda: True
    handler, counter = fit.data_handler, model._train_counter
    first, before = handler._initial_step, int(counter.numpy())
    # By the counter alone an epoch would be empty whose batches a train function of the user's does not count.
    return lambda: bool(handler._current_step != first) or int(counter.numpy()) != before


def fit_watch(model: tfk.Model) -> Callable[[], bool]:
    """Return what tells, called in the same thread, whether the `fit` of a model that runs now still does."""
    fit = running_fit(model)
    if fit is None:
        return lambda: False
    handler = weakref.ref(fit.data_handler)  # It has all the data, which nobody keeps for this.

    def is_running() -> bool:
        now = running_fit(model)
        return now is not None and now.data_handler is handler()

    return is_running


def add_callback(model: tfk.Model, callback: tfk.callbacks.Callback) -> bool:
    """Add a callback to a running `fit`, to be called after all others. Not for use while they are being called.

    Returns:
        Whether it is there now; there may be no `fit` to add it to.
    """
    fit = running_fit(model)
    if fit is None:
        return False
    if not any(other is callback for other in fit.callbacks):
        callback.set_model(model)
        fit.callback_list.callbacks.append(callback)
    return True


def running_callbacks() -> Sequence[tfk.callbacks.Callback]:
    """Return the callbacks that are called together with the one the caller is in; none outside of a list of them."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, tfk.callbacks.CallbackList):
            return _callbacks_of(owner)
        frame = frame.f_back
    return ()


def _callbacks_of(callbacks: Any) -> Sequence[tfk.callbacks.Callback]:
    return tuple(getattr(callbacks, "callbacks", ()))


def call_before_first_epoch(model: tfk.Model, function: Callable[[int], tuple[int, int]]) -> None:
    """Have a function called once every callback's `on_train_begin` is over, and before the first epoch.

    That is the first moment at which what is put back into a callback stays: many reset themselves in their own
    `on_train_begin`.

    Args:
        model: The model that `fit` has begun to train.
        function: Takes the index of the first epoch that the caller of `fit` gave; returns that of the epoch to begin
            with, and how many of its batches are done.

    Raises:
        ValueError: If another callback, such as `BackupAndRestore`, already waits for that moment.

    Source: `tf_keras.Model.fit`, which asks `model._training_state` there for `BackupAndRestore`.
    """
    fit = running_fit(model)
    if fit is None:
        return
    waiting = getattr(model, "_training_state", None)
    if isinstance(waiting, _Moment):
        # One that waits for another call is left of a fit that failed before its first epoch.
        functions = waiting.functions if waiting.data_handler is fit.data_handler else ()
        model._training_state = _Moment(model, fit.data_handler, (*functions, function))
        return
    if waiting is not None:
        raise ValueError(
            "ProbCheckpoint and another callback that resumes a training, such as BackupAndRestore, are in one fit. "
            "tf_keras has place for one of them. Nothing was trained. Leave the other out: "
            "ProbCheckpoint(resume=True) does what it does."
        )
    model._training_state = _Moment(model, fit.data_handler, (function,))


def batch_hooks_of(model: tfk.Model) -> Callable[[], None]:
    """Return what has the hooks of batches called from then on in the running `fit` of a model; in any thread.

    tf_keras leaves them out where no callback had need of them when `fit` began.
    """
    fit = running_fit(model)
    callbacks = None if fit is None else fit.callback_list

    def call_batch_hooks() -> None:
        if callbacks is not None and not callbacks._should_call_train_batch_hooks:
            # It would measure from the begin of a batch, where it was not called.
            callbacks._check_timing = False
            callbacks._should_call_train_batch_hooks = True

    return call_batch_hooks


def answer_next_step(model: tfk.Model, answer: Callable[[], Any]) -> None:
    """Have the next train step of a running `fit` return what a function returns, in place of training.

    Args:
        model: The model in training.
        answer: Returns logs.
    """
    function = model.train_function

    def answered(iterator: Any) -> Any:  # noqa: ARG001 - what fit calls it with
        model.train_function = function
        return answer()

    model.train_function = answered


def end_with_data(model: tfk.Model, answer: Callable[[], Any]) -> None:
    """Let the next train step of a running `fit` end the epoch where its data have no batch left.

    That is so where a training was stopped after the last batch of data whose number was not known. tf_keras takes an
    epoch without any step for an error.

    Args:
        model: The model in training.
        answer: Returns logs, for an epoch that is over.
    """
    function, fit = model.train_function, running_fit(model)

    def step_or_end(iterator: Any) -> Any:
        model.train_function = function
        try:
            return function(iterator)
        except (StopIteration, tf.errors.OutOfRangeError):
            if fit is not None:
                fit.data_handler._inferred_steps = fit.data_handler._current_step
            return answer()

    model.train_function = step_or_end


def call_if_interrupted(model: tfk.Model, function: Callable[[], None]) -> None:
    """Have a function called if an error or an interrupt ends a running `fit`, before it goes on; once.

    That is one in a train step, in a validation, or in the hook of a callback at the begin or end of an epoch or of the
    training.

    Args:
        model: The model that `fit` has begun to train.
        function: What to do.

    Source: `tf_keras.Model.fit`, which does all steps of an epoch in its data handler's `catch_stop_iteration`.
    """
    fit = running_fit(model)
    if fit is None:
        return
    catch, callbacks, evaluate = fit.data_handler.catch_stop_iteration, fit.callback_list, vars(model).get("evaluate")
    is_interrupted = False

    @contextlib.contextmanager
    def guarded() -> Iterator[None]:
        nonlocal is_interrupted
        try:
            yield
        except BaseException:
            end_validation()
            if not is_interrupted:
                is_interrupted = True
                function()
            raise

    @contextlib.contextmanager
    def guarded_steps() -> Iterator[None]:
        with guarded(), catch():
            yield
        vars(model)["evaluate"] = guarded()(model.evaluate)  # What may follow before the end of the epoch.

    def end_validation() -> None:
        vars(model).pop("evaluate", None)
        if evaluate is not None:
            vars(model)["evaluate"] = evaluate

    @guarded()
    def end_epoch(*args: Any, end: Callable[..., None] = callbacks.on_epoch_end) -> None:
        end_validation()
        end(*args)

    fit.data_handler.catch_stop_iteration = guarded_steps
    callbacks.on_epoch_begin = guarded()(callbacks.on_epoch_begin)
    callbacks.on_epoch_end = end_epoch
    callbacks.on_train_end = guarded()(callbacks.on_train_end)


class _Moment:
    """Stands in for Keras's training state until it is asked for once."""

    def __init__(
        self, model: tfk.Model, data_handler: Any, functions: Sequence[Callable[[int], tuple[int, int]]]
    ) -> None:
        self.data_handler = data_handler
        self.functions = functions
        self._model = model

    def maybe_load_initial_counters_from_ckpt(
        self,
        steps_per_epoch: int | None,  # noqa: ARG002 - Keras's signature
        initial_epoch: int,
        mode: Any,  # noqa: ARG002 - Keras's signature
    ) -> tuple[int, int]:
        self._model._training_state = None
        return max(function(initial_epoch) for function in self.functions)
