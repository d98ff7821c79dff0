"""The functions of a user's that hear of each checkpoint, such as a tracker's: no failure of theirs fails a save."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from keras_probckpt.records import CheckpointInfo

__all__ = ["CommitHooks"]

_logger = logging.getLogger("keras_probckpt")


class CommitHooks:
    """Calls functions with each committed checkpoint; of what they raise it warns once, and counts.

    Args:
        functions: To be called in this order, each whether or not those before it failed.
    """

    def __init__(self, functions: Iterable[Callable[[CheckpointInfo], object]]) -> None:
        self._functions = tuple(functions)
        self._failures = 0

    def call(self, info: CheckpointInfo) -> None:
        """Tell all of a checkpoint. An interrupt is raised as it is."""
        for function in self._functions:
            self._attempt(function, info)

    def _attempt(self, function: Callable[[CheckpointInfo], object], info: CheckpointInfo) -> None:
        try:
            function(info)
        except Exception as error:
            self._failures += 1
            if self._failures == 1:
                _logger.warning(
                    "A function of on_commit failed with %s: %s. %s is saved, and training goes on; it is called for "
                    "the next ones too, and what else it raises is counted.",
                    type(error).__name__,
                    error,
                    info.path,
                    exc_info=error,
                )

    def report(self) -> None:
        """Say how often one failed, if that was more than the once that was warned of, and begin to count anew."""
        failures, self._failures = self._failures, 0
        if failures > 1:
            _logger.warning("The functions of on_commit failed %d times in this training.", failures)
