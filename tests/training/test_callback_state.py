from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.training.callback_state import (
    callback_names,
    callback_states,
    drop_repeated_rows,
    put_back_callback_states,
    state_attributes,
)


class Own(tfk.callbacks.Callback):
    """A callback with a state of its own."""

    def __init__(self, value: int = 0) -> None:
        super().__init__()
        self.value = value

    def get_state(self) -> dict[str, int]:
        """Give it."""
        return {"value": self.value}

    def set_state(self, state: dict[str, int]) -> None:
        """Take it."""
        self.value = state["value"]


def test_callbacks_of_one_class_are_told_by_their_number() -> None:
    """In the order they are called."""
    callbacks = [Own(1), tfk.callbacks.Callback(), Own(2)]

    assert [name for name, _ in callback_names(callbacks)] == ["Own", "Callback", "Own-2"]


def test_each_gets_its_own_state_back() -> None:
    """One that knows nothing has none."""
    states = callback_states([Own(1), tfk.callbacks.Callback(), Own(2)])()
    now = [Own(), Own(), tfk.callbacks.Callback()]

    absent, _ = put_back_callback_states(now, states)

    assert states == {"Own": {"value": 1}, "Own-2": {"value": 2}}
    assert [callback.value for callback in now[:2]] == [1, 2]
    assert absent == []


def test_a_state_without_its_callback_is_named() -> None:
    """The others get theirs."""
    states = callback_states([Own(1), Own(2)])()
    (now,) = callbacks = [Own()]

    assert put_back_callback_states(callbacks, states) == (["Own-2"], [])
    assert now.value == 1


KNOWN: list[tuple[Any, dict[str, Any]]] = [
    (tfk.callbacks.TensorBoard, {"_global_train_batch": 7, "_previous_epoch_iterations": 6}),
    (tfk.callbacks.ReduceLROnPlateau, {"best": 0.5, "wait": 2, "cooldown_counter": 1}),
    (tfk.callbacks.EarlyStopping, {"best": 0.5, "wait": 2, "best_epoch": 3, "best_weights": [1.0]}),
    (lambda: tfk.callbacks.ModelCheckpoint("x"), {"best": 0.5, "_last_batch_seen": 4}),
    (lambda: tfk.callbacks.CSVLogger("x"), {"keys": ["loss"]}),
    (tfk.callbacks.History, {"history": {"loss": [1.0]}, "epoch": [0]}),
]


@pytest.mark.parametrize(("new_callback", "known"), KNOWN)
def test_what_callbacks_of_tf_keras_know_is_taken_by_name(new_callback: Any, known: dict[str, Any]) -> None:
    """And a subclass of theirs knows the same."""
    callback, other = new_callback(), new_callback()
    for name, value in known.items():
        setattr(callback, name, value)

    put_back_callback_states([other], callback_states([callback])())

    assert known.keys() <= set(state_attributes(callback))
    assert {name: getattr(other, name) for name in known} == known


def test_a_state_is_what_it_was_when_it_was_taken() -> None:
    """A history that grows while the checkpoint is written does not grow in it."""
    history = tfk.callbacks.History()
    history.history, history.epoch = {"loss": [1.0]}, [0]
    states = callback_states([history])()

    history.history["loss"].append(2.0)

    assert states == {"History": {"history": {"loss": [1.0]}, "epoch": [0]}}


CSV = "epoch;loss\n0;1.5\n1;1.25\n2;1.0\nepoch;loss\n1;9.0\n"


@pytest.mark.parametrize(
    ("first_epoch", "kept"),
    [(3, CSV), (2, "epoch;loss\n0;1.5\n1;1.25\nepoch;loss\n1;9.0\n"), (1, "epoch;loss\n0;1.5\nepoch;loss\n")],
)
def test_rows_of_epochs_that_come_again_are_dropped(first_epoch: int, kept: str, tmp_path: pathlib.Path) -> None:
    """The rest of the file is left to the byte, and what follows is written behind it."""
    path = tmp_path / "log.csv"
    path.write_text(CSV)
    logger = tfk.callbacks.CSVLogger(str(path), separator=";", append=True)
    logger.on_train_begin()

    drop_repeated_rows([Own(), logger], first_epoch=first_epoch)
    logger.csv_file.write("4;0.5\n")
    logger.on_train_end()

    assert path.read_text() == kept + "4;0.5\n"


