"""Python's own values that JSON has no word for."""

from __future__ import annotations

import base64
from typing import Any

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import KERAS_INSTRUCTION, Decoder, Encoder, Kind, Node, field, is_plain

__all__ = ["PLAIN_KINDS"]


def _decode_float(node: dict[str, Node], _decoder: Decoder, where: str) -> float:
    text = field(node, "value", str, where)
    if text not in ("nan", "inf", "-inf"):
        raise MalformedRecipeError(where=where, problem=f"{text!r:.80} is not a non-finite number")
    return float(text)


def _decode_complex(node: dict[str, Node], decoder: Decoder, where: str) -> complex:
    parts = decoder.decode([node.get("real"), node.get("imaginary")], where)
    if not all(type(part) in (int, float) for part in parts):
        raise MalformedRecipeError(where=where, problem=f"{parts!r:.80} are not the parts of a complex number")
    return complex(*parts)


def _decode_bytes(node: dict[str, Node], _decoder: Decoder, where: str) -> bytes:
    try:
        return base64.b64decode(field(node, "base64", str, where), validate=True)
    except ValueError as error:
        raise MalformedRecipeError(where=where, problem=f"its base64 text is broken ({error})") from error


def _encode_dict(value: dict[Any, Any], encoder: Encoder, where: str) -> dict[str, Node]:
    items = [[key, item] for key, item in value.items()]
    return {"items": [encoder.encode_items(pair, f"{where}[{pair[0]!r}]") for pair in items]}


def _decode_dict(node: dict[str, Node], decoder: Decoder, where: str) -> dict[Any, Any]:
    items = field(node, "items", list, where)
    if not all(isinstance(item, list) and len(item) == 2 for item in items):  # noqa: PLR2004 - a key and a value
        raise MalformedRecipeError(where=where, problem="'items' should be pairs of a key and a value")
    pairs = decoder.decode(items, where)
    try:
        decoded = dict(pairs)
    except TypeError as error:
        raise MalformedRecipeError(where=where, problem=f"a key cannot be a key ({error})") from error
    if KERAS_INSTRUCTION in decoded:
        return decoder.decode_mapping(decoded, where)
    return decoded


def _sequence_kind(tag: str, kind: type) -> Kind:
    def decode(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
        items = decoder.decode(field(node, "items", list, where), where)
        try:
            return kind(items)
        except TypeError as error:
            raise MalformedRecipeError(where=where, problem=f"an item cannot be in a {tag} ({error})") from error

    return Kind(
        tag=tag,
        matches=lambda value: type(value) is kind,
        encode=lambda value, encoder, where: {"items": encoder.encode_items(list(value), where)},
        decode=decode,
    )


PLAIN_KINDS = (
    Kind(
        tag="float",
        matches=lambda value: type(value) is float,  # The finite ones stand for themselves.
        encode=lambda value, _encoder, _where: {"value": str(value)},
        decode=_decode_float,
    ),
    Kind(
        tag="complex",
        matches=lambda value: type(value) is complex,
        encode=lambda value, encoder, where: {
            "real": encoder.encode(value.real, where),
            "imaginary": encoder.encode(value.imag, where),
        },
        decode=_decode_complex,
    ),
    Kind(
        tag="bytes",
        matches=lambda value: type(value) is bytes,
        encode=lambda value, _encoder, _where: {"base64": base64.b64encode(value).decode("ascii")},
        decode=_decode_bytes,
    ),
    _sequence_kind("tuple", tuple),
    _sequence_kind("set", set),
    _sequence_kind("frozenset", frozenset),
    Kind(
        tag="dict",
        matches=lambda value: type(value) is dict and not is_plain(value),
        encode=_encode_dict,
        decode=_decode_dict,
    ),
)
