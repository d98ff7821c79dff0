"""The form of what is saved of a training: each value is checked before anything is put back.

A place in it that holds something else is an error of ours, and the training is not begun. What goes to native code,
such as the position of a generator of random numbers in its own words, is checked to the last number: numpy reads where
it says.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from keras_probckpt.errors import MalformedRecipeError

__all__ = ["check_numpy_state", "check_training"]

_FIRST_TOO_LARGE = 2**63
_FIRST_TOO_LARGE_SEED = 2**32
_WORDS = 624
# Whole numbers of the generator's own that say where in its words it stands.
_POSITIONS = {"pos": _WORDS, "buffer_pos": 4}
_PYTHON_VERSION = 3
_STATE_OF_ALGORITHM = {1: (3,), 2: (2,)}


def check_training(training: Mapping[str, Any]) -> None:
    """Check what was saved of a training.

    Args:
        training: It, decoded.

    Raises:
        MalformedRecipeError: If a part is missing or holds something else. Names the place and what is there.
    """
    root = _At(training, "training")
    for name in ("step", "batch", "epoch"):
        root.optional(name, _is_count, "a whole number")
    root.optional("state", _is_object, "an object")
    root.optional("is_exact", _is_bool, "true or false")
    root.optional("frozen", _is_list_of(lambda item: isinstance(item, str)), "a list of paths")
    root.optional("trace_counters", _is_object_of(_is_int64), "whole numbers by path")
    source = root.optional("source", _is_object, "an object")
    if source is not None:
        _At(source, "training['source']").optional("run", lambda value: isinstance(value, str), "the id of a run")
    random = root.optional("random", _is_object, "an object")
    if random is not None:
        root.required("trace_counters", _is_object, "an object")
        _check_random(_At(random, "training['random']"))
    fit = root.optional("fit", _is_object, "an object")
    if fit:
        _check_fit(_At(fit, "training['fit']"))


class _At:
    """One object of the state, and where it is."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self._where = where

    def required(self, name: str, is_valid: Callable[[Any], bool], what: str) -> Any:
        if name not in self._values:
            raise MalformedRecipeError(where=self._where, problem=f"it has no {name!r}")
        return self.optional(name, is_valid, what, is_null_valid=False)

    def optional(self, name: str, is_valid: Callable[[Any], bool], what: str, *, is_null_valid: bool = True) -> Any:
        value = self._values.get(name)
        if value is None and is_null_valid:
            return None
        if not is_valid(value):
            self.refuse(name, value, what)
        return value

    def refuse(self, name: str, value: Any, what: str) -> NoReturn:
        raise MalformedRecipeError(where=f"{self._where}[{name!r}]", problem=f"{what} is needed, not {value!r:.80}")


def _check_fit(fit: _At) -> None:
    number = fit.optional("number", lambda value: _is_count(value) and value > 0, "the number of a fit")
    models = fit.optional("models", _is_list_of(_is_count), "a list of whole numbers")
    histories = fit.optional("histories", _is_list_of(_is_object), "a list of objects")
    fit.optional("seed", _is_int64, "a seed")
    fit.optional("counter", _is_int64, "a whole number")
    fit.optional("metrics", _is_object_of(_is_numeric), "arrays by name")
    data = fit.optional("data", _is_object, "an object")
    if data is None:
        return
    fit.required("number", _is_count, "the number of a fit")
    fit.required("counter", _is_int64, "a whole number")
    fit.required("metrics", _is_object, "arrays by name")
    fit.required("callbacks", _is_object, "an object")
    settings = fit.required("settings", _is_object_of(_is_setting), "an object of numbers, texts and booleans")
    if not (_is_count(settings.get("samples", 1)) and settings.get("samples", 1) > 0):
        fit.refuse("settings", settings["samples"], "of 'samples' a whole number")
    if models and len(models) < number:
        fit.refuse("models", models, f"a number for each of {number} fits")
    if histories is None or len(histories) < number - 1:
        fit.refuse("histories", histories, f"an object for each of {number - 1} fits")
    _check_data(_At(data, "training['fit']['data']"))


def _check_data(data: _At) -> None:
    epochs = data.required("epochs", _is_count, "a whole number")
    data.required("batches", _is_count, "a whole number")
    data.required("is_ordered_by_seed", _is_bool, "true or false")
    data.required("is_exact", _is_bool, "true or false")
    data.optional("steps", _is_count, "a whole number")
    seeds = data.required("order_seeds", _is_list_of(lambda item: item is None or _is_seed(item)), "a list of seeds")
    if len(seeds) > epochs:
        data.refuse("order_seeds", seeds, f"at most one seed for each of {epochs} epochs")
    data.optional("python", _is_python_state, "the state of Python's generator")
    for name in ("steps", "python"):
        if name not in data._values:
            raise MalformedRecipeError(where=data._where, problem=f"it has no {name!r}")


