from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.format.strict_json import StrictJsonError, dumps, loads, number_from_json, number_to_json, preview

SURROGATES = st.characters(categories=["Cs"])
TEXT = st.text(st.characters()).filter(lambda text: not has_surrogate_pair(text))
LEAVES = st.none() | st.booleans() | st.integers(-(10**399), 10**399) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    LEAVES | TEXT, lambda children: st.lists(children) | st.dictionaries(TEXT, children), max_leaves=20
)


def has_surrogate_pair(text: str) -> bool:
    """Tell whether two characters of the text would be one in JSON."""
    return any("\ud800" <= a <= "\udbff" and "\udc00" <= b <= "\udfff" for a, b in itertools.pairwise(text))


def read(data: bytes, limit_bytes: int = 10_000) -> object:
    """Read under the name that the expected messages begin with."""
    return loads(data, where="the document", limit_bytes=limit_bytes)


@given(VALUES)
def test_what_is_written_reads_back_the_same(value: object) -> None:
    """Any value, compact or indented, survives, its floats to the last bit and its keys in their order."""
    compact, indented = dumps(value), dumps(value, indent=1)

    assert repr(read(compact)) == repr(value)
    assert repr(read(indented)) == repr(value)


@given(st.text(SURROGATES | st.characters(categories=["Lu"]), min_size=1, max_size=6))
def test_text_with_lone_surrogates_reads_back_or_is_refused(text: str) -> None:
    """No text changes silently: only two surrogates that JSON would join are refused, when they are written."""
    if has_surrogate_pair(text):
        with pytest.raises(StrictJsonError, match="two surrogates in a row"):
            dumps(text)
    else:
        assert read(dumps(text)) == text


@pytest.mark.parametrize(
    ("value", "indent", "expected"),
    [
        ({"z": 1, "a": [True, None, -0.0]}, None, b'{"z":1,"a":[true,null,-0.0]}'),
        ({"a": (1, "é")}, None, b'{"a":[1,"\xc3\xa9"]}'),
        ({"a": [1]}, 1, b'{\n "a": [\n  1\n ]\n}'),
        ("\ud800", None, b'"\\ud800"'),
        ('"\\\n', None, b'"\\"\\\\\\n"'),
    ],
)
def test_the_bytes_written_are_these(value: object, indent: int | None, expected: bytes) -> None:
    """Equal values give equal bytes, on every machine and in every release."""
    assert dumps(value, indent=indent) == expected


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"a":1,"b":2,"a":1}', "the document repeats the key 'a'"),
        (b'{"b":[{"a":1,"a":1}]}', "the document repeats the key 'a'"),
        (b'{"a":NaN}', "the document holds the literal NaN, which JSON does not have"),
        (b"[Infinity]", "the document holds the literal Infinity, which JSON does not have"),
        (b"-Infinity", "the document holds the literal -Infinity, which JSON does not have"),
        (b"[1e999]", "the document holds the number 1e999, which is beyond the range of a float"),
        (b"[-1e999]", "the document holds the number -1e999, which is beyond the range of a float"),
        (b"1" * 401, "the document holds an integer of 401 digits, more than the 400 that are read"),
        (b"-" + b"1" * 401, "the document holds an integer of 401 digits, more than the 400 that are read"),
        (b"[" * 201 + b"]" * 201, "the document is nested deeper than 200"),
        (b'{"a":' * 201 + b"1" + b"}" * 201, "the document is nested deeper than 200"),
        (b'["\\"",' + b"[" * 200 + b"]" * 200 + b"]", "the document is nested deeper than 200"),
        (b'["\\\\",' + b"[" * 200 + b"]" * 200 + b"]", "the document is nested deeper than 200"),
        (b"[" * 9000, "the document is nested deeper than 200"),
        (b"{} {}", "the document is not JSON: Extra data at line 1, column 4"),
        (b"", "the document is not JSON: Expecting value at line 1, column 1"),
        (b'{"a":1', "the document is not JSON: Expecting ',' delimiter at line 1, column 7"),
        (b"\xef\xbb\xbf{}", "the document is not JSON: Unexpected UTF-8 BOM"),
        (b'"a\nb"', "the document is not JSON: Invalid control character at"),
        (b'["\xff"]', "the document is not UTF-8: invalid start byte at byte 2"),
        (b'["\xed\xa0\x80"]', "the document is not UTF-8: invalid continuation byte at byte 2"),
        (b"{\x00}\x00", "the document is not JSON: Expecting property name"),
        (b" " * 9_999 + b"[]", "the document has 10001 bytes, more than the 10000 that are read"),
    ],
)
def test_what_is_ambiguous_or_built_to_exhaust_is_refused(data: bytes, problem: str) -> None:
    """Each is refused with a sentence about itself, and none with a RecursionError or a MemoryError."""
    with pytest.raises(StrictJsonError) as caught:
        read(data)

    assert str(caught.value).startswith(problem)


