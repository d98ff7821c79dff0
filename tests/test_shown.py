"""Text of a stranger's file, where people read it."""

from __future__ import annotations

import ast
import dataclasses
import logging
import pathlib
import unicodedata

import pytest

from keras_probckpt import errors
from keras_probckpt.records import Requirement
from keras_probckpt.shown import shown, shown_lines

SPOOF = "\x1b[2J\x1b[1A\r\n  - import fractions\x07\x85\u2028\u202e\u2066\x9b31m\u200b\ud800"
KINDS = [getattr(errors, name) for name in errors.__all__ if name != "CheckpointError"]


def is_plain(text: str) -> bool:
    """Tell whether a terminal shows every character of it as what it is, and no forged line."""
    hidden = [c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp", "Cs"}]
    return not hidden and "\n  - import fractions" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/exp1", "runs/exp1"),
        (
            "Zo\u00eb, \u4e2d\u6587 and \u043c\u043e\u0434\u0435\u043b\u044c",
            "Zo\u00eb, \u4e2d\u6587 and \u043c\u043e\u0434\u0435\u043b\u044c",
        ),
        ("a\nb\x1b[1A", "a\\nb\\x1b[1A"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("num\u0440y", "num\\u0440y"),
        ("\uff4e\uff55\uff4d", "\\uff4e\\uff55\\uff4d"),
        ("a\xa0b\ud800", "a\\xa0b\\ud800"),
    ],
)
def test_text_is_shown_as_what_it_is(text: str, expected: str) -> None:
    """Names as people write them stay; what hides, turns around or looks like something else is an escape."""
    assert shown(text) == expected
    assert is_plain(shown(text + SPOOF))


def test_long_text_is_cut_and_says_so() -> None:
    """A message is never as long as a file."""
    assert shown("x" * 50, limit_characters=10) == "xxxxx... (40 characters more) ...xxxxx"
    assert len(shown_lines("\n" * 10**6)) < 20_000


def test_lines_are_indented() -> None:
    """None passes for an item of a list of ours."""
    assert shown_lines("it fails\n  - import fractions\x1b") == "it fails\n    - import fractions\\x1b"


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_of_an_error_reaches_people_raw(kind: type[errors.CheckpointError]) -> None:
    """Whatever field of whatever error holds a stranger's text; the field itself is what was given."""
    kinds = {field.name: str(field.type) for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    fields = {
        name: 2 if "int" in of else (SPOOF,) if "tuple" in of or "Seq" in of else SPOOF for name, of in kinds.items()
    }

    error = kind(**fields)

    assert is_plain(str(error))
    assert {name: getattr(error, name) for name in kinds} == fields


def test_what_a_log_line_is_filled_with_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Every line of the package passes its logger."""
    logging.getLogger("keras_probckpt").warning("%s was found", SPOOF)

    assert is_plain(caplog.messages[0])


def test_a_requirement_names_code_in_ascii() -> None:
    """A look-alike of a module is none of its letters."""
    assert (
        Requirement(kind="import", module="num\u0440y", name="\u0430bs\n").describe()
        == "import num\\u0440y.\\u0430bs\\n"
    )


PACKAGE = pathlib.Path(errors.__file__).parent
LOGS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def calls_in(source: pathlib.Path) -> list[ast.Call]:
    """List the calls in a module."""
    return [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Call)]


def test_every_log_line_is_filled_in_by_the_logger() -> None:
    """A text that was put together before would go around the place where what is put in is made fit to be shown."""
    around = [
        f"{source.name}:{call.lineno}"
        for source in PACKAGE.rglob("*.py")
        for call in calls_in(source)
        if isinstance(call.func, ast.Attribute)
        and ast.unparse(call.func.value) in {"_logger", "logger", "logging"}
        and call.func.attr in LOGS
        and not (isinstance(call.args[0], ast.Constant))
    ]

    assert around == []


def test_every_warning_of_storage_and_restore_shows_what_it_names() -> None:
    """Each value in it is shown, is a `repr`, or is an error of ours, which shows its own."""
    sources = [*PACKAGE.joinpath("storage").glob("*.py"), PACKAGE / "restore.py"]
    around = [
        f"{source.name}:{call.lineno}: {ast.unparse(value.value)}"
        for source in sources
        for call in calls_in(source)
        if ast.unparse(call.func) == "warnings.warn"
        for value in ast.walk(call.args[0])
        if isinstance(value, ast.FormattedValue)
        and value.conversion != ord("r")
        and ast.unparse(value.value).split("(")[0] not in {"shown", "shown_lines", "error", "problems"}
    ]

    assert around == []
