"""Which variables training reads or sets, as TensorFlow itself notes it.

A traced train step holds them in its graph. An eager one is watched: of each variable that a function uses, TensorFlow
tells the default graph, if that wants to know, and all other operations ask the variable for its handle.

2026-11-26: a module of its own; what looks for the untracked variables among them is `hidden`.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as tfk
from tensorflow.python.ops.resource_variable_ops import BaseResourceVariable

__all__ = ["used_variables", "watch_eager_step"]


def used_variables(model: tfk.Model) -> Sequence[tf.Variable]:
    """Return the variables that the train step of a model used so far; none before it was traced or watched."""
    step: Any = getattr(model, "train_tf_function", None)
    if hasattr(step, "_list_all_concrete_functions"):
        return _traced(step)
    watched = getattr(getattr(model, "train_function", None), "watched", {})
    return tuple(variable for reference in watched.values() if (variable := reference()) is not None)


def _traced(step: Any) -> Sequence[tf.Variable]:
    traces = step.experimental_get_tracing_count()
    known_traces, variables = _used_by.get(step, (0, ()))
    if known_traces != traces:
        functions = step._list_all_concrete_functions()
        variables = tuple(variable for function in functions for variable in function.graph.variables)
        _used_by[step] = traces, variables
    return variables


# To list what a function traced takes as long as to find all variables of a small model: done once for each trace.
_used_by: weakref.WeakKeyDictionary[Any, tuple[int, tuple[tf.Variable, ...]]] = weakref.WeakKeyDictionary()


def watch_eager_step(model: tfk.Model) -> None:
    """Note from now on what variables the train step of a running `fit` uses, if that step runs eagerly.

    Args:
        model: The model that `fit` has begun to train.
    """
    step: Callable[[Any], Any] = model.train_function
    if not model.run_eagerly or hasattr(step, "watched"):
        return
    watched: dict[int, weakref.ref[tf.Variable]] = {}

    def note(variable: tf.Variable) -> None:
        watched[id(variable)] = weakref.ref(variable)

    @functools.wraps(step)
    def watched_step(iterator: Any) -> Any:
        with _noting_accesses(note):
            return step(iterator)

    watched_step.watched = watched  # type: ignore[attr-defined] # goes with the step it is of
    model.train_function = watched_step


_one_step = threading.Lock()


@contextlib.contextmanager
def _noting_accesses(note: Callable[[tf.Variable], None]) -> Iterator[None]:
    """Call a function with each variable that this thread reads or sets; of steps at the same time, those of one.

    Source: `variable_accessed` of TensorFlow's `resource_variable_ops`, for functions that are called, and
    `ReadVariableOp` of its `pywrap_tfe_src.cc`: all that an operation asks a variable for is its handle.
    """
    if not _one_step.acquire(blocking=False):
        yield
        return
    graph, thread = tf.compat.v1.get_default_graph(), threading.get_ident()

    def handle_of(variable: Any) -> Any:
        if "_handle" not in vars(variable):
            raise AttributeError("_handle")
        if threading.get_ident() == thread:
            note(variable)
        return vars(variable)["_handle"]

    def set_handle(variable: Any, handle: Any) -> None:
        vars(variable)["_handle"] = handle

    graph.watch_variable = note
    BaseResourceVariable._handle = property(handle_of, set_handle)
    try:
        yield
    finally:
        del BaseResourceVariable._handle, graph.watch_variable
        _one_step.release()
