"""Layers that look words and numbers up in a vocabulary, which they keep outside of variables.

The vocabulary is written as a list, whether it was given, read from a file or learned by `adapt`. Text in its place
would be the path of a file to read, so it is refused; these classes are in no table that a recipe may name.
"""

from __future__ import annotations

from typing import Any

import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import Decoder, Encoder, Kind, Node, field
from keras_probckpt.recipe.construction import accepted_arguments, call
from keras_probckpt.recipe.keras_objects import LAYER_KEYWORDS, keras_arguments

__all__ = ["LOOKUP_KINDS"]

_CLASSES = {
    cls.__name__: cls for cls in (tfk.layers.StringLookup, tfk.layers.IntegerLookup, tfk.layers.TextVectorization)
}
_VOCABULARY = frozenset({"vocabulary", "idf_weights"})


def _encode_lookup(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    names = (accepted_arguments(type(value)) | LAYER_KEYWORDS) - _VOCABULARY
    arguments, vocabulary = keras_arguments(value, names), _vocabulary(value)
    # A layer that was given its vocabulary has other variables than one that learned it.
    is_given = bool(vocabulary) and _inner(value)._has_input_vocabulary
    return {
        "class": type(value).__name__,
        "arguments": _encoded({**arguments, **vocabulary} if is_given else arguments, encoder, where),
        "learned": _encoded({} if is_given else vocabulary, encoder, where),
    }


def _encoded(arguments: dict[str, Any], encoder: Encoder, where: str) -> dict[str, Node]:
    return {key: encoder.encode(item, f"{where}.{key}") for key, item in arguments.items()}


def _inner(value: Any) -> Any:
    return getattr(value, "_lookup_layer", value)


def _vocabulary(value: Any) -> dict[str, Any]:
    layer = _inner(value)
    items = layer.get_vocabulary(include_special_tokens=False)
    words = [str(item) if isinstance(item, str) else int(item) for item in items]
    if not words:
        return {}
    if layer.output_mode != "tf_idf":
        return {"vocabulary": words}
    start = layer._token_start_index()
    weights = layer.idf_weights.numpy()[start : start + len(words)]
    return {"vocabulary": words, "idf_weights": [float(weight) for weight in weights]}


def _decode_lookup(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    name = field(node, "class", str, where)
    if name not in _CLASSES:
        raise MalformedRecipeError(where=where, problem=f"{name!r:.80} is no layer with a vocabulary")
    arguments, learned = (
        decoder.decode_mapping(field(node, key, dict, where), where) for key in ("arguments", "learned")
    )
    for key, items in (*arguments.items(), *learned.items()):
        is_list = isinstance(items, list) and all(type(item) in (str, int, float) for item in items)
        if key in _VOCABULARY and not is_list:
            raise MalformedRecipeError(where=f"{where}.{key}", problem=f"a list is needed here, not {items!r:.80}")
    layer = call(_CLASSES[name], [], arguments, where)
    if learned:
        call(layer.set_vocabulary, [], learned, where)
    return layer


LOOKUP_KINDS = (
    Kind(
        tag="lookup",
        matches=lambda value: type(value) in _CLASSES.values(),
        encode=_encode_lookup,
        decode=_decode_lookup,
        is_shared=True,
    ),
)
