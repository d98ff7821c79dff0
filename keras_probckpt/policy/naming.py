"""What checkpoints are called: names chosen by us, and names chosen by a user's template."""

from __future__ import annotations

import difflib
import re
import string
from collections.abc import Iterable, Mapping, Sequence

from keras_probckpt.records import Manifest

__all__ = [
    "format_name",
    "is_template",
    "next_run_number",
    "placeholders_of",
    "require_path",
    "require_plain_parents",
    "step_name",
]

_LONGEST_NAME_BYTES = 200
_LARGEST_OTHER_RUN_NUMBER = 2**31
_FORMATTER = string.Formatter()


def step_name(step: int, *, run: str, run_number: int) -> str:
    """Name a checkpoint by its step, and in every run of a directory but the first by the run too: names never collide.

    Args:
        step: Completed optimizer updates, at least 0.
        run: Identifier of the run, 8 hexadecimal digits.
        run_number: 1 for the first run of its directory.
    """
    if step < 0:
        raise ValueError(
            f"step must be at least 0, got {step}: it counts completed optimizer updates. Nothing was saved."
        )
    return f"step-{step:010d}" if run_number == 1 else f"step-{step:010d}-{run}"


def next_run_number(infos: Iterable[Manifest], *, others: Iterable[Manifest] = ()) -> int:
    """Number a new run: one more than the highest in its directory, 1 where there is none.

    Args:
        infos: One's own checkpoints there.
        others: Those of others. Their numbers count up to 2**31: no training comes so far, and what a stranger writes
            must not leave one's own runs without a number.
    """
    numbers = [info.run_number for info in infos]
    numbers += [info.run_number for info in others if info.run_number <= _LARGEST_OTHER_RUN_NUMBER]
    return max(numbers, default=0) + 1


def is_template(last_part: str) -> bool:
    """Tell whether the last part of a `filepath` names each checkpoint, rather than the directory of the run."""
    return "{" in last_part


def require_path(filepath: str) -> None:
    """Refuse an empty path, as an unset variable gives: it would make the working directory the run directory.

    Raises:
        ValueError: With what to write instead.
    """
    if not filepath.strip():
        raise ValueError(
            f"The filepath is empty: {filepath!r}. Nothing was saved. Name a run directory, such as runs/exp1; '.' is "
            "the working directory."
        )


def require_plain_parents(parts: Sequence[str]) -> None:
    """Refuse a `filepath` with a placeholder before its last part: one run has one directory.

    Args:
        parts: Of the path as the user gave it.

    Raises:
        ValueError: With the part that has one.
    """
    for part in parts[:-1]:
        if is_template(part):
            raise ValueError(
                f"The filepath has a placeholder in {part!r}, and only the last part of a filepath may hold {{...}}: "
                "what precedes it is the directory of the run. Nothing was saved. Write, for one, "
                "runs/exp1/{epoch:02d}."
            )


def placeholders_of(template: str) -> tuple[str, ...]:
    """List the names a template asks for, in order.

    Raises:
        ValueError: If the template is malformed, or a placeholder is anything but a name with a format: a template is
            data, so it may not reach into objects.
    """
    return tuple(field for _, field, _, _ in _parsed(template) if field is not None)


def format_name(
    template: str, *, epoch: int | None, batch: int | None, logs: Mapping[str, float], step: int | None = None
) -> str:
    """Fill in a template as `ModelCheckpoint` does.

    Args:
        template: The last part of a `filepath`, such as `"{epoch:02d}-{val_loss:.2f}"`.
        epoch: Number of the epoch, counted from 1; `None` outside of `fit`.
        batch: Number of the batch, counted from 1; `None` at an epoch's end, where `{batch}` is unknown.
        logs: Metrics by name. One called `batch` or `step` takes that name's place.
        step: Completed optimizer updates.

    Returns:
        One plain part of a path.

    Raises:
        KeyError: If a placeholder is unknown.
        ValueError: If the template is malformed, a format does not suit its value, or the result is no plain name.
    """
    counts = {"batch": batch, "step": step, **logs, "epoch": epoch}
    values = {name: value for name, value in counts.items() if value is not None}
    parts = []
    for literal, field, spec, conversion in _parsed(template):
        parts.append(literal)
        if field is not None:
            value = _looked_up(field, values=values, template=template)
            parts.append(_formatted(value, field=field, spec=spec, conversion=conversion, template=template))
    return _checked_name("".join(parts), template=template)


_Piece = tuple[str, str | None, str, str | None]


def _parsed(template: str) -> list[_Piece]:
    """Split into literal text, placeholder, format and conversion, as `string.Formatter.parse` does."""
    try:
        pieces = [(text, field, spec or "", conversion) for text, field, spec, conversion in _FORMATTER.parse(template)]
    except ValueError as error:
        raise ValueError(
            f"The filepath template {template!r} is malformed: {error}. Nothing was saved. To mean a brace, double it."
        ) from error
    for _, field, spec, _ in pieces:
        problem = None if field is None else _problem_with(field, spec=spec)
        if problem is not None:
            raise ValueError(
                f"The filepath template {template!r} {problem}. Nothing was saved. Write a name and a format, such as "
                "{epoch:02d}."
            )
    return pieces


def _problem_with(field: str, *, spec: str) -> str | None:
    if not field or field.isdigit():
        return f"has the placeholder {{{field}}}, which names nothing"
    if "." in field or "[" in field:
        return f"reaches into a value with {{{field}}}"
    if "{" in spec:
        return f"has a placeholder inside the format of {{{field}}}"
    # format() would allocate the text before its length could be checked.
    if re.search(r"\d{4}", spec):
        return f"asks for a width of thousands in {{{field}:{spec}}}"
    return None


def _looked_up(field: str, *, values: Mapping[str, float], template: str) -> float:
    if field in values:
        return values[field]
    closest = difflib.get_close_matches(field, values, n=1)
    hint = f" Did you mean {{{closest[0]}}}?" if closest else ""
    if field == "batch":
        hint = " {batch} is known only at saves inside of an epoch: pass save_freq=<number of batches>."
    known = ", ".join(sorted(values)) or "no names"
    raise KeyError(
        f"The filepath template {template!r} asks for {{{field}}}; known are {known}.{hint} Nothing was saved."
    )


def _formatted(value: float, *, field: str, spec: str, conversion: str | None, template: str) -> str:
    try:
        return format(_FORMATTER.convert_field(value, conversion), spec)
    except ValueError as error:
        raise ValueError(
            f"The filepath template {template!r} formats {field} = {value!r} with {spec!r}: {error}. Nothing was "
            "saved. Whole numbers take formats such as 02d, metrics such as .2f."
        ) from error


def _checked_name(name: str, *, template: str) -> str:
    problem = None
    if not name:
        problem = "is empty"
    elif name.startswith("."):
        problem = "starts with a dot, which hides it"
    elif any(character in name for character in "/\\\0"):
        problem = "is not one plain part of a path"
    elif len(name.encode()) > _LONGEST_NAME_BYTES:
        problem = f"takes {len(name.encode())} bytes, more than {_LONGEST_NAME_BYTES}"
    if problem is not None:
        raise ValueError(
            f"The filepath template {template!r} gives the name {name!r}, which {problem}. Nothing was saved."
        )
    return name
