"""How long training stands still for a save, and how much longer an epoch takes."""

from __future__ import annotations

import pathlib
import statistics
import sys
import time
from typing import Any

import tf_keras as tfk

from tests.benchmarks.figures import Budget, Case, Row, compared, in_turns
from tests.benchmarks.peers import KERAS, NOTHING, OURS, Make, callbacks, empty
from tests.benchmarks.scales import Trained
from tests.benchmarks.settings import Settings

SECTION = "stall"
TINY_BUDGET = Budget(limit=0.002, text="<= 2 ms", is_ratio=False)
LARGE_BUDGET = Budget(limit=0.02, text="<= 2 % of .keras")


class Stalls:
    """Two callbacks that time what the one between them does before the first batch and at the end of an epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0
        self.before = tfk.callbacks.LambdaCallback(on_train_begin=self._begin, on_epoch_end=self._begin)
        self.after = _After(self._end)

    def _begin(self, *_: Any) -> None:
        self._start = time.perf_counter()

    def _end(self) -> None:
        self.seconds.append(time.perf_counter() - self._start)


class _After(tfk.callbacks.Callback):
    def __init__(self, end: Any) -> None:
        super().__init__()
        self._end = end

    def on_train_begin(self, logs: Any = None) -> None:
        """Take the time."""
        self._end()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Take the time."""
        self._end()


def measure(settings: Settings) -> list[Row]:
    """Train each model with each tool in turns."""
    rows: list[Row] = []
    for name in settings.scales:
        print(f"measuring: {SECTION} of {name}", file=sys.stderr, flush=True)
        rows += _measure_one(name, settings)
    return rows


def _measure_one(name: str, settings: Settings) -> list[Row]:
    subject = Trained(name)
    tools = callbacks(are_all=settings.has_peers and name != "fewer")
    cases: dict[str, Case] = {NOTHING: lambda: _train(subject, None, settings.directory)}
    for tool, make in tools.items():
        cases[tool] = lambda make=make: _train(subject, make, settings.directory)
    found, left_out = in_turns(cases, turns=settings.turns, limit_seconds=settings.limit_seconds)
    rows = [_stall_row(subject, tool, found) for tool in tools if tool in found]
    rows += [_first_row(subject, found)]
    rows += [_epoch_row(subject, tool, found) for tool in tools if tool in found]
    rows += [Row(section=SECTION, model=name, tool=tool, what="left out", note=why) for tool, why in left_out.items()]
    return rows


def _train(subject: Trained, make: Make | None, directory: pathlib.Path) -> dict[str, float]:
    """Train some epochs: the time of one, and of what the callback did in it; its first save is a figure of its own.

    What it does before the first batch counts as of the first save.
    """
    place = empty(directory / "stall")
    stalls = Stalls()
    used = [] if make is None else [stalls.before, make(place), stalls.after]
    start = time.perf_counter()
    subject.fit(subject.scale.epochs, *used)
    figures = {"epoch": (time.perf_counter() - start) / subject.scale.epochs}
    if stalls.seconds:
        before_training, first, *later = stalls.seconds
        figures |= {"first": before_training + first, "stall": statistics.mean(later)}
    empty(place)
    return figures


def _stall_row(subject: Trained, tool: str, found: dict[str, dict[str, list[float]]]) -> Row:
    budgets = {"tiny": TINY_BUDGET, "large": LARGE_BUDGET} if tool == OURS else {}
    values = found[tool]["stall"]
    reference = found.get(KERAS, {}).get("stall")
    return Row(
        section=SECTION,
        model=subject.name,
        tool=tool,
        what="stall per save",
        values=tuple(values),
        ratio=compared(values, reference),
        reference=KERAS,
        budget=budgets.get(subject.name),
        state_bytes=subject.state_bytes,
    )


def _first_row(subject: Trained, found: dict[str, dict[str, list[float]]]) -> Row:
    values = found.get(OURS, {}).get("first", [])
    return Row(
        section=SECTION,
        model=subject.name,
        tool=OURS,
        what="stall of the first save",
        values=tuple(values),
        ratio=compared(values, found.get(KERAS, {}).get("first")),
        reference=KERAS,
        note="the recipe is written down once for each fit",
    )


def _epoch_row(subject: Trained, tool: str, found: dict[str, dict[str, list[float]]]) -> Row:
    values = found[tool]["epoch"]
    return Row(
        section=SECTION,
        model=subject.name,
        tool=tool,
        what="epoch with a save",
        values=tuple(values),
        ratio=compared(values, found[NOTHING]["epoch"]),
        reference=NOTHING,
    )
