"""What the nets share: a line for each at the end of the run that says how much it did."""

from __future__ import annotations

import pytest

from tests.faults.counts import COUNTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts. A loss or a wrong answer is a test that fails, so here there are only numbers."""
    if COUNTS:
        terminalreporter.section("faults survived")
    for what in sorted(COUNTS):
        terminalreporter.line(f"{COUNTS[what]:>10,} {what}")
