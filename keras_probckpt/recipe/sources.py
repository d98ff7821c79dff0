"""The text that functions and classes were made of, where that is certain.

Python finds a source by a file's name and a line. The file may have been edited since, or be that of the script from
which a function was once pickled: text counts only where it compiles to the very code of the function.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import linecache
import sys
import textwrap
import types
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["functions_of", "is_same_code", "remember_source", "source_of"]

_MOST_TEXT = 2**20
# Of functions and classes that were unpickled: their file may be gone, or another's.
_REMEMBERED: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class _Span:
    """A function, class or lambda in a file: its name, first line and text, and where the body of a lambda is."""

    name: str
    line: int
    text: str
    body: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))


@dataclasses.dataclass(frozen=True)
class _File:
    """What a file defines: the code of everything in it, functions and classes by qualified name, and lambdas."""

    codes: frozenset[types.CodeType]
    definitions: Sequence[_Span]
    lambdas: Sequence[_Span]


def source_of(value: Any) -> str:
    """Return the source text of a function or class, of a lambda nothing but itself; empty where it is not certain."""
    if isinstance(value, (type, types.FunctionType)) and value in _REMEMBERED:
        return _REMEMBERED[value]
    functions = functions_of(value)
    if isinstance(value, type):
        return _source_of_class(value, functions)
    return _source_of_function(functions[0]) if functions else ""


def remember_source(value: Any, source: str) -> None:
    """Keep the recorded source of what was unpickled, so that a later checkpoint records it again."""
    if source and isinstance(value, (type, types.FunctionType)):
        _REMEMBERED[value] = source


def is_same_code(one: str, other: str) -> bool:
    """Whether two texts differ in nothing but layout, comments and docstrings. One that is not known may be any."""
    return not one or not other or one == other or _meaning(one) == _meaning(other)


def functions_of(value: Any) -> list[types.FunctionType]:
    """Return the function that a function or method is, and those that a class defines, without what wraps them."""
    items = vars(value).values() if isinstance(value, type) else (value,)
    unwrapped = (inspect.unwrap(part) for item in items for part in _parts(item))
    return [function for function in unwrapped if isinstance(function, types.FunctionType)]


def _parts(item: Any) -> tuple[Any, ...]:
    if isinstance(item, property):
        return item.fget, item.fset, item.fdel
    if isinstance(item, functools.cached_property):
        return (item.func,)
    return (item.__func__,) if isinstance(item, (staticmethod, classmethod, types.MethodType)) else (item,)


def _source_of_function(function: types.FunctionType) -> str:
    code = function.__code__
    file = _file_of(code.co_filename, function.__globals__)
    if code not in file.codes:
        return ""
    spans = file.lambdas if code.co_name == "<lambda>" else file.definitions
    found = [span for span in spans if span.line == code.co_firstlineno]
    if len(found) > 1:
        found = sorted((span for span in found if _has_all(span, code)), key=lambda span: len(span.text))
    return found[0].text if found else ""


def _has_all(span: _Span, code: types.CodeType) -> bool:
    """Whether the body of a lambda has all of a code; of one in another, so has the body of the other."""
    places = [
        ((line, column), (end_line, end_column))
        for line, end_line, column, end_column in getattr(code, "co_positions", tuple)()  # From Python 3.11 on.
        if line is not None and column is not None and (column, end_column) != (0, 0)
    ]
    start, stop = span.body
    return bool(places) and all(start <= first and last <= stop for first, last in places)


def _source_of_class(cls: type, functions: Sequence[types.FunctionType]) -> str:
    own = [function for function in functions if function.__qualname__.startswith(f"{cls.__qualname__}.")]
    for function in own:
        file = _file_of(function.__code__.co_filename, function.__globals__)
        if file.codes:
            line, defined = function.__code__.co_firstlineno, [f for f in own if _is_same_file(f, function)]
            is_certain = all(other.__code__ in file.codes for other in defined)
            return _text_of_class(cls, file, line) if is_certain else ""
    # Nothing in it tells where it is from, but the module in which it is found by its name.
    module = sys.modules.get(cls.__module__)
    is_there = getattr(module, cls.__qualname__, None) is cls and getattr(module, "__file__", None) is not None
    return _text_of_class(cls, _file_of(str(module.__file__), vars(module)), None) if module and is_there else ""


def _is_same_file(one: types.FunctionType, other: types.FunctionType) -> bool:
    return one.__code__.co_filename == other.__code__.co_filename


def _text_of_class(cls: type, file: _File, line: int | None) -> str:
    found = [span for span in file.definitions if span.name == cls.__qualname__]
    if line is not None:
        found = [span for span in found if span.line <= line < span.line + span.text.count("\n") + 1]
    return found[0].text if len(found) == 1 else ""


def _file_of(name: str, module_globals: dict[str, Any]) -> _File:
    linecache.checkcache(name)
    return _parsed("".join(linecache.getlines(name, module_globals)))


@functools.lru_cache(maxsize=16)
def _parsed(text: str) -> _File:
    try:
        tree = ast.parse(text)
        code = compile(tree, "<source>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _File(frozenset(), (), ())
    lines = text.splitlines(keepends=True)
    return _File(frozenset(_codes_in(code)), tuple(_definitions_in(tree, lines, "")), tuple(_lambdas_in(tree, lines)))


def _codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes_in(constant)


def _definitions_in(node: ast.AST, lines: Sequence[str], prefix: str) -> Iterator[_Span]:
    for child in ast.iter_child_nodes(node):
        inner = prefix
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            yield _Span(f"{prefix}{child.name}", first, "".join(lines[first - 1 : child.end_lineno]))
            inner = f"{prefix}{child.name}." + ("" if isinstance(child, ast.ClassDef) else "<locals>.")
        yield from _definitions_in(child, lines, inner)


def _lambdas_in(tree: ast.AST, lines: Sequence[str]) -> Iterator[_Span]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            yield _Span("<lambda>", node.lineno, _text_of(node, lines), (_start(node.body), _stop(node.body)))


def _text_of(node: ast.expr, lines: Sequence[str]) -> str:
    (first, start), (last, stop) = _start(node), _stop(node)
    part = [line.encode() for line in lines[first - 1 : last]]
    part[-1] = part[-1][:stop]
    part[0] = part[0][start:]
    return b"".join(part).decode()


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _stop(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def _meaning(text: str) -> str:
    """Write the syntax of a source text, without docstrings; the text itself where it is none that can be parsed."""
    if len(text) > _MOST_TEXT:
        return text
    try:
        return _syntax(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # A file may hold any text, nested however deep.
        return text


def _syntax(text: str) -> str:
    tree = ast.parse(textwrap.dedent(text) if text[:1].isspace() else f"(\n{text}\n)" if _is_lambda(text) else text)
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            and ast.get_docstring(node) is not None
        ):
            del node.body[0]
    return ast.dump(tree)


def _is_lambda(text: str) -> bool:
    return text.startswith("lambda")
