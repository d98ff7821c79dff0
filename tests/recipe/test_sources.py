from __future__ import annotations

import dataclasses
import functools
import linecache
import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from keras_probckpt.recipe.sources import is_same_code, remember_source, source_of
from tests.parameter_ids import without_address


def plain(x: Any) -> Any:
    """Explain."""
    return x


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Stand for a user's decorator."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


@logged
def decorated(x: Any) -> Any:
    """Explain."""
    return x


class Outer:
    """Explain."""

    class Inner:
        """Explain."""

        def method(self) -> int:
            """Explain."""
            return 1


INNER = '    class Inner:\n        """Explain."""\n\n        def method(self) -> int:\n            """Explain."""\n'
INNER += "            return 1\n"


@dataclasses.dataclass
class Sizes:
    """Explain."""

    hidden: int = 3


one, other = (lambda x: x + 1), (lambda x: lambda y: x * y)
# fmt: off
long = (1, lambda x: (
    x + 2
))[1]
# fmt: on


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (plain, 'def plain(x: Any) -> Any:\n    """Explain."""\n    return x\n'),
        (decorated, '@logged\ndef decorated(x: Any) -> Any:\n    """Explain."""\n    return x\n'),
        (Outer.Inner, INNER),
        (Outer().Inner().method, INNER.partition("\n\n")[2]),
        (Sizes, '@dataclasses.dataclass\nclass Sizes:\n    """Explain."""\n\n    hidden: int = 3\n'),
        (one, "lambda x: x + 1"),
        (other, "lambda x: lambda y: x * y"),
        (other(3), "lambda y: x * y"),
        (long, "lambda x: (\n    x + 2\n)"),
        (len, ""),
        (int, ""),
        (3, ""),
    ],
    ids=without_address,
)
def test_a_source_is_that_of_the_function_or_class_and_nothing_around_it(value: Any, text: str) -> None:
    """Of several lambdas in one line the right one, of what is wrapped the inner one."""
    assert source_of(value) == text


def test_a_file_that_was_edited_since_says_nothing(tmp_path: pathlib.Path) -> None:
    """What stands at that line now is another function."""
    file = tmp_path / "edited.py"
    file.write_text("def f(x):\n    return x\n")
    found: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec", dont_inherit=True), found)  # noqa: S102 - as an import does
    before = source_of(found["f"])
    file.write_text("def f(x):\n    return 1 - x\n")
    linecache.checkcache(str(file))

    assert before == "def f(x):\n    return x\n"
    assert source_of(found["f"]) == ""


def test_what_was_unpickled_keeps_the_source_that_was_recorded() -> None:
    """Until it is gone."""
    function = pickle.loads(cloudpickle.dumps(lambda x: x + 3))  # noqa: S301 - made in the same line

    remember_source(function, "lambda x: x + 3.0")
    remember_source(3, "3")

    assert source_of(function) == "lambda x: x + 3.0"


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("lambda x: x", "lambda  x :  (x)", True),
        ("def f(x):\n    return x\n", "    def f(x):\n        'Why.'\n\n        return x  # why\n", True),
        ("def f(x): return x", "", True),
        ("def f(x):\n    return x\n", "def f(x):\n    return -x\n", False),
        ("def f(x):\n    return x\n", "def g(x):\n    return x\n", False),
        ("lambda x: x", "lambda x: x if", False),
        ("one (", "other (", False),
    ],
)
def test_code_is_the_same_whatever_its_layout(one: str, other: str, is_same: bool) -> None:  # noqa: FBT001 - a column of a table
    """Comments, docstrings, parentheses, indentation."""
    assert is_same_code(one, other) is is_same


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n  return 1\0",
        "(" * 5000 + ")" * 5000,
        "f" + ".a" * 200_000,
        "-" * 100_000 + "1",
        "1" + "+1" * 200_000,
        "lambda: " * 20_000 + "1",
        "if a:\n pass\n" + "elif a:\n pass\n" * 20_000,
        "9" * 5000,
        "x = '\ud800'",
        "x = 1\n" * 200_000,
    ],
    ids=lambda text: f"{text[:12]!r} of {len(text)}",
)
def test_text_that_breaks_the_parser_is_another_text(text: str) -> None:
    """A file may hold any: it is compared as it stands, and no error of Python's comes of it."""
    assert not is_same_code(text, "def f():\n    return 1\n")
    assert is_same_code(text, text)
