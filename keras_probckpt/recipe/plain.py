"""Python's own values that JSON has no word for."""

from __future__ import annotations

import base64
import collections
import dataclasses
import enum
import functools
from collections.abc import Mapping
from typing import Any

import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import KERAS_INSTRUCTION, Decoder, Encoder, Kind, Node, field, is_plain
from keras_probckpt.recipe.construction import call, decode_call, encode_call

__all__ = ["PLAIN_KINDS", "decode_items", "decode_pairs", "decode_range", "encode_pairs"]

_MOST_OF_RANGE = 2**20


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


def encode_pairs(value: Mapping[Any, Any], encoder: Encoder, where: str) -> dict[str, Node]:
    """Write a mapping with any keys as pairs of a key and a value."""
    items = [[key, item] for key, item in value.items()]
    return {"items": [encoder.encode_items(pair, f"{where}[{pair[0]!r}]") for pair in items]}


def decode_items(node: dict[str, Node], decoder: Decoder, where: str) -> dict[Any, Any]:
    """Read a dict with any keys, those that mean something to Keras among them: only for data."""
    items = field(node, "items", list, where)
    if not all(isinstance(item, list) and len(item) == 2 for item in items):  # noqa: PLR2004 - a key and a value
        raise MalformedRecipeError(where=where, problem="'items' should be pairs of a key and a value")
    pairs = decoder.decode(items, where)
    try:
        return dict(pairs)
    except TypeError as error:
        raise MalformedRecipeError(where=where, problem=f"a key cannot be a key ({error})") from error


def decode_pairs(node: dict[str, Node], decoder: Decoder, where: str, *, is_dict: bool = False) -> dict[Any, Any]:
    """Read what `encode_pairs` wrote.

    Args:
        node: The node that has the pairs.
        decoder: Reads keys and values.
        where: Its place, for error messages.
        is_dict: Whether a dict is made of it, which Keras would take for an instruction if it has such a key.
    """
    decoded = decode_items(node, decoder, where)
    if is_dict and KERAS_INSTRUCTION in decoded:
        return decoder.decode_mapping(decoded, where)
    return decoded


def _decode_dict(node: dict[str, Node], decoder: Decoder, where: str) -> dict[Any, Any]:
    return decode_pairs(node, decoder, where, is_dict=True)


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


def _is_named_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(type(value), "_fields")


def _decode_named_tuple(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    cls, items, _ = decode_call(node, decoder, where)
    if not isinstance(cls, type) or not issubclass(cls, tuple):
        raise MalformedRecipeError(where=where, problem=f"{cls!r:.80} is not a named tuple")
    return call(cls, items, {}, where)


def _encode_enum(value: enum.Enum, encoder: Encoder, where: str) -> dict[str, Node]:
    # Of several flags together, the name is another in each release of Python.
    which = {"value": value.value} if isinstance(value, enum.Flag) else {"name": value.name}
    return {"class": encoder.encode(type(value), where), **which}


def _decode_enum(node: dict[str, Node], decoder: Decoder, where: str) -> enum.Enum:
    cls = decoder.decode(field(node, "class", dict, where), f"{where}.class")
    if "value" in node and isinstance(cls, type) and issubclass(cls, enum.Flag):
        member: enum.Enum = call(cls, [field(node, "value", int, where)], {}, where)
        return member
    name = field(node, "name", str, where)
    if not isinstance(cls, type) or not issubclass(cls, enum.Enum) or name not in cls.__members__:
        raise MalformedRecipeError(where=where, problem=f"{name!r:.80} is no member of {cls!r:.80}")
    return cls.__members__[name]


def _encode_dataclass(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    fields = {item.name: getattr(value, item.name) for item in dataclasses.fields(value) if item.init}
    return encode_call(type(value), fields, encoder, where)


def _decode_dataclass(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    cls, _, fields = decode_call(node, decoder, where)
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise MalformedRecipeError(where=where, problem=f"{cls!r:.80} is not a dataclass")
    return call(cls, [], fields, where)


def _encode_bounds(value: slice | range, encoder: Encoder, where: str) -> dict[str, Node]:
    return {"bounds": encoder.encode_items([value.start, value.stop, value.step], where)}


def decode_range(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    """Read a range of any length: only for data, of which nobody makes a list."""
    return call(range, decoder.decode(field(node, "bounds", list, where), where), {}, where)


def _bounds_kind(tag: str, kind: type) -> Kind:
    def decode(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
        made = call(kind, decoder.decode(field(node, "bounds", list, where), where), {}, where)
        # What goes through it makes a list of it.
        if isinstance(made, range) and not decoder.is_trusted and made[_MOST_OF_RANGE:]:
            raise MalformedRecipeError(where=where, problem=f"{made!r:.80} is longer than {_MOST_OF_RANGE} numbers")
        return made

    return Kind(
        tag=tag,
        matches=lambda value: type(value) is kind,
        encode=_encode_bounds,
        decode=decode,
    )


def _encode_partial(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    return encode_call(value.func, value.keywords, encoder, where, positional=value.args)


def _decode_partial(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    function, positional, keywords = decode_call(node, decoder, where)
    # Called later, with nobody looking at the arguments: tfp.layers.DistributionLambda unpickles text.
    if isinstance(function, type) and issubclass(function, tfk.layers.Lambda):
        raise MalformedRecipeError(where=where, problem=f"{function!r:.80} is not made by a partial call")
    return functools.partial(function, *positional, **keywords)


PLAIN_KINDS = (
    Kind(
        tag="named_tuple",
        matches=_is_named_tuple,
        encode=lambda value, encoder, where: encode_call(type(value), {}, encoder, where, positional=tuple(value)),
        decode=_decode_named_tuple,
    ),
    Kind(
        tag="enum",
        matches=lambda value: isinstance(value, enum.Enum),
        encode=_encode_enum,
        decode=_decode_enum,
    ),
    Kind(
        tag="dataclass",
        matches=lambda value: dataclasses.is_dataclass(value) and not isinstance(value, type),
        encode=_encode_dataclass,
        decode=_decode_dataclass,
    ),
    Kind(
        tag="partial",
        matches=lambda value: type(value) is functools.partial,
        encode=_encode_partial,
        decode=_decode_partial,
        is_shared=True,
    ),
    _bounds_kind("slice", slice),
    _bounds_kind("range", range),
    Kind(
        tag="ellipsis",
        matches=lambda value: value is ...,
        encode=lambda _value, _encoder, _where: {},
        decode=lambda _node, _decoder, _where: ...,
    ),
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
        tag="ordered_dict",
        matches=lambda value: type(value) is collections.OrderedDict,
        encode=encode_pairs,
        decode=lambda node, decoder, where: collections.OrderedDict(_decode_dict(node, decoder, where)),
    ),
    Kind(
        tag="dict",
        matches=lambda value: type(value) is dict and not is_plain(value),
        encode=encode_pairs,
        decode=_decode_dict,
    ),
)
