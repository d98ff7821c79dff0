"""JSON with one meaning: what is written reads back the same, and what could be read in two ways is refused."""

from __future__ import annotations

import itertools
import json
import math
import re
import reprlib
import sys
from collections.abc import Collection
from typing import Any

__all__ = [
    "LIMIT_CONTAINERS",
    "LIMIT_DEPTH",
    "LIMIT_INTEGER_DIGITS",
    "LIMIT_VALUES",
    "StrictJsonError",
    "dumps",
    "loads",
    "number_from_json",
    "number_to_json",
    "preview",
]

LIMIT_DEPTH = 200
# Python keeps an empty list, two bytes of JSON, in 64; a string of two letters in 51.
LIMIT_CONTAINERS = 2**20
LIMIT_VALUES = 2**22
LIMIT_INTEGER_DIGITS = 400

_FIRST_TOO_LONG_INTEGER = 10**LIMIT_INTEGER_DIGITS
_NOT_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_STRINGS = re.compile(rb'"[^"]*"')
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_PREVIEW = reprlib.Repr()
_PREVIEW.maxstring = 200
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class StrictJsonError(ValueError):
    """A value has no JSON of this kind, or some bytes are not JSON of this kind."""


def dumps(value: Any, *, indent: int | None = None) -> bytes:
    r"""Write a value as UTF-8 JSON, keys in their own order, so that `loads` gives it back.

    Equal values in equal order give equal bytes. Tuples are written as lists. A lone surrogate, which has no UTF-8, is
    written as an escape.

    Args:
        value: Dicts with string keys, lists, tuples, strings, finite numbers, booleans and `None`.
        indent: Spaces per level; `None` writes one line without any.

    Raises:
        StrictJsonError: If `loads` could not give the value back.

    Example:
        >>> dumps({"z": 1, "a": [0.5, None]})
        b'{"z":1,"a":[0.5,null]}'
    """
    _require_writable(value)
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    # Only lone surrogates cannot be encoded, and for them this handler's escape is also JSON's.
    return text.encode("utf-8", "backslashreplace")


def loads(data: bytes, *, where: str, limit_bytes: int, limit_containers: int = LIMIT_CONTAINERS) -> Any:
    """Read UTF-8 JSON and refuse whatever is ambiguous or built to exhaust the reader.

    Args:
        data: The whole document.
        where: What the document is called in errors, as the subject of a sentence: `"the recipe"`.
        limit_bytes: Longest document to look into.
        limit_containers: Most arrays and objects to read.

    Raises:
        StrictJsonError: If the document is longer than `limit_bytes`, is not UTF-8 or not JSON, repeats a key, holds a
            number that is not finite or an integer of more than 400 digits, is nested deeper than 200, or has more
            values than are read.

    Source: RFC 8259, of which this accepts a subset.

    Example:
        >>> loads(b'{"step": 12}', where="the example", limit_bytes=100)
        {'step': 12}
    """
    if len(data) > limit_bytes:
        raise StrictJsonError(f"{where} has {len(data)} bytes, more than the {limit_bytes} that are read")
    try:
        text = data.decode("utf-8")
        _require_few(data, limit_containers=limit_containers)
        return _decode(text)
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8: {error.reason} at byte {error.start}"
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except StrictJsonError as error:
        problem = str(error)
    raise StrictJsonError(f"{where} {problem}")


def preview(value: object) -> str:
    """Show a value of a file in a message, shortened where its author made it long.

    Example:
        >>> preview("x" * 10_000)[:20]
        "'xxxxxxxxxxxxxxxxxxx"
    """
    return _PREVIEW.repr(value)


def number_to_json(number: float) -> float | str:
    """Write a number that may be `nan`, `inf` or `-inf`, which JSON has no literals for: those become strings.

    Example:
        >>> number_to_json(float("-inf"))
        '-inf'
    """
    number = float(number)
    return number if math.isfinite(number) else str(number)


def number_from_json(value: object) -> float:
    """Read what `number_to_json` wrote.

    Raises:
        StrictJsonError: If the value is neither a number nor one of the strings "nan", "inf" and "-inf".

    Example:
        >>> number_from_json("inf")
        inf
    """
    if isinstance(value, str) and value in _NON_FINITE:
        return _NON_FINITE[value]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and -sys.float_info.max <= value <= sys.float_info.max:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    raise StrictJsonError(f'expected a finite number, "nan", "inf" or "-inf", got {preview(value)}')


