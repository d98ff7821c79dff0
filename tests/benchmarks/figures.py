"""What a benchmark finds: timings of several tools taken in turns, and rows that compare them."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

__all__ = ["Budget", "Case", "Row", "compared", "in_turns", "seconds_of"]

Case = Callable[[], Mapping[str, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """What a figure may be.

    Attributes:
        limit: The largest value that meets it; with `is_least`, the smallest.
        is_ratio: Whether the ratio is held against it, and not the figure itself.
        is_least: Whether more is better.
        text: As it is shown.
    """

    limit: float
    text: str
    is_ratio: bool = True
    is_least: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        section: Name of the benchmark, as `--only` takes it.
        model: Which of the models.
        tool: What was measured.
        what: What of it, such as `"stall per save"`.
        unit: Of the values: `"s"`, or `"B"`, or a plain number of something.
        values: One for each turn. None where the tool was left out.
        ratio: Median over the turns of what this tool took, divided by what the reference took in the same turn.
        reference: The tool, or whatever else, that the ratio is to.
        budget: What it may be; None where none was promised.
        note: A remark; of a tool that was left out, why.
        state_bytes: Size of the model's state.
    """

    section: str
    model: str
    tool: str
    what: str
    unit: str = "s"
    values: tuple[float, ...] = ()
    ratio: float | None = None
    reference: str = ""
    budget: Budget | None = None
    note: str = ""
    state_bytes: int = 0

    @property
    def median(self) -> float | None:
        """The middle of the values."""
        return statistics.median(self.values) if self.values else None

    @property
    def is_met(self) -> bool | None:
        """Whether the budget is met; None where there is nothing to judge."""
        figure = self.ratio if self.budget is None or self.budget.is_ratio else self.median
        if self.budget is None or figure is None:
            return None
        return figure >= self.budget.limit if self.budget.is_least else figure <= self.budget.limit


class _TimeLimitError(Exception):
    """A tool took longer than it may."""


def in_turns(
    cases: Mapping[str, Case], *, turns: int, limit_seconds: float, is_warmed_up: bool = True
) -> tuple[dict[str, dict[str, list[float]]], dict[str, str]]:
    """Run each case once in each turn, A B C A B C, so that what else the machine does meets all of them alike.

    Args:
        cases: What to run, by tool. Each gives figures by name.
        turns: How often.
        limit_seconds: A case that takes longer is left out from then on.
        is_warmed_up: Whether to run one turn more, before the others, that is not counted: it fills caches.

    Returns:
        Figures by tool and name, and for each tool that was left out, why.
    """
    found: dict[str, dict[str, list[float]]] = {}
    left_out: dict[str, str] = {}
    for turn in range(turns + is_warmed_up):
        for tool, case in cases.items():
            if tool in left_out:
                continue
            try:
                with _limited(limit_seconds):
                    figures = case()
            except _TimeLimitError:
                left_out[tool] = f"takes more than {limit_seconds:.0f} s"
            except Exception as error:  # noqa: BLE001 - which tool cannot do what is part of what is measured
                left_out[tool] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]
            else:
                for name, figure in figures.items() if turn or not is_warmed_up else ():
                    found.setdefault(tool, {}).setdefault(name, []).append(figure)
    return {tool: figures for tool, figures in found.items() if tool not in left_out}, left_out


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _TimeLimitError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def compared(values: list[float], reference: list[float] | None) -> float | None:
    """Give the median of the ratios of figures that were taken in the same turns."""
    if not values or not reference:
        return None
    return statistics.median(value / other for value, other in zip(values, reference, strict=True))


def seconds_of(function: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
