"""How the parts of a model were called, so that a rebuilt model can be given its variables before it is given values.

tf_keras records the signature of the first call of every layer and model. That of the whole model is enough where
`call` reaches every part; the others are there for models whose parts are called in `train_step` alone, as a VAE's
encoder and decoder may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.model.unchanged import set_losses
from keras_probckpt.recipe.codec import Decoder, Encoder, Node, field
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.known import known_name
from keras_probckpt.recipe.strangers import check_signature

__all__ = [
    "Signature",
    "call_signature",
    "make_calls",
    "note_call",
    "record_calls",
    "recorded_signatures",
    "signatures_of",
    "symbolic_call",
]

# Arguments and keyword arguments, a `tf.TensorSpec` for each tensor.
Signature = tuple[list[Any], dict[str, Any]]

_FuncGraph = tf.__internal__.FuncGraph


def record_calls(layers: Mapping[str, tfk.layers.Layer], encoder: Encoder) -> list[Node]:
    """Write the signatures of the calls that gave a model its variables.

    Args:
        layers: The model, at the path `""`, and the layers in it by path, parents before their children.
        encoder: Writes the signatures.
    """
    closed = tuple(f"{path}/" if path else "" for path, layer in layers.items() if known_name(type(layer)) is not None)
    open_layers = {path: layer for path, layer in layers.items() if not path or not path.startswith(closed)}
    return [node for path, layer in open_layers.items() if (node := _record_call(path, layer, encoder)) is not None]


def call_signature(layer: tfk.layers.Layer) -> Signature | None:
    """Return the arguments and keyword arguments of the first call of a layer, a `tf.TensorSpec` for each tensor.

    Returns:
        None if it was not called, or with something else than tensors, as a layer that takes a distribution is.
    """
    recorded = layer._saved_model_arg_spec if layer._saved_model_inputs_spec is not None else None
    if recorded is None or not all(isinstance(spec, (tf.TensorSpec, type(None))) for spec in tf.nest.flatten(recorded)):
        return None
    args, kwargs = layer._get_save_spec(dynamic_batch=True, inputs_only=False)
    return list(args), dict(kwargs)


def signatures_of(layers: Mapping[str, tfk.layers.Layer]) -> dict[str, Signature]:
    """Return how layers were first called, by path; those that were not are left out."""
    found = {path: call_signature(layer) for path, layer in layers.items()}
    return {path: signature for path, signature in found.items() if signature is not None}


def note_call(layer: tfk.layers.Layer, signature: Signature) -> None:
    """Let a layer that was not called know how it is called, as tf_keras notes it at the first call."""
    args, kwargs = signature
    if args and call_signature(layer) is None:
        layer._set_save_spec(args[0], list(args[1:]), dict(kwargs))


def _record_call(path: str, layer: tfk.layers.Layer, encoder: Encoder) -> Node | None:
    where = f"{path or 'model'}()"
    signature = call_signature(layer)
    if signature is not None:
        args, kwargs = signature
        return {"layer": path, "args": encoder.encode(args, where), "kwargs": encoder.encode(kwargs, where)}
    shape = getattr(layer, "_build_input_shape", None)
    return None if shape is None else {"layer": path, "input_shape": encoder.encode(shape, where)}


def make_calls(
    recorded: list[Node],
    find_layers: Callable[[], Mapping[str, tfk.layers.Layer]],
    decoder: Decoder,
    *,
    is_complete: Callable[[], bool],
) -> None:
    """Call the parts of a model as they were called, on placeholders: layers build, nothing is computed.

    Args:
        recorded: What `record_calls` wrote.
        find_layers: Returns the layers there are now, by path.
        decoder: Reads the signatures.
        is_complete: Whether every variable is there; asked before each call.
    """
    for index, node in enumerate(recorded):
        if is_complete():
            return
        where = f"calls[{index}]"
        if not isinstance(node, dict):
            raise MalformedRecipeError(where=where, problem=f"a call is an object, not {node!r:.80}")
        layer = find_layers().get(field(node, "layer", str, where))
        if layer is not None:
            _make_call(layer, node, decoder, where)


def recorded_signatures(recorded: list[Node], decoder: Decoder) -> dict[str, Signature]:
    """Read how the parts of a model were called, by path; those that were only built are left out.

    Args:
        recorded: What `record_calls` wrote.
        decoder: Reads the signatures.
    """
    nodes = {index: node for index, node in enumerate(recorded) if isinstance(node, dict) and "args" in node}
    return {
        field(node, "layer", str, f"calls[{index}]"): _signature(node, decoder, f"calls[{index}]")
        for index, node in nodes.items()
    }


def _signature(node: dict[str, Node], decoder: Decoder, where: str) -> Signature:
    args = decoder.decode(field(node, "args", list, where), where)
    kwargs = decoder.decode_mapping(field(node, "kwargs", dict, where), where)
    if not decoder.is_trusted:
        check_signature([args, kwargs], where)
    return args, kwargs


def _make_call(layer: tfk.layers.Layer, node: dict[str, Node], decoder: Decoder, where: str) -> None:
    if "input_shape" in node:
        shape = decoder.decode(node["input_shape"], where)
        if not decoder.is_trusted:
            check_signature([shape], where)
        with _FuncGraph("build").as_default():
            call(layer.build, [shape], {}, where)
        return
    call(symbolic_call, [layer, *_signature(node, decoder, where)], {}, where)
    _forget_losses(layer)


def symbolic_call(layer: tfk.layers.Layer, args: Sequence[Any], kwargs: Mapping[str, Any], *, graph: Any = None) -> Any:
    """Call a layer on placeholders, in a graph of its own: variables are made, nothing is computed.

    Args:
        layer: A layer or model.
        args: Its arguments, with a `tf.TensorSpec` for each tensor.
        kwargs: Its keyword arguments, likewise.
        graph: A new `FuncGraph` to trace it into, for who wants to know more than its outputs.

    Returns:
        Its outputs, symbolic.
    """
    with (graph or _FuncGraph("symbolic_call")).as_default():
        placeholders, keywords = tf.nest.map_structure(_placeholder, (list(args), dict(kwargs)))
        return layer(*placeholders, **keywords)


def _forget_losses(layer: tfk.layers.Layer) -> None:
    """Drop the losses that symbolic calls left: they mean nothing, and would keep the graph alive."""
    for part in layer._flatten_layers():
        set_losses(part, [loss for loss in part._losses if not isinstance(getattr(loss, "graph", None), _FuncGraph)])
        part._thread_local._eager_losses = []


def _placeholder(value: Any) -> Any:
    return tf.compat.v1.placeholder(value.dtype, value.shape) if isinstance(value, tf.TensorSpec) else value
