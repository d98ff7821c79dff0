"""Text that comes from a file, a lock's note or a directory's name, made fit to be shown to people."""

from __future__ import annotations

import logging
import os
import unicodedata

__all__ = ["shown", "shown_lines"]

_LIMIT_CHARACTERS = 1000
_LIMIT_LINES_CHARACTERS = 16_000


def shown(text: object, *, limit_characters: int = _LIMIT_CHARACTERS, is_code: bool = False) -> str:
    r"""Give text as one line in which nothing hides, erases, forges or turns around anything.

    Control characters, line breaks, marks of direction, what has no width or is no character, and letters that are only
    other forms of plain ones come as escapes; a letter of another script does where it stands in a word of Latin ones.

    Args:
        text: The text.
        limit_characters: Longer text is cut in the middle, and says so.
        is_code: Whether it names code: then everything beyond ASCII comes as an escape.

    Example:
        >>> shown("os.system\x1b[1A\n  - import math")
        'os.system\\x1b[1A\\n  - import math'
    """
    whole = str(text)
    more = len(whole) - limit_characters
    if more > 0:
        half = limit_characters // 2
        whole = f"{whole[:half]}... ({more} characters more) ...{whole[-half:]}"
    if whole.isascii() and whole.isprintable():
        return whole
    kept = [_shown_character(character, is_code=is_code) for character in whole]
    return "".join(kept if is_code else _without_look_alikes(kept))


def shown_lines(text: object) -> str:
    """Give text of several lines likewise; each but the first is indented, so that none passes for one of ours."""
    lines = str(text).split("\n")
    joined = "\n  ".join(shown(line) for line in lines)
    more = len(joined) - _LIMIT_LINES_CHARACTERS
    return f"{joined[:_LIMIT_LINES_CHARACTERS]}\n  ... ({more} characters more)" if more > 0 else joined


def _shown_character(character: str, *, is_code: bool) -> str:
    is_plain = character.isascii() or (not is_code and unicodedata.normalize("NFKC", character) == character)
    return character if is_plain and character.isprintable() else _escaped(character)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def _without_look_alikes(characters: list[str]) -> list[str]:
    """Escape the letters of other scripts that stand in a word with a letter of ASCII."""
    found: list[str] = []
    word: list[str] = []
    for character in [*characters, ""]:
        if character.isalpha():
            word.append(character)
            continue
        is_mixed = any(letter.isascii() for letter in word)
        found += [_escaped(letter) if is_mixed and not _is_latin(letter) else letter for letter in word]
        found.append(character)
        word = []
    return found


def _is_latin(letter: str) -> bool:
    return len(letter) > 1 or unicodedata.name(letter, "").startswith("LATIN ")


def _show_arguments(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(shown_lines(item) if isinstance(item, (str, os.PathLike)) else item for item in record.args)
    return True


# The one place that every log line passes: what is put into it is text of others.
logging.getLogger("keras_probckpt").addFilter(_show_arguments)
