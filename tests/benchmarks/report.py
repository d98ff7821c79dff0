"""The rows of a run as a table on the terminal, as Markdown for README.md, and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import platform
from collections.abc import Iterable, Sequence

from keras_probckpt.training.versions import library_versions
from tests.benchmarks.figures import Row

__all__ = ["conditions", "markdown", "table", "to_json"]

HEADER = ("model", "what", "tool", "median", "spread", "ratio", "to", "budget", "note")
# From the unit on, the first that leaves a number above 1 is taken.
SCALES = {"s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")), "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))}


def conditions(directory: pathlib.Path) -> dict[str, str]:
    """Say on what the figures were taken."""
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, load {load:.1f} at the start",
        "versions": versions,
        "directory": f"on {_file_system_of(directory)}",
        "page cache": "warm: nothing is dropped from it, so what is read was written or read shortly before",
    }


def _file_system_of(directory: pathlib.Path) -> str:
    """Name the type of the file system of a directory."""
    mounts = pathlib.Path("/proc/self/mounts")
    found = ("", "an unknown file system")
    for line in mounts.read_text(encoding="utf-8").splitlines() if mounts.exists() else ():
        _, place, kind, *_ = line.split(" ")
        if directory.resolve().is_relative_to(place) and len(place) > len(found[0]):
            found = (place, kind)
    return found[1]


def table(rows: Iterable[Row]) -> str:
    """Lay the rows out in columns."""
    lines = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown(rows: Iterable[Row]) -> str:
    """Lay the rows out as README.md shows them: for each thing that was measured a table of tools by models."""
    rows = list(rows)
    tables: dict[str, list[Row]] = {}
    for row in rows:
        if row.values:
            tables.setdefault(row.what, []).append(row)
    left_out = [f"- Left out: {row.tool} on {row.model}: {row.note}." for row in rows if not row.values and row.note]
    return "\n\n".join([*(_table_of(what, found) for what, found in tables.items()), "\n".join(left_out)]).rstrip()


def _table_of(what: str, rows: Sequence[Row]) -> str:
    models, tools = (list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("model", "tool"))
    cells = {(row.tool, row.model): _cell(row) for row in rows}
    references = " or ".join(dict.fromkeys(row.reference for row in rows if row.ratio is not None))
    lines = [
        (what, *models),
        ("---",) * (len(models) + 1),
        *((tool, *(cells.get((tool, model), "") for model in models)) for tool in tools),
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\nIn brackets: the ratio to {references}." if references else table


def _cell(row: Row) -> str:
    ratio = "" if row.ratio is None else f" ({row.ratio:.3g})"
    budget = f", {row.budget.text}: {_verdict(row)}" if row.budget else ""
    return f"{_shown(row.median or 0.0, row.unit)}{ratio}{budget}"


def _verdict(row: Row) -> str:
    return {True: "met", False: "**not met**", None: ""}[row.is_met]


def to_json(rows: Iterable[Row], told: dict[str, str]) -> str:
    """Write down every figure of a run."""
    found = [{**dataclasses.asdict(row), "median": row.median, "is_met": row.is_met} for row in rows]
    return json.dumps({"conditions": told, "rows": found}, indent=1)


def _cells(row: Row) -> tuple[str, ...]:
    budget = f"{row.budget.text}: {_verdict(row)}" if row.budget else ""
    if not row.values:
        return (row.model, row.what, row.tool, "", "", "", "", budget, row.note)
    low, high = min(row.values), max(row.values)
    spread = "" if low == high else f"{_shown(low, row.unit)} - {_shown(high, row.unit)}"
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    median = _shown(row.median or 0.0, row.unit)
    return (row.model, row.what, row.tool, median, spread, ratio, row.reference if ratio else "", budget, row.note)


def _shown(value: float, unit: str) -> str:
    for scale, name in SCALES.get(unit, ()):
        if value >= scale or name in {"µs", "B"}:
            return f"{value / scale:.3g} {name}"
    return f"{value:.2f} {unit}"
