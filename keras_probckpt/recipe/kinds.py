"""All kinds of value, in the order in which an encoder asks them: the more particular first."""

from __future__ import annotations

from keras_probckpt.recipe.builder import BUILDER_KINDS
from keras_probckpt.recipe.codec import Encoder
from keras_probckpt.recipe.functions import REFERENCE_KINDS
from keras_probckpt.recipe.graphs import GRAPH_KINDS
from keras_probckpt.recipe.keras_objects import KERAS_KINDS
from keras_probckpt.recipe.known import KNOWN_KINDS
from keras_probckpt.recipe.lookups import LOOKUP_KINDS
from keras_probckpt.recipe.methods import METHOD_KINDS
from keras_probckpt.recipe.plain import PLAIN_KINDS
from keras_probckpt.recipe.standard import STANDARD_KINDS
from keras_probckpt.recipe.states import STATE_KINDS
from keras_probckpt.recipe.tf_operations import OPERATION_KINDS
from keras_probckpt.recipe.tfp_layers import TFP_LAYER_KINDS
from keras_probckpt.recipe.tfp_objects import TFP_KINDS
from keras_probckpt.recipe.user_classes import USER_KINDS
from keras_probckpt.recipe.values import VALUE_KINDS

__all__ = ["ALL_KINDS", "new_encoder"]

ALL_KINDS = (
    *BUILDER_KINDS,
    *VALUE_KINDS,
    *KNOWN_KINDS,
    *GRAPH_KINDS,
    *OPERATION_KINDS,
    *TFP_LAYER_KINDS,
    *TFP_KINDS,
    *LOOKUP_KINDS,
    *KERAS_KINDS,
    *USER_KINDS,
    *STATE_KINDS,
    *PLAIN_KINDS,
    *STANDARD_KINDS,
    *METHOD_KINDS,
    *REFERENCE_KINDS,
)


def new_encoder() -> Encoder:
    """Return an encoder that knows every kind."""
    return Encoder(ALL_KINDS)
