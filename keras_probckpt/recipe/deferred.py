"""References to an object that is still being made, as from an agent to the model that has the agent as an argument.

What a function or a plain object holds is unpickled before the object exists to which it leads back. It gets a
reference, and that gives way to the object as soon as it is there.
"""

from __future__ import annotations

import gc
import types
from typing import Any

from keras_probckpt.errors import MalformedRecipeError

__all__ = ["Deferred"]


class Deferred:
    """Stands for an object that is still being made.

    Args:
        where: Its place, for error messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where

    def __getattr__(self, name: str) -> Any:
        """Tell that there is nothing to ask yet."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise self._error(f"its {name} is asked for")

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Tell that there is nothing to call yet."""
        raise self._error("it is called")

    def _error(self, problem: str) -> MalformedRecipeError:
        return MalformedRecipeError(
            where=self._where, problem=f"{problem} while it is being made, by something that leads back to it"
        )

    def give_way(self, value: Any) -> None:
        """Put the object, now that it is made, wherever this stands."""
        for holder in gc.get_referrers(self):
            if isinstance(holder, dict):
                _replace(holder, list(holder.items()), self, value)
            elif isinstance(holder, list):
                _replace(holder, list(enumerate(holder)), self, value)
            elif isinstance(holder, types.CellType):
                holder.cell_contents = value
            elif hasattr(holder, "__dict__") and isinstance(vars(holder), dict):
                _replace(vars(holder), list(vars(holder).items()), self, value)


def _replace(holder: Any, items: list[tuple[Any, Any]], deferred: Deferred, value: Any) -> None:
    for key, item in items:
        if item is deferred:
            holder[key] = value
