"""Where a training is in its data, and the way back there.

An iterator of `tf.data` can write down its own position, shuffle buffers included. It leaves out what random operations
inside of the pipeline have drawn, `tf.random.shuffle` of `fit`'s arrays among them: which elements are still to come in
this pass is kept all the same, but not the order of later passes. Where that matters, or where an iterator cannot be
written down, the data are read again up to the same place.

Source: `tf.train.Checkpoint(iterator=...)`, https://www.tensorflow.org/guide/data#iterator_checkpointing
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import gen_dataset_ops
from tf_keras.src.engine import data_adapter

from keras_probckpt.training.fit_call import FitCall
from keras_probckpt.training.randomness import put_back_python_state, python_state, seed_order

__all__ = [
    "OrderOfSequence",
    "Position",
    "begin_again",
    "is_of_arrays",
    "is_sequence",
    "most_batches_used",
    "put_back_iterator",
    "put_back_length",
    "put_back_position",
    "read_earlier_epochs",
    "skip_batches",
    "state_of_iterator",
]

_logger = logging.getLogger("keras_probckpt")

Position = Mapping[str, Any]

# tf.data.experimental.ExternalStatePolicy, as the operation takes it.
_IGNORE, _FAIL = 1, 2
_CHUNK_BATCHES = 1000
_PROGRESS_SECONDS = 10.0


def state_of_iterator(iterator: Any, *, is_exact: bool) -> bytes | None:
    """Write down the position of a `tf.data` iterator.

    Args:
        iterator: The iterator.
        is_exact: Only where everything that decides what comes next is part of the position.

    Returns:
        Its position; None where it has none that can be written.
    """
    resource = getattr(iterator, "_iterator_resource", None)
    if resource is None:
        return None
    try:
        state = gen_dataset_ops.serialize_iterator(resource, _FAIL if is_exact else _IGNORE)
        return bytes(tf.io.serialize_tensor(state).numpy())
    except tf.errors.OpError:  # A generator, or another source or state of which TensorFlow knows nothing.
        return None


def put_back_iterator(iterator: Any, state: bytes) -> bool:
    """Put a `tf.data` iterator where another of the same pipeline was.

    Args:
        iterator: The iterator.
        state: What `state_of_iterator` returned, and nobody changed: by some other bytes, TensorFlow has the process
            end at once.

    Returns:
        Whether it is there; if not, the pipeline is another one, and the iterator is at its own beginning.
    """
    try:
        variant = tf.io.parse_tensor(state, tf.variant)
        gen_dataset_ops.deserialize_iterator(iterator._iterator_resource, variant)
    except (tf.errors.OpError, AttributeError):
        return False
    return True


def is_sequence(data_handler: Any) -> bool:
    """Whether the data are a `Sequence`, which the end of each epoch may put in another order."""
    return hasattr(data_handler._adapter, "_keras_sequence")


def is_of_arrays(data_handler: Any) -> bool:
    """Whether the data are arrays, which tf_keras puts in order."""
    return isinstance(data_handler._adapter, data_adapter.TensorLikeDataAdapter)


class OrderOfSequence:
    """Lets the thread of `fit` alone put a `Sequence` in another order, once after each epoch, until `give_back`.

    With several workers, tf_keras has a thread of theirs do the same before, for a pass that nobody reads, at a moment
    that nobody knows.

    Source: `tf_keras.utils.OrderedEnqueuer`, which `fit` begins anew with each epoch.

    Args:
        data_handler: tf_keras's `DataHandler` of a `Sequence`.
    """

    def __init__(self, data_handler: Any) -> None:
        self._sequence = data_handler._adapter._keras_sequence
        self._thread = threading.get_ident()
        with contextlib.suppress(AttributeError):  # One with slots stays as it is.
            self._sequence.on_epoch_end = self

    def __call__(self) -> None:
        """Stand in for the method of the `Sequence`."""
        if threading.get_ident() == self._thread:
            type(self._sequence).on_epoch_end(self._sequence)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self._sequence, "on_epoch_end")  # Workers in processes of their own get the method.

    def give_back(self) -> None:
        """Leave the `Sequence` as it was."""
        with contextlib.suppress(AttributeError):
            del self._sequence.on_epoch_end


def put_back_length(data_handler: Any, position: Position) -> None:
    """Have tf_keras know the length of an epoch where it had to come to the end of one to learn it.

    To come there again would count an update that is none: Adam counts before it finds no more data.

    Args:
        data_handler: tf_keras's `DataHandler`.
        position: With `steps`, the number of batches of an epoch where that was known.
    """
    if data_handler._inferred_steps is None:
        data_handler._inferred_steps = position["steps"]


def begin_again(iterator: Any) -> None:
    """Put a `tf.data` iterator at the begin of its data."""
    gen_dataset_ops.make_iterator(iterator._dataset._variant_tensor, iterator._iterator_resource)


def read_earlier_epochs(data_handler: Any, position: Position) -> None:
    """Bring data that begin anew with each epoch to where they were after the epochs that are over.

    Args:
        data_handler: tf_keras's `DataHandler`, before its first iterator is made.
        position: With `epochs`, the number of epochs that are over; whether order matters, `is_exact`; and
            `order_seeds`, the seed that the generators had as a `Sequence` put each later epoch in order.
    """
    adapter = data_handler._adapter
    if not adapter.should_recreate_iterator():
        return
    for number, seed in enumerate(position["order_seeds"]):
        if seed is not None:
            seed_order(seed)
        if not is_sequence(data_handler):  # A Sequence is asked by index: nothing has to be read to go on.
            iterator = iter(data_handler._dataset)
            if position["is_exact"]:
                _read(iterator, None, what=f"epoch {number + 1} of {position['epochs']}")
        adapter.on_epoch_end()


def put_back_position(iterator: Any, position: Position, state: bytes | None) -> tuple[str, bool]:
    """Bring an iterator to where another was.

    Args:
        iterator: The iterator of the epoch that training goes on with, not used yet.
        position: With `batches`, the number of batches used of it, and `python`, the state of Python's generator when
            it was made, which orders a `Sequence`; None where nothing of the user's orders the data.
        state: What `state_of_iterator` returned.

    Returns:
        How, in words for a log; and whether it is there. If not, it is at the begin of its data.
    """
    if state is not None and put_back_iterator(iterator, state):
        return "the data iterator was put back", True
    batches = position["batches"]
    if batches == 0:
        return "the data begin with an epoch", True
    kept = python_state()
    if position["python"] is not None:
        put_back_python_state(position["python"])
    try:
        _read(iterator, batches, what="batches used before")
    except tf.errors.OutOfRangeError:
        begin_again(iterator)
        return f"they hold fewer than the {batches} batches that were used, and the epoch is begun again", False
    finally:
        put_back_python_state(kept)
    return f"the {batches} batches used before were read again", True


def most_batches_used(fit: FitCall, batches: int, *, epoch: int, batch: int) -> int:
    """Tell how many batches may be used of the data of a `fit`, so that those of its own epochs are left.

    tf_keras repeats arrays for the epochs from `initial_epoch` on: one that begins later than that in which they were
    used before has fewer.

    Args:
        fit: The call that trains.
        batches: The batches that were used before, since the first epoch.
        epoch: Index of the epoch to go on with.
        batch: Its batches that are done.
    """
    if not is_of_arrays(fit.data_handler) or fit.data_handler.inferred_steps is None:
        return batches
    return min(batches, (epoch - fit.initial_epoch) * int(fit.data_handler.inferred_steps) + batch)


def skip_batches(iterator: Any, batches: int) -> None:
    """Use batches of an iterator, or all there are if these are fewer."""
    with contextlib.suppress(tf.errors.OutOfRangeError):
        _read(iterator, batches, what="batches used before")


def _read(iterator: Any, batches: int | None, *, what: str) -> None:
    """Read batches, or all there are, and say how far it is where that takes long."""

    @tf.function(autograph=False, reduce_retracing=True)  # type: ignore[untyped-decorator] # TensorFlow is untyped
    def read_some(count: tf.Tensor) -> None:
        def read_one(done: tf.Tensor) -> tuple[tf.Tensor]:
            next(iterator)
            return (done + 1,)

        tf.while_loop(lambda done: done < count, read_one, (tf.constant(0),), parallel_iterations=1)

    done = 0
    last_said = time.monotonic()
    while batches is None or done < batches:
        count = _CHUNK_BATCHES if batches is None else min(_CHUNK_BATCHES, batches - done)
        try:
            read_some(tf.constant(count))
        except tf.errors.OutOfRangeError:
            if batches is None:
                return
            raise
        done += count
        if time.monotonic() - last_said > _PROGRESS_SECONDS:
            last_said = time.monotonic()
            _logger.warning("Reading the data up to where training was: %s, %d batches so far.", what, done)