def test_a_file_that_is_not_appended_to_is_left_alone(tmp_path: pathlib.Path) -> None:
    """It is begun anew by its own callback."""
    path = tmp_path / "log.csv"
    logger = tfk.callbacks.CSVLogger(str(path))
    logger.on_train_begin()
    logger.csv_file.write("epoch\n0\n")

    drop_repeated_rows([logger], first_epoch=0)
    logger.on_train_end()

    assert path.read_text() == "epoch\n0\n"


class Users(tfk.callbacks.Callback):
    """A user's callback, without methods for its state."""

    def __init__(self) -> None:
        super().__init__()
        self.path, self.count, self.best = "/mine", 0, None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Count."""
        self.path, self.count, self.best = self.path, self.count + 1, 1.0


class WithState(tfk.callbacks.Callback):
    """A user's callback with methods for its state."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Any = {"count": 0, "path": "/mine"}

    def get_state(self) -> Any:
        """Give it."""
        return self.state

    def set_state(self, state: Any) -> None:
        """Take it."""
        self.state = {"count": state["count"] + 0, "path": state["path"]}


@pytest.mark.parametrize("path", ["/theirs", None, ["/theirs"], 3])
def test_a_stranger_changes_no_text_of_a_callback(path: Any) -> None:
    """Nor does he put nothing in its place; numbers are put back."""
    callback = Users()

    _, ignored = put_back_callback_states([callback], {"Users": {"path": path, "count": 7, "best": 0.5}}, is_own=False)

    assert (callback.path, callback.count, callback.best) == ("/mine", 7, 0.5)
    assert ignored == ["Users.path"]


@pytest.mark.parametrize("state", [{"count": 1, "path": "/theirs"}, {"count": 1}, [1], {"count": "1", "path": None}])
def test_a_strangers_state_is_not_given_to_a_callbacks_own_method(state: Any) -> None:
    """Unless it is one that the callback could have given, without any text."""
    callback = WithState()

    _, ignored = put_back_callback_states([callback], {"WithState": state}, is_own=False)

    assert callback.state == {"count": 0, "path": "/mine"}
    assert ignored == ["WithState"]


def test_a_strangers_numbers_are_given_to_a_callbacks_own_method() -> None:
    """So a counter goes on."""
    callback = WithState()
    callback.get_state = lambda: {"count": 0}  # type: ignore[method-assign]
    callback.set_state = lambda state: vars(callback).update(state=state)  # type: ignore[method-assign]

    put_back_callback_states([callback], {"WithState": {"count": 4}}, is_own=False)

    assert callback.state == {"count": 4}


def test_a_state_that_a_callback_cannot_take_is_an_error_of_ours() -> None:
    """It names the callback."""
    with pytest.raises(MalformedRecipeError, match="its set_state fails with KeyError") as caught:
        put_back_callback_states([WithState()], {"WithState": {"other": 1}})

    assert caught.value.where == "training['fit']['callbacks']['WithState']"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wait", "x"),
        ("wait", [1]),
        ("best", np.zeros(3)),
        ("best", None),
        ("best_weights", [1.0]),
        ("best_weights", [np.zeros((3, 3))]),
    ],
)
def test_what_a_stock_callback_cannot_go_on_with_is_not_put_back(name: str, value: Any) -> None:
    """It would fail in the middle of the training, or at its end."""
    callback = tfk.callbacks.EarlyStopping("loss", restore_best_weights=True)
    callback.set_model(tfk.Sequential([tfk.layers.Dense(1, input_shape=(2,))]))
    callback.on_train_begin()
    before = getattr(callback, name)

    _, ignored = put_back_callback_states([callback], {"EarlyStopping": {name: value}})

    assert getattr(callback, name) == before
    assert ignored == [f"EarlyStopping.{name}"]
