"""The settings of a process by which a model computes other bits, or fails: taken in one and made in another.

A new process computes on the CPU, whatever the first one trains on: the memory of an accelerator is the first one's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import config

__all__ = ["make_settings", "process_settings", "seeded_if_needed"]

_SEED = 20_261_123


def process_settings() -> dict[str, Any]:
    """Take the settings of this process, as plain JSON values."""
    return {
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "is_deterministic": config.is_op_determinism_enabled(),
        "optimizer_options": tf.config.optimizer.get_experimental_options(),
        "optimizer_jit": tf.config.optimizer.get_jit(),
    }


def make_settings(settings: Mapping[str, Any]) -> None:
    """Make the settings of another process in this one, which has computed nothing yet.

    Args:
        settings: What `process_settings` returned there.
    """
    for kind in tf.config.list_physical_devices():
        if kind.device_type != "CPU":
            tf.config.set_visible_devices([], kind.device_type)
    tf.config.set_soft_device_placement(True)  # A layer may ask for a device that is not visible now.
    # Another number of threads may sum in another order.
    tf.config.threading.set_intra_op_parallelism_threads(settings["intra_op_threads"])
    tf.config.optimizer.set_experimental_options(settings["optimizer_options"])
    tf.config.optimizer.set_jit(settings["optimizer_jit"])
    if settings["is_deterministic"]:
        tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def seeded_if_needed() -> Iterator[None]:
    """Let a model be built where TensorFlow is to be deterministic and no seed is set, by which it refuses to draw.

    What is drawn is replaced by saved values, and the process is left without a seed.
    """
    eager = context.context()
    if context.global_seed() is not None or not config.is_op_determinism_enabled():
        yield
        return
    kept = {name: vars(eager)[name] for name in ("_seed", "_rng") if name in vars(eager)}
    eager._set_global_seed(_SEED)
    try:
        yield
    finally:
        vars(eager).update(kept)
