"""A training to which a signal comes at a chosen moment.

It is run as a script: `python preempted_fit.py <run> <signal> <moment>`, and prints what became of it as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import tf_keras as tfk

from keras_probckpt import ProbCheckpoint
from tests.integration.tiny import X, Y, new_model

EPOCHS = 3
SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1")


class Send(tfk.callbacks.Callback):
    """Sends this process a signal at one moment of the second epoch."""

    def __init__(self, name: str, moment: str) -> None:
        super().__init__()
        self._name, self._moment, self._epoch = name, moment, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Know the epoch."""
        self._epoch = epoch

    def _at(self, moment: str) -> None:
        if self._epoch == 1 and moment == self._moment:
            os.kill(os.getpid(), signal.Signals[self._name])

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Send before a step."""
        self._at(f"batch-{batch}")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Send in a validation."""
        self._at(f"validation-{batch}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Send at the end of an epoch."""
        self._at("epoch-end")


def main() -> None:
    """Train, and say how it ended, if it came to that."""
    run, name, moment = sys.argv[1:]
    before = {name: signal.getsignal(signal.Signals[name]) for name in SIGNALS}
    checkpoint = ProbCheckpoint(run, resume=True, save_before_preemption=True)
    history = new_model().fit(
        *(X, Y),
        batch_size=2,
        epochs=EPOCHS,
        validation_data=(X, Y),
        validation_batch_size=2,
        verbose=0,
        callbacks=[Send(name, moment), checkpoint],
    )
    handlers_are_back = before == {name: signal.getsignal(signal.Signals[name]) for name in SIGNALS}
    sys.stdout.write(json.dumps({"handlers are back": handlers_are_back, "history": history.history}) + "\n")


if __name__ == "__main__":
    main()
