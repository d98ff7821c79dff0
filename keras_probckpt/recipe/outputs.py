"""What a model returns on a fixed input, the same to the bit in any process: random operations draw from one seed."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from tensorflow.python.eager import wrap_function

from keras_probckpt.model.unchanged import unchanged
from keras_probckpt.recipe.calls import Signature

__all__ = ["fixed_outputs"]

_FuncGraph = tf.__internal__.FuncGraph

# Of a dimension that the signature leaves open: the first is the batch's, others may go through a few convolutions.
_BATCH, _LENGTH = 2, 16
_SEEDS = {"seed": 20_261_123, "seed2": 1}


def fixed_outputs(
    layers: Mapping[str, tfk.layers.Layer], signatures: Mapping[str, Signature]
) -> dict[str, np.ndarray[Any, Any]]:
    """Call a model, or where it was not called itself the outermost parts that were, on inputs made of the signatures.

    The call is traced anew. In the copy of it that is run, every random operation has one and the same seed, and every
    variable holds afterwards what it held before.

    Args:
        layers: The model, at the path `""`, and the layers in it by path.
        signatures: How they were called, by path: arguments and keyword arguments, a `tf.TensorSpec` for each tensor.

    Returns:
        Values by the place they are returned at; of a distribution the tensor it turns into and that tensor's log_prob.
    """
    outermost = [path for path in signatures if path in layers and not any(_holds(other, path) for other in signatures)]
    found: dict[str, np.ndarray[Any, Any]] = {}
    for path in outermost:
        values = _outputs(layers[path], signatures[path])
        found.update({f"{path or 'model'}(){place}": value for place, value in values.items()})
    return found


def _holds(parent: str, path: str) -> bool:
    return path != parent and (not parent or path.startswith(f"{parent}/"))


def _outputs(layer: tfk.layers.Layer, signature: Signature) -> dict[str, np.ndarray[Any, Any]]:
    graph = _FuncGraph("fixed_outputs")
    with unchanged(layer), graph.as_default():
        args, kwargs = tf.nest.map_structure(_fixed_input, signature)
        tensors = dict(_tensors(layer(*args, **kwargs), ""))
    with _kept_values(layer):
        values = _seeded(graph, [tensor.name for tensor in tensors.values()])()
    return {place: _as_array(value) for place, value in zip(tensors, values, strict=True)}


def _fixed_input(spec: Any) -> Any:
    if not isinstance(spec, tf.TensorSpec):
        return spec
    open_sizes = [_BATCH, *[_LENGTH] * len(spec.shape[1:])]
    shape = [size or open_size for size, open_size in zip(spec.shape, open_sizes, strict=True)]
    if spec.dtype == tf.string:
        return tf.fill(shape, "")
    generator = np.random.Generator(np.random.PCG64(0))
    if spec.dtype.is_integer or spec.dtype.is_bool:  # Of numbers that index something, 0 and 1 are the safest.
        return tf.constant(generator.integers(0, 2, shape), spec.dtype)
    return tf.cast(tf.constant(generator.uniform(size=shape)), spec.dtype)


def _tensors(output: Any, place: str) -> Iterator[tuple[str, tf.Tensor]]:
    if isinstance(output, Mapping):
        for key, item in output.items():
            yield from _tensors(item, f"{place}[{key!r}]")
    elif isinstance(output, (list, tuple)):
        for index, item in enumerate(output):
            yield from _tensors(item, f"{place}[{index}]")
    elif isinstance(output, tfp.distributions.Distribution):
        value = output.sample() if _makes_no_tensor(output) else tf.convert_to_tensor(output)
        yield from _tensors(value, f"{place}.value")
        with contextlib.suppress(NotImplementedError):
            yield f"{place}.log_prob", output.log_prob(value)
    else:
        yield place, tf.identity(output)


def _makes_no_tensor(distribution: Any) -> bool:
    return type(distribution).__name__ != "_TensorCoercible"


def _seeded(graph: Any, outputs: list[str]) -> Any:
    """Copy a traced call, with one seed for all random operations in it and in the functions it calls."""
    definition = graph.as_graph_def()
    del definition.library.gradient[:], definition.library.registered_gradients[:]
    suffix = f"_{secrets.token_hex(8)}"  # A function of the old name is there already, and stays as it is.
    names = {function.signature.name for function in definition.library.function}
    for function in definition.library.function:
        function.signature.name += suffix
        function.attr.clear()
    for nodes in (definition.node, *(function.node_def for function in definition.library.function)):
        for node in nodes:
            _rename(node, names, suffix)
            for name in _SEEDS.keys() & node.attr.keys():
                node.attr[name].i = _SEEDS[name]
    captures = {inside.op.name: outside for outside, inside in graph.captures}
    return wrap_function.function_from_graph_def(definition, [], outputs, captures)


def _rename(node: Any, names: set[str], suffix: str) -> None:
    if node.op in names:
        node.op += suffix
    for attribute in node.attr.values():
        for function in (attribute.func, *attribute.list.func):
            if function.name in names:
                function.name += suffix


@contextlib.contextmanager
def _kept_values(layer: tfk.layers.Layer) -> Iterator[None]:
    """Put back what a call assigned to variables, as a model may that counts its calls."""
    kept = [(variable, variable.read_value()) for variable in layer.variables]
    try:
        yield
    finally:
        for variable, value in kept:
            variable.assign(value)


def _as_array(value: tf.Tensor) -> np.ndarray[Any, Any]:
    array = value.numpy()
    return array if value.dtype != tf.string else np.frombuffer(b"\0".join(array.ravel()), np.uint8)
