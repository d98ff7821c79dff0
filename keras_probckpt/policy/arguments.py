"""Checks of the numbers a user passes: each is rejected where it was typed, with its value and the reason."""

from __future__ import annotations

import numbers

__all__ = ["checked_count"]


def checked_count(value: object, *, name: str, least: int, reason: str) -> int:
    """Return a whole number that is large enough.

    Args:
        value: What the user passed. A `bool` is not a number here.
        name: The argument it was passed for.
        least: Smallest value that makes sense.
        reason: Why nothing smaller does, to end the error's sentence.

    Raises:
        TypeError: If `value` is not a whole number.
        ValueError: If `value` is below `least`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number of at least {least}, got {value!r} ({type(value).__name__}).")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}: {reason}.")
    return int(value)
