"""Data of Python's standard library: times, paths, exact numbers; namespaces, and containers beside list and dict.

They are made of nothing but what the file says of them, by classes that are listed here, so they need no trust.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime as dt
import decimal
import fractions
import pathlib
import types
import uuid
from collections.abc import Callable
from typing import Any

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import Decoder, Encoder, Kind, Node, field
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.plain import decode_pairs, encode_pairs
from keras_probckpt.recipe.strangers import check_reference

__all__ = ["STANDARD_KINDS"]


@dataclasses.dataclass(frozen=True)
class _Form:
    """How values of one class are written: as text or a list of whole numbers."""

    write: Callable[[Any], str | list[int]]
    read: Callable[[Any], Any]


def _numbers(make: Callable[..., Any], *names: str) -> _Form:
    return _Form(lambda value: [getattr(value, name) for name in names], lambda parts: make(*parts))


_DURATION = ("days", "seconds", "microseconds")

_FORMS: dict[type, _Form] = {
    dt.datetime: _Form(dt.datetime.isoformat, dt.datetime.fromisoformat),
    dt.date: _Form(dt.date.isoformat, dt.date.fromisoformat),
    dt.time: _Form(dt.time.isoformat, dt.time.fromisoformat),
    dt.timedelta: _numbers(dt.timedelta, *_DURATION),
    decimal.Decimal: _Form(str, decimal.Decimal),
    # Not as text: "1e9999999999" would be a number of that many digits.
    fractions.Fraction: _numbers(fractions.Fraction, "numerator", "denominator"),
    uuid.UUID: _Form(str, uuid.UUID),
    type(pathlib.Path()): _Form(str, pathlib.Path),
    pathlib.PurePosixPath: _Form(str, pathlib.PurePosixPath),
    pathlib.PureWindowsPath: _Form(str, pathlib.PureWindowsPath),
}
_NAMES = {cls: f"{cls.__module__}.{cls.__name__}" for cls in _FORMS} | {type(pathlib.Path()): "pathlib.Path"}
_BY_NAME = {name: cls for cls, name in _NAMES.items()}


def _is_standard(value: Any) -> bool:
    # Of a time zone, text keeps no more than the distance from UTC.
    return type(value) in _FORMS and type(getattr(value, "tzinfo", None)) in (type(None), dt.timezone)


def _decode_standard(node: dict[str, Node], _decoder: Decoder, where: str) -> Any:
    name, written = field(node, "class", str, where), node.get("value")
    if name not in _BY_NAME:
        raise MalformedRecipeError(where=where, problem=f"{name!r:.80} is no class of data of the standard library")
    is_numbers = isinstance(written, list) and all(type(item) is int for item in written)
    if not isinstance(written, str) and not is_numbers:
        raise MalformedRecipeError(where=where, problem=f"{written!r:.80} is neither text nor whole numbers")
    return call(_FORMS[_BY_NAME[name]].read, [written], {}, where)


_NAMESPACES = {"types.SimpleNamespace": types.SimpleNamespace, "argparse.Namespace": argparse.Namespace}


def _decode_namespace(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    name = field(node, "class", str, where)
    if name not in _NAMESPACES:
        raise MalformedRecipeError(where=where, problem=f"{name!r:.80} is no namespace")
    attributes = decode_pairs(node, decoder, where)
    if not all(type(key) is str for key in attributes):
        raise MalformedRecipeError(where=where, problem="the names in a namespace are strings")
    made = _NAMESPACES[name]()
    vars(made).update(attributes)
    return made


# What makes the missing values of a `defaultdict`, as a rule.
_FACTORIES = {cls.__name__: cls for cls in (bool, dict, float, int, list, set, str, tuple)}


def _encode_default_dict(value: collections.defaultdict[Any, Any], encoder: Encoder, where: str) -> dict[str, Node]:
    factory: Any = value.default_factory
    is_listed = _FACTORIES.get(getattr(factory, "__name__", "")) is factory is not None
    written = factory.__name__ if is_listed else encoder.encode(factory, f"{where}.default_factory")
    return {"factory": written, **encode_pairs(value, encoder, where)}


def _decode_default_dict(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    written = node.get("factory")
    if isinstance(written, str):
        if written not in _FACTORIES:
            raise MalformedRecipeError(where=where, problem=f"{written!r:.80} makes no values of a defaultdict")
        factory: Any = _FACTORIES[written]
    else:
        if not decoder.is_trusted and written is not None:
            check_reference(written, f"{where}.default_factory")
        factory = decoder.decode(written, f"{where}.default_factory")
    return call(collections.defaultdict, [factory, decode_pairs(node, decoder, where, is_dict=True)], {}, where)


def _encode_deque(value: collections.deque[Any], encoder: Encoder, where: str) -> dict[str, Node]:
    return {"items": encoder.encode_items(list(value), where), "limit": value.maxlen}


def _decode_deque(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    items = decoder.decode(field(node, "items", list, where), where)
    limit = None if node.get("limit") is None else field(node, "limit", int, where)
    return call(collections.deque, [items, limit], {}, where)


def _decode_counter(node: dict[str, Node], decoder: Decoder, where: str) -> collections.Counter[Any]:
    counter: collections.Counter[Any] = collections.Counter()
    dict.update(counter, decode_pairs(node, decoder, where, is_dict=True))  # Its own `update` would add, and sort.
    return counter


def _decode_user_dict(node: dict[str, Node], decoder: Decoder, where: str) -> collections.UserDict[Any, Any]:
    made: collections.UserDict[Any, Any] = collections.UserDict()
    made.data = decode_pairs(node, decoder, where)
    return made


STANDARD_KINDS = (
    Kind(
        tag="standard",
        matches=_is_standard,
        encode=lambda value, _encoder, _where: {
            "class": _NAMES[type(value)],
            "value": _FORMS[type(value)].write(value),
        },
        decode=_decode_standard,
    ),
    Kind(
        tag="namespace",
        matches=lambda value: type(value) in _NAMESPACES.values(),
        encode=lambda value, encoder, where: {
            "class": f"{type(value).__module__}.{type(value).__name__}",
            **encode_pairs(vars(value), encoder, where),
        },
        decode=_decode_namespace,
        is_shared=True,
    ),
    Kind(
        tag="default_dict",
        matches=lambda value: type(value) is collections.defaultdict,
        encode=_encode_default_dict,
        decode=_decode_default_dict,
        is_shared=True,
    ),
    Kind(
        tag="deque",
        matches=lambda value: type(value) is collections.deque,
        encode=_encode_deque,
        decode=_decode_deque,
        is_shared=True,
    ),
    Kind(
        tag="counter",
        matches=lambda value: type(value) is collections.Counter,
        encode=encode_pairs,
        decode=_decode_counter,
        is_shared=True,
    ),
    Kind(
        tag="user_dict",
        matches=lambda value: type(value) is collections.UserDict,
        encode=lambda value, encoder, where: encode_pairs(value.data, encoder, where),
        decode=_decode_user_dict,
        is_shared=True,
    ),
)
