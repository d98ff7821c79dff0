"""Code run beside a training that must not notice: whatever it draws, names, warns of or leaves behind is put back.

What no one can put back stays: files that were read, lines that were printed, what a user's own code keeps elsewhere.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import logging
import random
import secrets
import threading
import warnings
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import ops
from tensorflow.python.ops import stateful_random_ops
from tf_keras.src import backend

__all__ = ["undisturbed"]

_LOGGERS = ("absl", "tensorflow")


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the state that a training shares with all code of its process as it is.

    Inside, nothing is recorded for gradients, and Python, numpy, TensorFlow and tf_keras draw random numbers and give
    names to layers as ever; on leaving, the random states, the counters of names and TensorFlow's graphs are those from
    before, and what is not held any more is gone. Warnings, and what TensorFlow logs in this thread, are dropped: the
    training showed them when it did the same.

    A thread that draws from the global generators meanwhile will draw the same numbers again.
    """
    with contextlib.ExitStack() as stack:
        for kept in (_own_garbage, _own_random_state, _own_operation_seeds, _own_graphs, _own_names, _silence):
            stack.enter_context(kept())
        stack.enter_context(tf.init_scope())
        yield


@contextlib.contextmanager
def _own_garbage() -> Iterator[None]:
    """Collect what was made inside, models being full of cycles, without looking through all that was there before."""
    is_frozen_by_user = gc.get_freeze_count() > 0
    if not is_frozen_by_user:
        gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        if not is_frozen_by_user:
            gc.unfreeze()


@contextlib.contextmanager
def _own_random_state() -> Iterator[None]:
    python, of_numpy = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002 - the user's
    generator = stateful_random_ops.global_generator  # TensorFlow's accessor would make one.
    state = None if generator is None else generator.state.read_value()
    seeds = getattr(backend._SEED_GENERATOR, "generator", None)
    seeds_state = seeds and seeds.getstate()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)  # noqa: NPY002 - the user's
        stateful_random_ops.global_generator = generator
        if generator is not None:
            generator.state.assign(state)
        backend._SEED_GENERATOR.generator = seeds
        if seeds is not None:
            seeds.setstate(seeds_state)


@contextlib.contextmanager
def _own_operation_seeds() -> Iterator[None]:
    """Let operations draw from seeds that nobody else has, whatever is set inside.

    An eager operation's kernel is cached by its seeds and counts what it drew, so none of the training's may run here.
    Nor may they be cleared, as `tf.random.set_seed` and `clear_session` do: compiled steps would draw the numbers of
    their first steps again.
    """
    eager = context.context()
    kept = {name: vars(eager)[name] for name in ("_seed", "_rng") if name in vars(eager)}
    eager._seed, eager._rng = secrets.randbits(31), random.Random()  # noqa: S311 - no secret
    eager._set_global_seed = lambda _seed: None
    eager.clear_kernel_cache = lambda: None
    try:
        yield
    finally:
        del eager._set_global_seed, eager.clear_kernel_cache, eager._seed, eager._rng
        vars(eager).update(kept)


@contextlib.contextmanager
def _own_graphs() -> Iterator[None]:
    """Give TensorFlow and tf_keras new default graphs, which go with whatever was put into them."""
    default, of_keras = ops._default_graph_stack, backend._GRAPH
    kept, kept_of_keras = default._global_default_graph, getattr(of_keras, "graph", None)
    default._global_default_graph = of_keras.graph = None
    try:
        yield
    finally:
        default._global_default_graph, of_keras.graph = kept, kept_of_keras


@contextlib.contextmanager
def _own_names() -> Iterator[None]:
    counters, observed = backend.PER_GRAPH_OBJECT_NAME_UIDS, backend.OBSERVED_NAMES
    kept, kept_observed = {graph: copy.copy(counts) for graph, counts in counters.items()}, set(observed)
    try:
        yield
    finally:
        counters.clear()
        counters.update(kept)
        observed.clear()
        observed.update(kept_observed)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    # Not catch_warnings: on leaving, it makes Python forget which warnings it showed, and show them again.
    silence = ("ignore", None, Warning, None, 0)
    thread = threading.get_ident()

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    warnings.filters.insert(0, silence)  # type: ignore[attr-defined] # a list, whatever the stubs say
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(is_of_others)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(is_of_others)
        warnings.filters.remove(silence)  # type: ignore[attr-defined] # as above
