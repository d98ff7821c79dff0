"""Asking objects of users' classes for what they may not have."""

from __future__ import annotations

import types
from typing import Any

__all__ = ["filled_cells", "member"]


def member(value: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of any object; the default where it has none, whatever asking for it raises.

    A mapping whose `__getattr__` is its `__getitem__` raises KeyError, where Python's own `getattr` and `hasattr` take
    nothing but an AttributeError for an answer.
    """
    try:
        return getattr(value, name, default)
    except Exception:  # noqa: BLE001 - a user's `__getattr__` may raise anything, and says by it that there is none
        return default


def filled_cells(function: types.FunctionType) -> dict[str, types.CellType]:
    """Return the cells of what a function closes over, by name, but those that are not filled yet."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell for name, cell in cells if _is_filled(cell)}


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asking is the only way to know
    except ValueError:
        return False
    return True
