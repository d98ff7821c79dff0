"""What the callbacks of a training know, taken and put back.

A callback with `get_state` and `set_state` is asked for its state. Of tf_keras's own, the attributes that change while
training are known by name. What a callback knows besides is its own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as tfk

__all__ = ["callback_names", "callback_states", "drop_repeated_rows", "put_back_callback_states", "state_attributes"]

# Source: the attributes that these classes of tf_keras.callbacks assign outside of their constructors.
_ATTRIBUTES: tuple[tuple[type, tuple[str, ...]], ...] = (
    (tfk.callbacks.EarlyStopping, ("wait", "stopped_epoch", "best", "best_weights", "best_epoch")),
    (tfk.callbacks.ReduceLROnPlateau, ("best", "wait", "cooldown_counter")),
    (
        tfk.callbacks.ModelCheckpoint,
        ("best", "epochs_since_last_save", "_batches_seen_since_last_saving", "_last_batch_seen"),
    ),
    (tfk.callbacks.TensorBoard, ("_global_train_batch", "_previous_epoch_iterations")),
    (tfk.callbacks.History, ("history", "epoch")),
    (tfk.callbacks.CSVLogger, ("keys",)),
)


def state_attributes(callback: tfk.callbacks.Callback) -> tuple[str, ...]:
    """Return the names of the attributes in which a callback of tf_keras keeps what it knows."""
    return tuple(name for kind, names in _ATTRIBUTES if isinstance(callback, kind) for name in names)


def callback_names(callbacks: Sequence[tfk.callbacks.Callback]) -> Iterator[tuple[str, tfk.callbacks.Callback]]:
    """Name callbacks by class, and by number where there are several of one: `EarlyStopping`, `EarlyStopping-2`."""
    counts: dict[str, int] = {}
    for callback in callbacks:
        name = type(callback).__qualname__
        counts[name] = counts.get(name, 0) + 1
        yield (name if counts[name] == 1 else f"{name}-{counts[name]}"), callback


def callback_states(
    callbacks: Sequence[tfk.callbacks.Callback], *, copy: Callable[[Any, str], Any] = lambda state, _: state
) -> Callable[[], dict[str, Any]]:
    """Take what callbacks know, in time that does not depend on how long they have been gathering it.

    Args:
        callbacks: The callbacks.
        copy: Copies what a callback gives of its own, with its name, for it may go on changing that.

    Returns:
        Gives what they knew, by name, whenever it is called.

    Raises:
        Exception: Whatever a callback's `get_state` raises.
    """
    own: dict[str, Any] = {}
    kept: dict[str, Callable[[], Any]] = {}
    for name, callback in callback_names(callbacks):
        if _has_own_state(callback):
            state = copy(callback.get_state(), name)
            if state is not None:
                own[name] = state
        elif attributes := [key for key in state_attributes(callback) if hasattr(callback, key)]:
            kept[name] = _kept({key: getattr(callback, key) for key in attributes})
    return lambda: {**own, **{name: give() for name, give in kept.items()}}


def _kept(value: Any) -> Callable[[], Any]:
    """Refer to what a callback of tf_keras's knows: it replaces what it keeps, but for lists that it appends to."""
    if isinstance(value, Mapping):
        items = {key: _kept(item) for key, item in value.items()}
        return lambda: {key: give() for key, give in items.items()}
    if isinstance(value, list):
        length = len(value)
        return lambda: value[:length]
    return lambda: value


def _has_own_state(callback: tfk.callbacks.Callback) -> bool:
    return callable(getattr(callback, "get_state", None)) and callable(getattr(callback, "set_state", None))


def put_back_callback_states(callbacks: Sequence[tfk.callbacks.Callback], states: Mapping[str, Any]) -> list[str]:
    """Put back what callbacks knew.

    Args:
        callbacks: Callbacks whose `on_train_begin` is over.
        states: What `callback_states` gives.

    Returns:
        Names of the callbacks that a state was taken of, and that are not there now.
    """
    present = dict(callback_names(callbacks))
    for name, state in states.items():
        callback = present.get(name)
        if callback is None:
            continue
        if _has_own_state(callback):
            callback.set_state(state)
            continue
        for attribute, value in state.items():
            setattr(callback, attribute, value)
    return [name for name in states if name not in present]


def drop_repeated_rows(callbacks: Sequence[tfk.callbacks.Callback], *, first_epoch: int) -> None:
    """Take from the files of `CSVLogger(append=True)` the rows of epochs that are going to be run again.

    Args:
        callbacks: Callbacks whose `on_train_begin` is over.
        first_epoch: Index of the epoch that training goes on with.
    """
    for callback in callbacks:
        if isinstance(callback, tfk.callbacks.CSVLogger) and callback.append:
            with tf.io.gfile.GFile(callback.filename, "r") as file:
                text = file.read()
            kept = _rows_before(text, first_epoch, separator=callback.sep)
            if kept != text:
                callback.csv_file.close()
                with tf.io.gfile.GFile(f"{callback.filename}.partial", "w") as file:
                    file.write(kept)
                tf.io.gfile.rename(f"{callback.filename}.partial", callback.filename, overwrite=True)
                callback.csv_file = tf.io.gfile.GFile(callback.filename, "a")


def _rows_before(text: str, first_epoch: int, *, separator: str) -> str:
    lines = text.splitlines(keepends=True)
    rows = [next(csv.reader(io.StringIO(line), delimiter=separator), []) for line in lines]
    is_kept = [not (row and row[0].isdigit() and int(row[0]) >= first_epoch) for row in rows]
    return "".join(line for line, kept in zip(lines, is_kept, strict=True) if kept)