def _require_writable(value: object) -> None:
    containers = values = 0
    pending = [(value, 0)]
    while pending:
        part, depth = pending.pop()
        if isinstance(part, (dict, list, tuple)):
            containers, values = containers + 1, values + len(part)
            if depth == LIMIT_DEPTH:
                raise StrictJsonError(
                    f"the value is nested deeper than {LIMIT_DEPTH} or contains itself, and would not be read back"
                )
            if isinstance(part, dict):
                _require_string_keys(part)
            for children in (part.keys(), part.values()) if isinstance(part, dict) else (part,):
                if not _are_writable_leaves(children):
                    pending.extend((child, depth + 1) for child in children)
        else:
            _require_writable_leaf(part)
    if containers > LIMIT_CONTAINERS or values > LIMIT_VALUES:
        raise StrictJsonError(f"the value holds {containers} arrays and objects and {values} values, too many to read")


def _are_writable_leaves(parts: Collection[Any]) -> bool:
    """Accept at once what most containers hold: names, or the numbers of a history."""
    kinds = set(map(type, parts))
    if kinds == {str}:
        return "".join(parts).isascii()
    return kinds == {float} and all(map(math.isfinite, parts))


def _require_string_keys(mapping: dict[Any, Any]) -> None:
    for key in mapping:
        if not isinstance(key, str):
            raise StrictJsonError(f"JSON keys are strings; the key {key!r} is a {type(key).__name__}")


def _require_writable_leaf(leaf: object) -> None:
    if isinstance(leaf, str):
        if _SURROGATE_PAIR.search(leaf):
            raise StrictJsonError(
                f"the text {preview(leaf)} holds two surrogates in a row, which JSON reads as one character"
            )
    elif isinstance(leaf, int):
        if abs(leaf) >= _FIRST_TOO_LONG_INTEGER:
            raise StrictJsonError(f"an integer has more than {LIMIT_INTEGER_DIGITS} digits and would not be read back")
    elif isinstance(leaf, float):
        if not math.isfinite(leaf):
            raise StrictJsonError(f"JSON has no literal for {leaf}; write it with number_to_json")
    elif leaf is not None:
        raise StrictJsonError(f"JSON has no form for {preview(leaf)}, a {type(leaf).__name__}")


def _require_few(data: bytes, *, limit_containers: int) -> None:
    """Refuse what is nested deeply or takes many times its bytes in memory, before any of it is decoded."""
    # Escaped backslashes go first: in "\\" the second quote closes the string, in "\"" it does not.
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = _STRINGS.sub(b"", unescaped)
    containers, values = outside.count(b"[") + outside.count(b"{"), outside.count(b",") + 1
    if containers > limit_containers:
        raise StrictJsonError(f"holds {containers} arrays and objects, more than the {limit_containers} that are read")
    if values > LIMIT_VALUES:
        raise StrictJsonError(f"holds {values} values, more than the {LIMIT_VALUES} that are read")
    brackets = outside.translate(None, _NOT_BRACKETS)
    depths = itertools.accumulate(1 if bracket in b"[{" else -1 for bracket in brackets)
    if max(depths, default=0) > LIMIT_DEPTH:
        raise StrictJsonError(f"is nested deeper than {LIMIT_DEPTH}")


def _decode(text: str) -> Any:
    return json.loads(
        text,
        object_pairs_hook=_object_without_repeats,
        parse_constant=_refuse_constant,
        parse_float=_finite_float,
        parse_int=_bounded_integer,
    )


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise StrictJsonError(f"repeats the key {preview(key)}")
        unique[key] = value
    return unique


def _refuse_constant(literal: str) -> float:
    raise StrictJsonError(f"holds the literal {literal}, which JSON does not have")


def _finite_float(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise StrictJsonError(f"holds the number {literal[:40]}, which is beyond the range of a float")
    return number


def _bounded_integer(literal: str) -> int:
    digits = len(literal.lstrip("-"))
    if digits > LIMIT_INTEGER_DIGITS:
        raise StrictJsonError(
            f"holds an integer of {digits} digits, more than the {LIMIT_INTEGER_DIGITS} that are read"
        )
    return int(literal)
