"""Sequential and Functional models: layers, and how they are called on each other.

A Functional model is written as the list of its layer calls in an order in which they can be made again. A symbolic
tensor is written as `{"$": "symbolic", "call": i, "output": j}`: output `j`, in flattened order, of call `i`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as tfk
from tf_keras.src.engine import functional, keras_tensor
from tf_keras.src.layers.core import tf_op_layer

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.model.members import member
from keras_probckpt.recipe.bounds import check_loops
from keras_probckpt.recipe.codec import TAG, Decoder, Encoder, Kind, Node, field
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.strangers import require_symbolic

__all__ = ["GRAPH_KINDS", "build_graph", "calls_in_order", "encode_graph", "encode_layers"]


def _encode_sequential(model: tfk.Sequential, encoder: Encoder, where: str) -> dict[str, Node]:
    node: dict[str, Node] = {TAG: "sequential", "name": model.name}
    encoder.announce(model, node)  # A function in one of its layers may lead back to it.
    node["layers"] = encode_layers(model, encoder, where)
    return node


def encode_layers(model: tfk.Sequential, encoder: Encoder, where: str) -> list[Node]:
    """Write the layers that a Sequential model was given."""
    layers = list(model._self_tracked_trackables)  # `model.layers` leaves out an input layer.
    if (
        not model._has_explicit_input_shape
    ):  # Keras made one of the first batch it saw, whose size is no part of the model.
        layers = [layer for layer in layers if not isinstance(layer, tfk.layers.InputLayer)]
    return encoder.encode_items(layers, f"{where}.layers")


def _decode_sequential(node: dict[str, Node], decoder: Decoder, where: str) -> tfk.Sequential:
    model = tfk.Sequential.__new__(tfk.Sequential)
    decoder.announce(node, model)
    layers = decoder.decode(field(node, "layers", list, where), f"{where}.layers")
    name = field(node, "name", str, where)
    call(tfk.Sequential.__init__, [model, layers if decoder.is_trusted else []], {"name": name}, where)
    if not decoder.is_trusted:
        for index, layer in enumerate(layers):
            if isinstance(layer, tfk.layers.Layer):
                check_loops(layer, model.outputs, f"{where}.layers[{index}]")
            call(model.add, [layer], {}, where)
    return model


def _encode_functional(model: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    node: dict[str, Node] = {TAG: "functional", "name": model.name, "trainable": model.trainable}
    encoder.announce(model, node)
    node.update(encode_graph(model, encoder, where))
    return node


def encode_graph(model: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    """Write how the layers of a Functional model are called on each other."""
    nodes = list(calls_in_order(model))
    places = {(id(node.layer), node.layer._inbound_nodes.index(node)): index for index, node in enumerate(nodes)}
    calls = []
    for node in nodes:
        layer = encoder.encode(node.layer, f"{where}.{node.layer.name}")
        call_where = f"{where}.{node.layer.name}()"
        arguments = [] if node.is_input else [node.call_args, node.call_kwargs]
        calls.append([layer, *(_encode_symbolic(item, places, encoder, call_where) for item in arguments)])
    return {
        "calls": calls,
        "inputs": _encode_symbolic(model._nested_inputs, places, encoder, where),
        "outputs": _encode_symbolic(model._nested_outputs, places, encoder, where),
    }


def calls_in_order(model: Any) -> Iterator[Any]:
    """Give the layer calls of a Functional model, in the order of its layers, but each after those it needs."""
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    rank = {id(layer): place for place, layer in enumerate(model._self_tracked_trackables)}
    nodes.sort(key=lambda node: (rank.get(id(node.layer), 0), node.layer._inbound_nodes.index(node)))
    waiting = {id(node) for node in nodes}

    def made(node: Any) -> Iterator[Any]:
        if id(node) in waiting:
            waiting.discard(id(node))
            for needed in node.parent_nodes:
                yield from made(needed)
            yield node

    for node in nodes:
        yield from made(node)


def _encode_symbolic(value: Any, places: dict[tuple[int, int], int], encoder: Encoder, where: str) -> Node:
    """Write a structure of arguments, in which symbolic tensors stand for outputs of calls."""
    if isinstance(value, keras_tensor.KerasTensor):
        history = value._keras_history
        return {TAG: "symbolic", "call": places[id(history.layer), history.node_index], "output": history.tensor_index}
    if isinstance(value, list):
        return [_encode_symbolic(item, places, encoder, where) for item in value]
    if isinstance(value, tuple) and type(value) is tuple:
        return {TAG: "tuple", "items": [_encode_symbolic(item, places, encoder, where) for item in value]}
    if isinstance(value, dict) and all(type(key) is str and key != TAG for key in value):
        return {key: _encode_symbolic(item, places, encoder, where) for key, item in value.items()}
    return encoder.encode(value, where)


def _decode_functional(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    model = functional.Functional.__new__(functional.Functional)
    decoder.announce(node, model)
    build_graph(model, {"name": field(node, "name", str, where)}, node, decoder, where)
    if node.get("trainable") is False:
        model.trainable = False
    return model


def build_graph(model: Any, arguments: Mapping[str, Any], node: dict[str, Node], decoder: Decoder, where: str) -> None:
    """Make the calls that `encode_graph` wrote, and initialise a Functional model with their inputs and outputs.

    Args:
        model: The model, which is not initialised.
        arguments: Further keyword arguments for that.
        node: Has the calls.
        decoder: Reads them.
        where: Their place, for error messages.
    """
    outputs: list[list[Any]] = []
    for index, item in enumerate(field(node, "calls", list, where)):
        outputs.append(_make_call(item, outputs, decoder, f"{where}.calls[{index}]"))
    ends = {key: _decode_symbolic(node.get(key), outputs, decoder, f"{where}.{key}") for key in ("inputs", "outputs")}
    call(functional.Functional.__init__, [model], {**arguments, **ends}, where)
    _insert_apart(model, outputs)


def _insert_apart(model: Any, outputs: list[list[Any]]) -> None:
    """Give a model the layers on which none of its outputs depends: those of `add_loss` and `add_metric`.

    Source: `connect_ancillary_layers` of tf_keras, which does it when Keras itself loads such a model.
    """
    histories = [made[0]._keras_history for made in outputs if made]
    known = {id(layer) for layer in model.layers}
    apart = {id(item.layer): item.layer for item in histories if id(item.layer) not in known}
    if apart:
        model._insert_layers(list(apart.values()), [item.layer._inbound_nodes[item.node_index] for item in histories])


def _make_call(item: Node, outputs: list[list[Any]], decoder: Decoder, where: str) -> list[Any]:
    if not isinstance(item, list) or len(item) not in (1, 3):
        raise MalformedRecipeError(where=where, problem="a call is [layer] or [layer, arguments, keyword arguments]")
    layer = decoder.decode(item[0], where)
    if not isinstance(layer, tfk.layers.Layer):
        raise MalformedRecipeError(where=where, problem=f"a {type(layer).__name__} is not a layer")
    if len(item) == 1:
        return _flat_outputs(layer, where)
    positional = _decode_symbolic(item[1], outputs, decoder, where)
    keywords = _decode_symbolic(item[2], outputs, decoder, where)
    if not isinstance(positional, tuple) or not isinstance(keywords, dict):
        raise MalformedRecipeError(where=where, problem="arguments are a tuple, keyword arguments an object")
    # Of a value that is no tensor, a layer would ask any member.
    require_symbolic(positional, keywords, where, first=isinstance(layer, tf_op_layer.InstanceProperty))
    if not decoder.is_trusted:
        check_loops(layer, [positional, keywords], where)
    call(layer, positional, keywords, where)
    return _flat_outputs(layer, where)


def _flat_outputs(layer: tfk.layers.Layer, where: str) -> list[Any]:
    if not member(layer, "_inbound_nodes"):  # Nor has one that is being made, and is in itself.
        raise MalformedRecipeError(where=where, problem=f"a {type(layer).__name__} was not called symbolically")
    return list(tf.nest.flatten(layer._inbound_nodes[-1].outputs))


def _decode_symbolic(node: Node, outputs: list[list[Any]], decoder: Decoder, where: str) -> Any:
    if isinstance(node, list):
        return [_decode_symbolic(item, outputs, decoder, where) for item in node]
    if not isinstance(node, dict) or node.get(TAG) not in (None, "tuple", "symbolic"):
        return decoder.decode(node, where)
    if TAG not in node:
        return {key: _decode_symbolic(item, outputs, decoder, where) for key, item in node.items()}
    if node[TAG] == "tuple":
        return tuple(_decode_symbolic(field(node, "items", list, where), outputs, decoder, where))
    made, output = field(node, "call", int, where), field(node, "output", int, where)
    if not 0 <= made < len(outputs) or not 0 <= output < len(outputs[made]):
        raise MalformedRecipeError(where=where, problem=f"output {output} of call {made} has not been made yet")
    return outputs[made][output]


GRAPH_KINDS = (
    Kind(
        tag="sequential",
        matches=lambda value: type(value) is tfk.Sequential,
        encode=_encode_sequential,
        decode=_decode_sequential,
        is_shared=True,
    ),
    Kind(
        tag="functional",
        matches=lambda value: type(value) is functional.Functional,
        encode=_encode_functional,
        decode=_decode_functional,
        is_shared=True,
    ),
)
