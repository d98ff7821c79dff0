from __future__ import annotations

import pathlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.training.callback_places import Baseline
from keras_probckpt.training.callback_state import callback_states, put_back_callback_states


class Helper:
    """An object of the user's that a callback holds."""

    def __init__(self) -> None:
        self.count = 0


class Keeper(tfk.callbacks.Callback):
    """A callback that keeps what many keep, and does not tell."""

    def __init__(self) -> None:
        super().__init__()
        self.patience = 3
        self.phase = "warmup"
        self.mean = None
        self.table = {"a": [1, 2]}
        self.validation = np.arange(6.0)
        self.helper = Helper()
        self.weight = tf.Variable(0.0)
        self.lock = threading.Lock()
        self.path = pathlib.Path("log.csv")

    def go_on(self) -> None:
        """Change all that a training changes."""
        self.phase, self.mean = "train", [np.ones(2, "float32"), np.float64(0.5)]
        self.table["a"].append(3)
        self.helper.count, self.later = 7, 5
        self.weight.assign(0.25)


class Stopper(tfk.callbacks.EarlyStopping):
    """Keeps more than its base does."""

    def __init__(self) -> None:
        super().__init__(monitor="loss", patience=3)
        self.mine = 0


def closure() -> tuple[Callable[[int], float], dict[str, Any]]:
    """Make a schedule that keeps what it knows in its closure."""
    state, calls = {"rate": 0.5}, 0

    def schedule(epoch: int) -> float:
        nonlocal calls
        calls += 1
        state["rate"] *= 0.5
        return state["rate"]

    return schedule, state


def model() -> tfk.Model:
    """Make what they watch."""
    return tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1)])


def moved(old: tfk.callbacks.Callback, new: tfk.callbacks.Callback, change: Callable[[], Any], **options: Any) -> Any:
    """Take what a callback knows after a change, and put it back into another."""
    baseline, unwritable = Baseline([old], model()), []
    change()
    states = callback_states([old], baseline=baseline, unwritable=unwritable)()
    _, ignored = put_back_callback_states([new], states, **options)
    return states, unwritable, ignored


def test_a_callback_that_tells_nothing_goes_on_with_what_it_kept() -> None:
    """Numbers, texts, arrays, containers, variables, objects of the user's, and what it only sets later."""
    old, new = Keeper(), Keeper()
    table, helper = new.table, new.helper

    states, unwritable, ignored = moved(old, new, old.go_on)

    assert sorted(states["Keeper"]) == ["helper.count", "later", "mean", "phase", "table", "weight"]
    assert (new.phase, new.table, new.helper.count, new.later) == ("train", {"a": [1, 2, 3]}, 7, 5)
    assert [np.asarray(item).tolist() for item in new.mean] == [[1.0, 1.0], 0.5]
    assert float(new.weight) == 0.25
    assert (new.table is table, new.helper is helper) == (True, True)
    assert (unwritable, ignored) == ([], [])


def test_what_is_as_it_was_is_not_saved() -> None:
    """Not a validation set, nor what a constructor was told."""
    old = Keeper()
    baseline = Baseline([old], model())

    assert callback_states([old], baseline=baseline)() == {}


def test_an_array_that_was_changed_in_place_is_saved() -> None:
    """It is the same object with other content."""
    old, new = Keeper(), Keeper()

    moved(old, new, lambda: old.validation.__setitem__(0, 9.0))

    assert new.validation.tolist() == [9.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_subclass_of_a_stock_callback_keeps_what_both_know() -> None:
    """The base's attributes as ever, and its own."""
    old, new = Stopper(), Stopper()

    def change() -> None:
        old.wait, old.best, old.mine = 2, 0.5, 4

    states, _, _ = moved(old, new, change)

    assert (new.wait, new.best, new.mine) == (2, 0.5, 4)
    assert states["Stopper"]["mine"] == 4


def test_a_closure_goes_on() -> None:
    """Of the schedule of a `LearningRateScheduler`; who else holds its dict sees it too."""
    (old, _), (new, state) = closure(), closure()

    moved(tfk.callbacks.LearningRateScheduler(old), tfk.callbacks.LearningRateScheduler(new), lambda: [old(0), old(1)])

    assert state == {"rate": 0.125}
    assert new(2) == 0.0625


@pytest.mark.parametrize(
    "stock",
    [
        tfk.callbacks.EarlyStopping,
        lambda: tfk.callbacks.CSVLogger("log.csv"),
        lambda: tfk.callbacks.TensorBoard("logs"),
        lambda: tfk.callbacks.LambdaCallback(on_epoch_end=lambda *_: None),
        tfk.callbacks.ReduceLROnPlateau,
        tfk.callbacks.History,
    ],
)
def test_of_stock_callbacks_nothing_more_is_taken_and_nothing_is_missed(stock: Any) -> None:
    """What tf_keras's own code assigns is known by name."""
    callback = stock()
    unwritable: list[str] = []

    before = callback_states([callback])()

    assert callback_states([callback], baseline=Baseline([callback], model()), unwritable=unwritable)() == before
    assert unwritable == []


def test_what_cannot_be_written_is_named() -> None:
    """A generator goes on in no other process, nor does a list of objects; a lock, a path or a model need not."""
    old = Keeper()
    old.noise, old.helpers = iter([1, 2]), [Helper()]

    _, unwritable, _ = moved(old, Keeper(), old.go_on)

    assert unwritable == ["Keeper.helpers (list)", "Keeper.noise (list_iterator)"]


@pytest.mark.parametrize(
    ("stock", "state"),
    [
        (lambda: tfk.callbacks.ModelCheckpoint("mine.h5"), {"filepath": "/etc/passwd", "monitor_op": 1}),
        (lambda: tfk.callbacks.CSVLogger("mine.csv"), {"filename": "/etc/passwd", "append": True, "sep": "x"}),
        (tfk.callbacks.EarlyStopping, {"wait": "text", "monitor_op": 3, "model": 1, "__class__": 2}),
        (Keeper, {"go_on": 1, "patience": "three", "path": "/etc/passwd", "model": 5, "on_epoch_end": 1, "lock": 1}),
    ],
)
def test_a_state_names_no_other_attribute_and_changes_no_function_or_path(stock: Any, state: dict[str, Any]) -> None:
    """Names and kinds come from our code and the live callback: the rest is left as it is, and named."""
    callback = stock()
    before = dict(vars(callback))
    name = type(callback).__qualname__

    _, ignored = put_back_callback_states([callback], {name: state})

    assert vars(callback).keys() == before.keys()
    assert all(vars(callback)[key] is value for key, value in before.items())
    assert ignored == [f"{name}.{key}" for key in state]


def test_of_a_strangers_state_no_texts_are_put_back() -> None:
    """They may be paths and addresses."""
    old, new = Keeper(), Keeper()

    _, _, ignored = moved(old, new, old.go_on, is_own=False)

    assert (new.phase, new.helper.count) == ("warmup", 7)
    assert ignored == ["Keeper.phase"]