def test_what_is_just_within_the_limits_is_read() -> None:
    """The limits are where they are said to be: 200 levels, 400 digits, the size given."""
    deep = b"[" * 200 + b"]" * 200

    assert dumps(read(deep)) == deep
    assert read(b"-" + b"1" * 400) == -int("1" * 400)
    assert read(b'"' + b"[" * 300 + b'"') == "[" * 300
    assert read(b'"\\"' + b"[" * 300 + b'"') == '"' + "[" * 300
    assert read(b"[1]", limit_bytes=3) == [1]


def nested(levels: int) -> list[object]:
    """Give a list in a list in a list."""
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({1: "a"}, "JSON keys are strings; the key 1 is a int"),
        ({"a": {None: 1}}, "JSON keys are strings; the key None is a NoneType"),
        ([math.nan], "JSON has no literal for nan; write it with number_to_json"),
        ([-math.inf], "JSON has no literal for -inf; write it with number_to_json"),
        ({"a": {1, 2}}, "JSON has no form for {1, 2}, a set"),
        (b"a", "JSON has no form for b'a', a bytes"),
        (10**400, "an integer has more than 400 digits and would not be read back"),
        (-(10**400), "an integer has more than 400 digits and would not be read back"),
        (nested(201), "the value is nested deeper than 200 or contains itself, and would not be read back"),
        ({"\ud83d\ude00": 1}, "the text '\\ud83d\\ude00' holds two surrogates in a row, which JSON reads as one"),
    ],
)
def test_what_would_not_be_read_back_is_not_written(value: object, problem: str) -> None:
    """A checkpoint that cannot be restored is found out when it is saved."""
    with pytest.raises(StrictJsonError) as caught:
        dumps(value)

    assert str(caught.value).startswith(problem)


def test_a_value_that_contains_itself_is_not_written() -> None:
    """A cycle ends in an error, however it branches."""
    cycle: list[object] = []
    cycle.extend([cycle, cycle])

    with pytest.raises(StrictJsonError, match="contains itself"):
        dumps(cycle)


def test_the_deepest_value_that_is_read_is_written() -> None:
    """Writer and reader agree on depth."""
    value = nested(200)

    assert read(dumps(value)) == value


@given(st.floats())
def test_every_number_survives_logs(number: float) -> None:
    """NaN and the infinities too, through real JSON."""
    back = number_from_json(read(dumps(number_to_json(number))))

    assert repr(back) == repr(number).replace("-nan", "nan")


@pytest.mark.parametrize(
    ("number", "expected"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (0.5, 0.5), (3, 3.0)]
)
def test_numbers_are_written_as_these(number: float, expected: float | str) -> None:
    """Non-finite numbers are strings, finite ones are numbers."""
    assert number_to_json(number) == expected


@pytest.mark.parametrize("value", [True, None, "NaN", "Infinity", "1.0", [1.0], 10**309, math.inf, math.nan, "+inf"])
def test_what_is_no_number_is_not_read_as_one(value: object) -> None:
    """Only numbers and the three strings are read."""
    with pytest.raises(StrictJsonError, match='expected a finite number, "nan", "inf" or "-inf", got '):
        number_from_json(value)


def test_integers_are_read_as_numbers() -> None:
    """Other writers of JSON write 3.0 as 3."""
    assert repr(number_from_json(3)) == "3.0"


def test_a_preview_is_short_however_long_the_value() -> None:
    """A hostile file cannot fill the screen or the log through an error message."""
    assert preview("layer-0/kernel" * 10) == repr("layer-0/kernel" * 10)
    assert len(preview("x" * 10**6)) == 200
    assert len(preview([["x" * 10**6] * 100] * 100)) < 10_000


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"[" + b"[]," * 2**20 + b"[]]", "holds 1048578 arrays and objects, more than the 1048576 that are read"),
        (b"[" + b"0," * 2**22 + b"0]", "holds 4194305 values, more than the 4194304 that are read"),
    ],
    ids=["containers", "values"],
)
def test_a_document_that_takes_many_times_its_bytes_is_refused_before_it_is_decoded(data: bytes, problem: str) -> None:
    """An empty list is two bytes of JSON, and 64 in memory."""
    with pytest.raises(StrictJsonError, match=problem):
        loads(data, where="it", limit_bytes=len(data))


def test_brackets_and_commas_in_text_are_none() -> None:
    """Only what is a value counts."""
    text = '",[]{}' * 10

    assert loads(dumps([text]), where="it", limit_bytes=1000, limit_containers=1) == [text]


def test_a_value_of_too_many_parts_is_not_written() -> None:
    """It could not be read back."""
    with pytest.raises(StrictJsonError, match="too many to read"):
        dumps([[]] * (2**20 + 1))
