"""Nodes that name an entry of the closed tables, and what a node calls."""

from __future__ import annotations

import types
from typing import Any

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import TAG, Decoder, Encoder, Kind, Node, field, untrusted
from keras_probckpt.recipe.known import known_name, known_object
from keras_probckpt.recipe.strangers import Use, check_reference, for_strangers

__all__ = ["KNOWN_KINDS", "decode_callee", "named_object"]


def _is_known(value: Any) -> bool:
    is_named = isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType))
    return is_named and known_name(value) is not None


def _encode_known(value: Any, _encoder: Encoder, _where: str) -> dict[str, Node]:
    return {"name": known_name(value)}


def named_object(name: str, decoder: Decoder, where: str, *, use: Use) -> Any:
    """Return the class or function that a file names.

    Args:
        name: Its name in the closed tables.
        decoder: Knows whether the file is trusted.
        where: Its place, for error messages.
        use: What it is to be used for.

    Raises:
        MalformedRecipeError: If it is in none of the tables, or not for this use in a file that nobody vouches for.
    """
    if known_object(name) is None:
        raise MalformedRecipeError(
            where=where, problem=f"{name!r:.120} is in none of the tables of tf_keras, TFP and TensorFlow names"
        )
    found = known_object(name) if decoder.is_trusted else for_strangers(name, use)
    if found is None:
        raise untrusted(where, f"{name!r:.120} may not stand here in a checkpoint that nobody vouches for")
    return found


def decode_callee(node: dict[str, Node], decoder: Decoder, where: str, *, use: Use) -> Any:
    """Read what a node calls: of a file that nobody vouches for always a reference, never an object that the file made.

    Args:
        node: The node of the callee.
        decoder: Reads it.
        where: Its place, for error messages.
        use: What an entry of the closed tables is to be used for.

    Raises:
        MalformedRecipeError: If it is something else.
    """
    if not decoder.is_trusted:
        check_reference(node, where)
        if node[TAG] == "known":
            return named_object(field(node, "name", str, where), decoder, where, use=use)
    return decoder.decode(node, where)


KNOWN_KINDS = (
    Kind(
        tag="known",
        matches=_is_known,
        encode=_encode_known,
        decode=lambda node, decoder, where: named_object(field(node, "name", str, where), decoder, where, use="value"),
    ),
)
