"""What a model returns, recorded symbolically, and how the rebuilt model's differs from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from keras_probckpt.recipe.codec import Node

__all__ = ["describe", "output_differences"]

# Attributes through which one distribution wraps another.
_WRAPPED = ("tensor_distribution", "distribution", "components_distribution")


def describe(output: Any) -> Node:
    """Describe what a call returned.

    Returns:
        The structure of its outputs: objects and lists as they are, a tensor as `{"tensor", "shape"}`, a distribution
        as `{"distribution", "dtype", "batch_shape", "event_shape"}` with the chain of classes from the outermost.
    """
    if isinstance(output, Mapping):
        return {str(key): describe(item) for key, item in output.items()}
    if isinstance(output, (list, tuple)):
        return [describe(item) for item in output]
    if isinstance(output, tfp.distributions.Distribution):
        return {
            "distribution": list(_classes(output)),
            "dtype": _structure(output.dtype),
            "batch_shape": _structure(output.batch_shape),
            "event_shape": _structure(output.event_shape),
        }
    return {"tensor": output.dtype.name, "shape": _structure(output.shape)}


def _classes(distribution: Any) -> Iterator[str]:
    while isinstance(distribution, tfp.distributions.Distribution):
        if type(distribution).__name__ != "_TensorCoercible":
            yield type(distribution).__name__
        wrapped = (getattr(distribution, name, None) for name in _WRAPPED)
        distribution = next((item for item in wrapped if isinstance(item, tfp.distributions.Distribution)), None)


def _structure(value: Any) -> Node:
    """Write a dtype or shape, or the dict or list of them that a joint distribution has."""
    if isinstance(value, tf.TensorShape):
        return None if value.rank is None else value.as_list()
    if isinstance(value, Mapping):
        return {str(key): _structure(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_structure(item) for item in value]
    return None if value is None else tf.as_dtype(value).name


def output_differences(recorded: Node, rebuilt: Node, place: str = "output") -> list[str]:
    """List by path what the rebuilt model returns otherwise than the saved one did.

    Args:
        recorded: What `describe_output` said of the saved model.
        rebuilt: What it says of the rebuilt one.
        place: Path of the two.
    """
    if isinstance(recorded, dict) and isinstance(rebuilt, dict):
        keys = sorted({*recorded, *rebuilt})
        pairs = [(f"{place}[{key!r}]", recorded.get(key), rebuilt.get(key)) for key in keys]
    elif isinstance(recorded, list) and isinstance(rebuilt, list) and any(isinstance(item, dict) for item in recorded):
        longest = max(len(recorded), len(rebuilt))
        padded = [[*items, *[None] * (longest - len(items))] for items in (recorded, rebuilt)]
        pairs = [(f"{place}[{index}]", *pair) for index, pair in enumerate(zip(*padded, strict=True))]
    else:
        return [] if recorded == rebuilt else [f"{place}: saved {recorded!r}, rebuilt {rebuilt!r}"]
    return [line for key, before, after in pairs for line in output_differences(before, after, key)]
