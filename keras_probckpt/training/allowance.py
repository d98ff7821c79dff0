"""A bound on the variables that a stranger's recipe may ask for: a file of a kilobyte must not cost a gigabyte."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_probckpt.errors import MalformedRecipeError

__all__ = ["allowance_for", "variables_within"]

# The most that an optimizer of tf_keras keeps is four times the model's variables; metrics are not saved at all.
_FACTOR = 8
_UNSAVED_BYTES = 64 * 1024 * 1024


def allowance_for(model: Mapping[str, np.ndarray[Any, Any]]) -> int:
    """Give the bytes that all variables of a rebuilt model may take, by the values that were saved of its own.

    Args:
        model: What was read of them: a manifest's word for the size of a file is its author's.
    """
    return _FACTOR * sum(array.nbytes for array in model.values()) + _UNSAVED_BYTES


@contextlib.contextmanager
def variables_within(limit_bytes: int) -> Iterator[None]:
    """Refuse every variable that would take all of them together above a limit, before it is made.

    Args:
        limit_bytes: Bytes for all variables that are made in this context, by this thread.

    Raises:
        MalformedRecipeError: In place of whatever error came of a refusal, for Keras changes those it does not know.
    """
    refusals: list[MalformedRecipeError] = []
    used_bytes = 0

    def create(next_creator: Callable[..., Any], **arguments: Any) -> Any:
        nonlocal used_bytes
        used_bytes += _size_bytes(arguments)
        if used_bytes > limit_bytes:
            refusals.append(_refusal(arguments, used_bytes=used_bytes, limit_bytes=limit_bytes))
            raise refusals[0]
        return next_creator(**arguments)

    with tf.variable_creator_scope(create):
        try:
            yield
        except Exception:
            if refusals:
                raise refusals[0] from None
            raise


def _size_bytes(arguments: dict[str, Any]) -> int:
    initial = arguments.get("initial_value")
    shape = arguments.get("shape")
    if shape is None and not callable(initial):
        shape = getattr(initial, "shape", None)
    dimensions = tf.TensorShape(shape)
    if dimensions.rank is None:
        return 0
    dtype = tf.as_dtype(arguments.get("dtype") or getattr(initial, "dtype", tf.float32))
    return int(math.prod(length or 0 for length in dimensions.as_list()) * (dtype.size or 1))


def _refusal(arguments: dict[str, Any], *, used_bytes: int, limit_bytes: int) -> MalformedRecipeError:
    return MalformedRecipeError(
        where=f"the variable {arguments.get('name') or 'without a name'!s:.80}",
        problem=f"with it the model's variables would take {used_bytes} bytes, where those that were saved allow for "
        f"{limit_bytes}",
        advice="If you know who wrote it, pass trusted=True.",
    )
