"""The models of the zoo that do not come back yet: name and reason of each."""

from __future__ import annotations

__all__ = ["PENDING"]

PENDING: tuple[tuple[str, str], ...] = ()
