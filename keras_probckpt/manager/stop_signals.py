"""Signals that ask a process to stop, held back while a training saves itself.

2026-11-25: a module of its own, for what is said by signals is said to the whole process: one place takes the handlers
over, and one gives them back.
"""

from __future__ import annotations

import logging
import signal
import threading
import types
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["StopSignals"]

_logger = logging.getLogger("keras_probckpt")

# What schedulers send before they take a machine away, and what Ctrl-C is.
_NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")


class StopSignals:
    """Takes signals over from the handlers there are, until they are passed on to them.

    A second Ctrl-C is not held back, nor is any signal that comes when no training is running any more.

    Args:
        is_training: Tells whether the training that they are held back for is still running.
    """

    def __init__(self, *, is_training: Callable[[], bool]) -> None:
        self._is_training = is_training
        self._handlers: Mapping[int, Any] = {}
        self._held: list[int] = []

    @property
    def names(self) -> str:
        """Names of the signals that are held back, in the order they came; empty if there are none."""
        return ", ".join(signal.Signals(number).name for number in self._held)

    def watch(self) -> None:
        """Hold signals back from now on, but those that the process ignores.

        Python lets only the main thread do so; in another one it says that in a warning, and does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            _logger.warning(
                "save_before_preemption=True has no effect: fit does not run in the main thread, where signals arrive."
            )
            return
        numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        found = {number: signal.getsignal(number) for number in numbers}
        # None is a handler of C code, which nothing in Python could call.
        self._handlers = {number: old for number, old in found.items() if old not in {None, signal.SIG_IGN, self._hold}}
        for number in self._handlers:
            signal.signal(number, self._hold)

    def give_back(self) -> None:
        """Put the handlers back that were there, where nobody has put another one since."""
        for number, old in self._handlers.items():
            if signal.getsignal(number) == self._hold:
                signal.signal(number, old)

    def pass_on(self) -> None:
        """Give the handlers back and do what the signals that were held back ask for.

        Returns only if the process is to go on; what a handler raises, as `KeyboardInterrupt`, is raised.
        """
        self.give_back()
        held, self._held = self._held, []
        for number in held:
            self._do(number, None)

    def _hold(self, number: int, frame: types.FrameType | None) -> None:
        is_impatient = number == signal.SIGINT and number in self._held
        if self._is_training() and not is_impatient:
            self._held.append(number)
            return
        self.give_back()
        self._do(number, frame)

    def _do(self, number: int, frame: types.FrameType | None) -> None:
        old = self._handlers.get(number, signal.SIG_DFL)
        if callable(old):
            old(number, frame)
        else:
            signal.raise_signal(number)
