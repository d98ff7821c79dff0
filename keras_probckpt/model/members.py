"""Asking objects of users' classes for what they may not have."""

from __future__ import annotations

from typing import Any

__all__ = ["member"]


def member(value: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of any object; the default where it has none, whatever asking for it raises.

    A mapping whose `__getattr__` is its `__getitem__` raises KeyError, where Python's own `getattr` and `hasattr` take
    nothing but an AttributeError for an answer.
    """
    try:
        return getattr(value, name, default)
    except Exception:  # noqa: BLE001 - a user's `__getattr__` may raise anything, and says by it that there is none
        return default
