"""Where the random numbers of a training come from: taken, put back, and begun anew at a save point.

A compiled train step has its seeds from the moment it was traced; its place in their sequence cannot be read. So to go
on bit by bit, both the training that goes on and the one that is resumed begin a new sequence at the same step, from a
seed that depends on the step alone: that is `begin_anew`, and its price is one new trace. And a training that is
resumed without that wish begins a new sequence too, for otherwise it would draw the old noise a second time.

Source: https://www.tensorflow.org/api_docs/python/tf/random/set_seed
"""

from __future__ import annotations

import array
import ctypes
import functools
import hashlib
import random
import struct
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk
from tensorflow.python.eager import context
from tensorflow.python.ops import stateful_random_ops
from tf_keras.src import backend

from keras_probckpt.training.variables import find_layers, find_optimizers

__all__ = [
    "TraceCounters",
    "begin_anew",
    "draw_order_seed",
    "find_trace_counters",
    "global_seed",
    "leave_old_noise",
    "packed",
    "packed_random_state",
    "put_back_python_state",
    "put_back_random_state",
    "put_back_trace_counters",
    "python_state",
    "random_state",
    "renew_functions",
    "seed_order",
    "trace_counter_values",
]


TraceCounters = Mapping[str, tuple[Any, str]]

_MT19937_BYTES = 624 * 4 + 4
_known_numpy_state: tuple[Any, bytes, Any] | None = None


def global_seed() -> int | None:
    """Return the seed given to `tf.random.set_seed` or `tf_keras.utils.set_random_seed`; None if there was none."""
    seed = context.global_seed()
    return None if seed is None else int(seed)


def python_state() -> Any:
    """Take the state of Python's generator."""
    return random.getstate()


def put_back_python_state(state: Any) -> None:
    """Put Python's generator where another was."""
    random.setstate(_unpacked(state))


def draw_order_seed(state: Any) -> int:
    """Draw a seed for the order of the next epoch of data.

    Args:
        state: What `python_state` returned at the begin of this epoch. Threads that read a `Sequence` draw from
            Python's generator meanwhile, at moments of their own.
    """
    generator = random.Random()  # noqa: S311 - no secret
    generator.setstate(_unpacked(state))
    return generator.getrandbits(32)


def seed_order(seed: int) -> None:
    """Seed the generators that a `Sequence` is likely to put its examples in order with, Python's and numpy's."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the generator that others draw from


def packed(state: Any) -> Any:
    """Write the state of a generator of Python's with its words as an array."""
    version, words, gauss = state
    return version, np.frombuffer(array.array("I", words), np.uint32), gauss


def _unpacked(state: Any) -> Any:
    version, words, gauss = state
    return version, tuple(int(word) for word in words), gauss


def random_state() -> dict[str, Any]:
    """Take the state of the generators that a process has: Python's, numpy's, TensorFlow's and tf_keras's.

    Returns:
        Plain values and arrays. Generators that are parts of the model are among its variables.
    """
    generator = stateful_random_ops.global_generator
    keras_random = getattr(backend._SEED_GENERATOR, "generator", None)
    return {
        "seed": global_seed(),
        "python": python_state(),
        "numpy": _numpy_state(),
        "keras": None if keras_random is None else keras_random.getstate(),
        "tensorflow": None if generator is None else (int(generator.algorithm), generator.state.numpy()),
    }


def _numpy_state() -> Any:
    """Take the state of numpy's generator; at once where nobody has drawn from it since the last time.

    numpy copies the 624 words of a Mersenne Twister one by one, which takes a good part of the time of a save. They are
    compared here where they lie, and so is the normal deviate that is kept for the next draw.

    Source: `state_address` of numpy's bit generators, and its `mt19937.h`: the words, then the place among them.
    """
    global _known_numpy_state  # noqa: PLW0603 - of the process, as the generator is
    generator = np.random.get_bit_generator()  # type: ignore[attr-defined] # numpy's stubs lack it
    if not isinstance(generator, np.random.MT19937):
        return np.random.get_state(legacy=False)  # noqa: NPY002 - the generator that others draw from
    place_of_deviate = _place_of_deviate()
    if place_of_deviate is None:
        return np.random.get_state()  # noqa: NPY002 - the generator that others draw from
    owner: Any = np.random.get_state
    deviate = ctypes.string_at(id(owner.__self__) + place_of_deviate, ctypes.sizeof(ctypes.c_double))
    memory = ctypes.string_at(generator.ctypes.state_address, _MT19937_BYTES) + deviate
    known = _known_numpy_state
    if known is not None and known[0] is generator and known[1] == memory:
        return known[2]
    state: Any = np.random.get_state()  # noqa: NPY002 - the generator that others draw from
    _, words, place, _, kept = state
    is_as_described = memory == words.tobytes() + int(place).to_bytes(4, sys.byteorder) + struct.pack("d", kept)
    _known_numpy_state = (generator, memory, state) if is_as_described else None
    return state


