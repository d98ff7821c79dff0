from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tf_keras as tfk

from keras_probckpt.training.fit_call import (
    add_callback,
    answer_next_step,
    call_before_first_epoch,
    running_callbacks,
    running_fit,
)

X = np.zeros((4, 1), "float32")


class At(tfk.callbacks.Callback):
    """Calls a function at one of the moments of a fit, and keeps what it returned."""

    def __init__(self, moment: str, function: Callable[[tfk.Model], Any]) -> None:
        super().__init__()
        self.results: list[Any] = []
        setattr(self, moment, lambda *_: self.results.append(function(self.model)))


@pytest.fixture(scope="module")
def traced() -> tfk.Sequential:
    """Trace the training step once for all tests."""
    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def fit(model: tfk.Model, *callbacks: tfk.callbacks.Callback, **options: Any) -> tfk.callbacks.History:
    """Train in silence, two batches an epoch."""
    return model.fit(X, X, batch_size=2, verbose=0, callbacks=list(callbacks), **options)


@pytest.mark.parametrize("moment", ["on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_epoch_end"])
def test_a_callback_finds_the_fit_it_is_in(moment: str, traced: tfk.Sequential) -> None:
    """With its callbacks, `History` among them, and its data."""
    at = At(moment, running_fit)

    fit(traced, at, epochs=4, initial_epoch=3)

    found = at.results[0]
    assert (found.epochs, found.initial_epoch) == (4, 3)
    assert [type(callback).__name__ for callback in found.callbacks] == ["At", "History"]
    assert found.data_handler.inferred_steps == 2
    assert (found.iterator is None) is (moment == "on_train_begin")


def test_the_fit_of_another_model_is_not_taken_for_it(traced: tfk.Sequential) -> None:
    """Nor is there one outside of a fit."""
    other = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1)])
    at = At("on_epoch_end", lambda _model: running_fit(other))

    fit(traced, at)

    assert at.results == [None]
    assert running_fit(traced) is None
    assert running_callbacks() == ()
    assert not add_callback(traced, tfk.callbacks.Callback())


def test_the_fit_that_a_callback_runs_of_another_model_is_the_inner_one(traced: tfk.Sequential) -> None:
    """The outer one is found by its own model."""
    other = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1)])
    other.compile("sgd", "mse")
    inner = At("on_epoch_end", lambda model: (running_fit(model).epochs, running_fit(traced).epochs))

    fit(traced, At("on_epoch_end", lambda _model: fit(other, inner, epochs=3)), epochs=1)

    assert inner.results == [(3, 1)] * 3


def test_a_callback_that_is_added_is_called_last_and_once(traced: tfk.Sequential) -> None:
    """Adding it a second time changes nothing."""
    added = At("on_epoch_end", lambda _model: running_callbacks())
    begin = At("on_epoch_begin", lambda model: add_callback(model, added))

    fit(traced, begin, epochs=2)

    assert begin.results == [True, True]
    assert [[type(callback).__name__ for callback in names] for names in added.results] == [["At", "History", "At"]] * 2
    assert added.results[0][-1] is added
    assert added.model is traced


def test_the_moment_before_the_first_epoch_comes_after_every_on_train_begin(traced: tfk.Sequential) -> None:
    """And decides where the training begins; functions of two callbacks are both called."""
    order = []

    def begins(name: str, epoch: int) -> At:
        def moment(first: int) -> tuple[int, int]:
            order.append((name, first))
            return epoch, 1

        return At("on_train_begin", lambda model: call_before_first_epoch(model, moment))

    late = At("on_train_begin", lambda _model: order.append("on_train_begin"))
    batches = At("on_train_batch_end", lambda _model: None)

    history = fit(traced, begins("a", 2), begins("b", 2), late, batches, epochs=4, initial_epoch=1)

    assert order == ["on_train_begin", ("a", 1), ("b", 1)]
    assert history.epoch == [2, 3]
    assert len(batches.results) == 3
    assert traced._training_state is None


def test_a_moment_that_never_came_is_not_kept_for_the_next_fit(traced: tfk.Sequential) -> None:
    """A fit that failed before its first epoch leaves nothing to one that follows."""
    order: list[str] = []

    def note(name: str) -> Callable[[int], tuple[int, int]]:
        return lambda first: order.append(name) or (first, 0)  # type: ignore[func-returns-value]

    def fail(_model: tfk.Model) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(traced, At("on_train_begin", lambda m: call_before_first_epoch(m, note("a"))), At("on_train_begin", fail))

    fit(traced, At("on_train_begin", lambda model: call_before_first_epoch(model, note("b"))))

    assert order == ["b"]


def test_outside_of_a_fit_there_is_no_such_moment(traced: tfk.Sequential) -> None:
    """Nothing is left in the model for a later one."""
    call_before_first_epoch(traced, lambda first: (first, 0))

    assert getattr(traced, "_training_state", None) is None


def test_one_step_is_answered_and_not_trained(traced: tfk.Sequential) -> None:
    """The next is trained as ever."""
    logs: list[Any] = []
    watch = tfk.callbacks.LambdaCallback(on_train_batch_end=lambda _batch, values: logs.append(values["loss"]))

    def answer(model: tfk.Model) -> None:
        before.append(int(model.optimizer.iterations))
        answer_next_step(model, lambda: {"loss": 77.0})

    before: list[int] = []
    fit(traced, At("on_epoch_begin", answer), watch)

    assert logs[0] == 77.0
    assert logs[1] != 77.0
    assert int(traced.optimizer.iterations) == before[0] + 1
