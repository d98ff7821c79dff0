"""What the callbacks of a training know, taken and put back.

A callback with `get_state` and `set_state` is asked for its state. Of tf_keras's own, the attributes that change while
training are known by name. Of all others, what they keep is found as `callback_places` says.
"""

from __future__ import annotations

import csv
import functools
import io
import numbers
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.training.callback_places import (
    Baseline,
    Place,
    assigned_names,
    find_places,
    put_value,
)

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
# Of what kind those are that are no numbers: `put_value` puts nothing else there.
_PLACEHOLDERS: Mapping[str, Any] = {
    **dict.fromkeys(
        ("wait", "stopped_epoch", "best_epoch", "cooldown_counter", "epochs_since_last_save", "_last_batch_seen"), 0
    ),
    **dict.fromkeys(("_batches_seen_since_last_saving", "_global_train_batch", "_previous_epoch_iterations"), 0),
    "best": 0.0,
    "epoch": (),
}


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
    callbacks: Sequence[tfk.callbacks.Callback],
    *,
    copy: Callable[[Any, str], Any] = lambda state, _: state,
    baseline: Baseline | None = None,
    unwritable: list[str] | None = None,
) -> Callable[[], dict[str, Any]]:
    """Take what callbacks know.

    Of tf_keras's own it takes a time that does not depend on how long they have been gathering it.

    Args:
        callbacks: The callbacks.
        copy: Copies what a callback gives or keeps of its own, with its name, for it may go on changing that; raises
            `UnrecordableError` for what is no data.
        baseline: What they kept as the training began; None takes only what Keras's own know and `get_state` gives.
        unwritable: Takes the names of what they keep and cannot be written.

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
            continue
        attributes = {key: getattr(callback, key) for key in state_attributes(callback) if hasattr(callback, key)}
        if attributes:
            kept[name] = _kept(attributes)
        if baseline is not None:
            own[name] = _own_values(name, callback, baseline, copy, [] if unwritable is None else unwritable)
    names = [name for name, _ in callback_names(callbacks)]

    def give() -> dict[str, Any]:
        found = {name: _merged(kept[name]() if name in kept else None, own.get(name)) for name in names}
        return {name: state for name, state in found.items() if state is not None}

    return give


def _merged(kept: dict[str, Any] | None, own: Any) -> Any:
    if kept is None:
        return own if own != {} or not isinstance(own, dict) else None
    return {**kept, **(own or {})}


def _own_values(
    name: str,
    callback: tfk.callbacks.Callback,
    baseline: Baseline,
    copy: Callable[[Any, str], Any],
    unwritable: list[str],
) -> dict[str, Any]:
    places, others = baseline.changed(callback)
    unwritable += [f"{name}.{path}" for path in others]
    found = {}
    for place in places:
        data = place.data
        try:
            found[place.path] = data if isinstance(place.value, tf.Variable) else copy(data, f"{name}.{place.path}")
        except UnrecordableError:
            unwritable.append(f"{name}.{place.path} ({type(place.value).__qualname__})")
    return found


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


def put_back_callback_states(
    callbacks: Sequence[tfk.callbacks.Callback], states: Mapping[str, Any], *, is_own: bool = True
) -> tuple[list[str], list[str]]:
    """Put back what callbacks knew.

    What is set, and what kind of value it may be, follows from our code and the live callbacks: a state can neither
    name another attribute nor change a function or a path.

    Args:
        callbacks: Callbacks whose `on_train_begin` is over.
        states: What `callback_states` gives.
        is_own: Whether the states were written by the reader. Of a stranger's, no texts are put back.

    Returns:
        Names of the callbacks that a state was taken of, and that are not there now; and what was not put back of
        others.
    """
    present, ignored = dict(callback_names(callbacks)), []
    for name, state in states.items():
        callback = present.get(name)
        if callback is None:
            continue
        if _has_own_state(callback):
            if is_own or _is_like(callback.get_state(), state):
                _set_state(callback, name, state)
            else:
                ignored.append(name)
        elif isinstance(state, Mapping):
            ignored += [f"{name}.{path}" for path in _put_back(callback, state, is_own=is_own)]
        else:
            ignored.append(name)
    return [name for name in states if name not in present], ignored


def _is_like(here: Any, state: Any) -> bool:
    """Whether a stranger's state is one that a callback could have given itself, without any text."""
    if isinstance(here, Mapping):
        is_mapping = isinstance(state, Mapping) and here.keys() == state.keys()
        return is_mapping and all(_is_like(item, state[key]) for key, item in here.items())
    return not _holds_text(state) and not isinstance(here, (str, bytes, os.PathLike)) and type(state) is type(here)


def _set_state(callback: Any, name: str, state: Any) -> None:
    try:
        callback.set_state(state)
    except Exception as error:
        problem = f"its set_state fails with {type(error).__name__}: {error}"
        raise MalformedRecipeError(where=f"training['fit']['callbacks'][{name!r}]", problem=problem) from error


def _put_back(callback: tfk.callbacks.Callback, state: Mapping[str, Any], *, is_own: bool) -> list[str]:
    of_keras, assigned = set(state_attributes(callback)), assigned_names(type(callback))
    places = {place.path: place for place in find_places(callback, known=frozenset())[0]}
    ignored = []
    for path, value in state.items():
        place = places.get(path)
        if path in of_keras or (place is None and path in assigned and path not in vars(callback)):
            # Keras replaces what it keeps; what a class only assigns later is not there yet.
            place = Place(path, _PLACEHOLDERS.get(path), functools.partial(setattr, callback, path))
        is_possible = _fits(callback, path, value) if path in of_keras else is_own or _is_harmless(place, value)
        if place is None or not is_possible or not put_value(place, value):
            ignored.append(str(path))
    return ignored


def _fits(callback: tfk.callbacks.Callback, name: str, value: Any) -> bool:
    """Whether a callback of tf_keras's own can go on with a value of one of its attributes."""
    if name == "best_weights":
        is_list = isinstance(value, list) and all(isinstance(item, np.ndarray) for item in value)
        return value is None or callback.model is None or (is_list and _are_weights(value, callback.model))
    if name == "history":
        return isinstance(value, dict) and all(isinstance(item, list) for item in value.values())
    if name == "epoch":
        return isinstance(value, (list, tuple)) and all(type(item) is int for item in value)
    if name == "keys":
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return value is None or is_list
    return value is not None


def _are_weights(values: Sequence[np.ndarray[Any, Any]], model: tfk.Model) -> bool:
    return [item.shape for item in values] == [tuple(item.shape) for item in model.weights]


def _is_harmless(place: Place | None, value: Any) -> bool:
    """Whether a stranger's value may be put where a class of the user's keeps what it knows.

    Text may be a path, and nothing in the place of a text leads elsewhere too.
    """
    if place is None or _holds_text(value):
        return False
    return value is not None or isinstance(place.value, (numbers.Number, type(None)))


def _holds_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_text, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(_holds_text, value))
    return isinstance(value, (str, bytes)) or (isinstance(value, np.ndarray) and value.dtype.kind in "US")


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
