"""All kinds of value, in the order in which an encoder asks them: the more particular first."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras_probckpt.recipe.attributes import encode_attached, put_attached
from keras_probckpt.recipe.builder import BUILDER_KINDS
from keras_probckpt.recipe.codec import Decoder, Encoder, Kind, Node
from keras_probckpt.recipe.functions import REFERENCE_KINDS
from keras_probckpt.recipe.graphs import GRAPH_KINDS
from keras_probckpt.recipe.keras_objects import KERAS_KINDS
from keras_probckpt.recipe.lookups import LOOKUP_KINDS
from keras_probckpt.recipe.methods import METHOD_KINDS
from keras_probckpt.recipe.named import KNOWN_KINDS
from keras_probckpt.recipe.plain import PLAIN_KINDS
from keras_probckpt.recipe.standard import STANDARD_KINDS
from keras_probckpt.recipe.states import STATE_KINDS
from keras_probckpt.recipe.static_tables import STATIC_TABLE_KINDS
from keras_probckpt.recipe.templates import TEMPLATE_KINDS
from keras_probckpt.recipe.tf_operations import OPERATION_KINDS
from keras_probckpt.recipe.tfp_layers import TFP_LAYER_KINDS
from keras_probckpt.recipe.tfp_objects import TFP_KINDS
from keras_probckpt.recipe.user_classes import USER_KINDS
from keras_probckpt.recipe.values import VALUE_KINDS

__all__ = ["ALL_KINDS", "new_encoder"]

_ATTACHED = "attached"


def _with_attached(kind: Kind) -> Kind:
    """Make a kind whose nodes also hold what was put on the object after it was made."""

    def encode(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
        node = kind.encode(value, encoder, where)
        told = {name for name, _ in node.get("attributes", [])}  # Of an object that is written by its state.
        attached = [entry for entry in encode_attached(value, encoder, where) if entry[0] not in told]
        if attached:
            node[_ATTACHED] = attached
        return node

    def decode(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
        value = kind.decode(node, decoder, where)
        if _ATTACHED in node:
            put_attached(value, node[_ATTACHED], decoder, where)
        return value

    return dataclasses.replace(kind, encode=encode, decode=decode)


ALL_KINDS = (
    *BUILDER_KINDS,
    *VALUE_KINDS,
    *KNOWN_KINDS,
    *GRAPH_KINDS,
    *OPERATION_KINDS,
    *map(_with_attached, TFP_LAYER_KINDS),
    *TFP_KINDS,
    *TEMPLATE_KINDS,
    *STATIC_TABLE_KINDS,
    *LOOKUP_KINDS,
    *map(_with_attached, KERAS_KINDS),
    *map(_with_attached, USER_KINDS),
    *map(_with_attached, STATE_KINDS),
    *PLAIN_KINDS,
    *STANDARD_KINDS,
    *METHOD_KINDS,
    *REFERENCE_KINDS,
)


def new_encoder() -> Encoder:
    """Return an encoder that knows every kind."""
    return Encoder(ALL_KINDS)