@functools.cache
def _place_of_deviate() -> int | None:
    """Find where an object of numpy's legacy generator holds the deviate for the next draw, 0.0 where it has none.

    Returns:
        Bytes from the begin of the object; None where it is not found, as in another Python than CPython.
    """
    if sys.implementation.name != "cpython":
        return None
    mark = 0.6180339887498949
    probe: Any = np.random.RandomState(0)
    name, words, place, _, _ = probe.get_state()
    probe.set_state((name, words, place, 1, mark))
    place_of_deviate = ctypes.string_at(id(probe), type(probe).__basicsize__).find(struct.pack("d", mark))
    return None if place_of_deviate < 0 else place_of_deviate


def packed_random_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Write what `random_state` returned with arrays in place of long tuples: by whoever writes it."""
    keras = state["keras"]
    return {**state, "python": packed(state["python"]), "keras": None if keras is None else packed(keras)}


def put_back_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators of this process where others were; TensorFlow's seed is not among what is put back."""
    put_back_python_state(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002 - the generator that others draw from
    if state["keras"] is not None:
        backend._SEED_GENERATOR.generator = random.Random()  # noqa: S311 - what tf_keras keeps there
        backend._SEED_GENERATOR.generator.setstate(_unpacked(state["keras"]))
    if state["tensorflow"] is not None:
        algorithm, value = state["tensorflow"]
        tf.random.set_global_generator(tf.random.Generator.from_state(value, algorithm))


def trace_counter_values(counters: TraceCounters) -> dict[str, int]:
    """Take the values of counters, by path; one that does not count has none."""
    values = {path: getattr(owner, name) for path, (owner, name) in counters.items()}
    return {path: value for path, value in values.items() if isinstance(value, int)}


def put_back_trace_counters(model: tfk.Model, counters: Mapping[str, int]) -> None:
    """Put counters back where there are some; the next trace then takes the seeds that it would have taken."""
    for path, (owner, name) in find_trace_counters(model).items():
        if path in counters:
            setattr(owner, name, counters[path])


def find_trace_counters(model: tfk.Model) -> TraceCounters:
    """Find the numbers that layers and optimizers count in Python as they are traced, by path.

    A seeded `Dropout` takes another seed for each trace; `Nadam` counts its products.

    Returns:
        Of each the object and the attribute that hold it.
    """
    found: dict[str, tuple[Any, str]] = {}
    for path, layer in find_layers(model).items():
        generator = getattr(layer, "_random_generator", None)
        if generator is not None:
            found[f"{path}/_random_generator/_seed"] = generator, "_seed"
    for path, optimizer in find_optimizers(model).items():
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        if hasattr(inner, "_u_product_counter"):
            found[f"{path}/_u_product_counter"] = inner, "_u_product_counter"
    return found


def leave_old_noise(model: tfk.Model, *, seed: int | None, step: int) -> None:
    """Have TensorFlow draw other numbers than a training that began with the same seed drew before this step.

    Args:
        model: The model in training.
        seed: Seed that the process has; None where none was set, for then nothing is drawn twice.
        step: Completed optimizer updates.
    """
    if seed is not None:
        tf.random.set_seed(_derived(seed, step))
    renew_functions(model)


def begin_anew(model: tfk.Model, *, seed: int, step: int) -> None:
    """Begin new sequences of random numbers that depend on nothing but a seed and a step.

    Sets Python's, numpy's, tf_keras's and TensorFlow's seeds, and has the model's functions traced anew.

    Args:
        model: The model in training.
        seed: Seed of the whole training.
        step: Completed optimizer updates.
    """
    tfk.utils.set_random_seed(_derived(seed, step))
    renew_functions(model)


def _derived(seed: int, step: int) -> int:
    # TensorFlow takes seeds modulo 2**31 - 1.
    return int.from_bytes(hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=4).digest(), "little") % (2**31 - 1)


def renew_functions(model: tfk.Model) -> None:
    """Have a model's train and test functions traced anew at their next use, inside of a running `fit` too."""
    model.test_function = None
    if model.train_function is not None and not model.run_eagerly:
        model.make_train_function(force=True)
