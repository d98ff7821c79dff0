"""What running a traced call would cost, told from its graph before anything is run.

A stranger's model is run only where that is little: each tensor has a size that is known and small, nothing loops until
numbers say so, and no sampler rejects until it is content, which by some numbers it never is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.profiler.internal import flops_registry

__all__ = ["is_affordable"]

_MOST_NUMBERS = 2**24
_MOST_OPERATIONS = 10**11
_INPUTS = ("Placeholder", "ReadVariableOp")  # What was there before, and is counted by itself.
# Registered by the import.
_REGISTRY = flops_registry
_UNBOUNDED = ("While", "RandomGamma", "RandomPoisson", "RandomBinomial", "Call", "If", "Case", "PyFunc", "Map")
# They multiply sizes; for those of which TensorFlow does not know how, at most all of these.
_MULTIPLY = ("MatMul", "Conv", "Einsum", "Cholesky", "Svd", "Qr", "Eig", "Inverse", "Solve", "Determinant", "Lu")


def is_affordable(graph: Any, placeholders: Sequence[Any], shapes: Sequence[Sequence[int]]) -> bool:
    """Whether running a graph takes seconds and some megabytes at most.

    Args:
        graph: The graph.
        placeholders: Its inputs, flat.
        shapes: Shape of what they are given.
    """
    definition = graph.as_graph_def()
    if any(word in node.op for node in definition.node for word in _UNBOUNDED):
        return False
    if sum(map(math.prod, shapes)) > _MOST_NUMBERS:
        return False
    with tf.Graph().as_default() as copy:
        # With the sizes of the inputs known, TensorFlow tells those of all that comes of them.
        known = {item.name: (item.dtype, shape) for item, shape in zip(placeholders, shapes, strict=True)}
        reads = [operation for operation in graph.get_operations() if operation.type == "ReadVariableOp"]
        known |= {item.outputs[0].name: (item.outputs[0].dtype, item.outputs[0].shape) for item in reads}
        inputs = {name: tf.compat.v1.placeholder(*item) for name, item in known.items()}
        try:
            tf.graph_util.import_graph_def(definition, input_map=inputs, name="")
        except (ValueError, TypeError, tf.errors.OpError):  # It holds what no other graph can have.
            return False
        return _is_small(copy)


def _is_small(graph: Any) -> bool:
    numbers, operations = 0, 0
    for operation in graph.get_operations():
        if operation.type in _INPUTS:
            continue
        for output in operation.outputs:
            if output.dtype in (tf.resource, tf.variant):
                continue
            size = output.shape.num_elements()
            if size is None:
                return False
            numbers += size
        operations += _operations(graph, operation)
        if numbers > _MOST_NUMBERS or operations > _MOST_OPERATIONS:
            return False
    return True


def _operations(graph: Any, operation: Any) -> int:
    if not any(word in operation.type for word in _MULTIPLY):
        return 0
    known = ops.get_stats_for_node_def(graph, operation.node_def, "flops").value
    if known is not None:
        return int(known)
    sizes = [item.shape.num_elements() or 1 for item in (*operation.inputs, *operation.outputs)]
    return math.prod(sorted(sizes)[-2:])
