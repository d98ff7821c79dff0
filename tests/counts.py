"""What the nets did in this run, counted, so that a net that catches nothing because it does nothing is seen."""

from __future__ import annotations

import collections

COUNTS: collections.Counter[str] = collections.Counter()
"""By what was done, in words that follow a number: "operations cut"."""


def count(what: str, number: int = 1) -> None:
    """Add to what is printed at the end of the run."""
    COUNTS[what] += number