def _check_random(random: _At) -> None:
    random.required("python", _is_python_state, "the state of Python's generator")
    random.optional("keras", _is_python_state, "the state of Python's generator")
    random.optional("seed", _is_int64, "a seed")
    random.required("numpy", lambda _: True, "")
    check_numpy_state(random._values["numpy"])
    random.optional("tensorflow", _is_tensorflow_state, "an algorithm and its state")
    for name in ("keras", "tensorflow"):
        if name not in random._values:
            raise MalformedRecipeError(where=random._where, problem=f"it has no {name!r}")


def check_numpy_state(state: Any) -> None:
    """Check the state of numpy's generator, of whose position numpy believes everything.

    Args:
        state: As `numpy.random.get_state` gives it.

    Raises:
        MalformedRecipeError: If it is none that numpy gives.
    """
    is_valid = _is_state_of_dict(state) if isinstance(state, dict) else _is_legacy_state(state)
    if not is_valid:
        where = "training['random']['numpy']"
        raise MalformedRecipeError(where=where, problem=f"it is no state of numpy's generator: {state!r:.80}")


def _is_legacy_state(state: Any) -> bool:
    if not isinstance(state, (tuple, list)) or len(state) != 5:  # noqa: PLR2004 - what numpy gives
        return False
    name, words, position, has_deviate, deviate = state
    are_words = isinstance(words, np.ndarray) and words.shape == (_WORDS,) and words.dtype == np.uint32
    is_placed = _is_count(position) and position <= _WORDS and _is_count(has_deviate) and has_deviate <= 1
    return isinstance(name, str) and name == "MT19937" and are_words and is_placed and type(deviate) is float


def _is_state_of_dict(state: Mapping[Any, Any]) -> bool:
    """Whether a state is one of another generator of numpy's: whole numbers, and arrays of its own length."""
    here: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - the generator that others draw from
    return _is_like(here, state)


def _is_like(here: Any, state: Any, name: str = "") -> bool:
    if isinstance(here, dict):
        is_object = isinstance(state, dict) and here.keys() == state.keys()
        return is_object and all(_is_like(item, state[key], key) for key, item in here.items())
    if isinstance(here, np.ndarray):
        return isinstance(state, np.ndarray) and state.shape == here.shape and state.dtype == here.dtype
    if isinstance(here, str):
        return isinstance(state, str) and state == here
    if isinstance(here, numbers.Integral):
        is_whole = isinstance(state, int) and not isinstance(state, bool) and state >= 0
        return is_whole and state <= _POSITIONS.get(name, 2**128)
    return isinstance(state, type(here))


def _is_python_state(state: Any) -> bool:
    if not isinstance(state, (tuple, list)) or len(state) != 3:  # noqa: PLR2004 - what Python gives
        return False
    version, words, deviate = state
    if not (_is_count(version) and version == _PYTHON_VERSION and (deviate is None or type(deviate) is float)):
        return False
    is_array = isinstance(words, np.ndarray) and words.shape == (_WORDS + 1,) and words.dtype == np.uint32
    return is_array and int(words[-1]) <= _WORDS


def _is_tensorflow_state(state: Any) -> bool:
    if not isinstance(state, (tuple, list)) or len(state) != 2 or not _is_count(state[0]):  # noqa: PLR2004
        return False
    algorithm, value = state
    is_numeric = isinstance(value, np.ndarray) and value.dtype in (np.int64, np.uint64)
    return is_numeric and value.shape == _STATE_OF_ALGORITHM.get(algorithm)


def _is_bool(value: Any) -> bool:
    return type(value) is bool


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _FIRST_TOO_LARGE


def _is_int64(value: Any) -> bool:
    return type(value) is int and -_FIRST_TOO_LARGE <= value < _FIRST_TOO_LARGE


def _is_seed(value: Any) -> bool:
    return type(value) is int and 0 <= value < _FIRST_TOO_LARGE_SEED


def _is_setting(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str)) and not (isinstance(value, int) and not _is_int64(int(value)))


def _is_numeric(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufcV"


def _is_list_of(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(is_valid, value))


def _is_object_of(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: _is_object(value) and all(map(is_valid, value.values()))
