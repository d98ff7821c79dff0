"""Names of test parameters that are the same in each process, so that several can share the tests among them."""

from __future__ import annotations

import re

__all__ = ["without_address"]


def without_address(value: object) -> str:
    """Return what `str` says of a value, less its address in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
