"""What a callback lets go of when it has no use for it any more."""

from __future__ import annotations

import gc
import pathlib
import weakref
from typing import Any

import numpy as np
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint
from tests.integration.tiny import fit, new_model


class Remembers(tfk.callbacks.Callback):
    """Has a state of its own, as large as it likes."""

    given: weakref.ref[Any] | None = None

    def get_state(self) -> dict[str, Any]:
        """Give it."""
        return {"weights": np.zeros(3)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Note what it was given, and keep nothing."""
        self.given = weakref.ref(state["weights"])


def test_other_callbacks_of_a_fit_that_is_over_are_not_kept(run: pathlib.Path) -> None:
    """One of them may hold the best weights."""
    checkpoint, other = ProbCheckpoint(run, monitor="loss"), tfk.callbacks.Callback()
    gone = weakref.ref(other)

    fit(new_model(), other, checkpoint)
    del other
    gc.collect()

    assert gone() is None
    assert checkpoint.last_model_path


def test_what_callbacks_were_given_back_is_not_kept(run: pathlib.Path) -> None:
    """Nor is it while the resumed training goes on."""
    fit(new_model(), ProbCheckpoint(run, monitor="loss", resume=True), Remembers(), epochs=1)
    checkpoint, other = ProbCheckpoint(run, monitor="loss", resume=True), Remembers()
    kept = []

    class Look(tfk.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            gc.collect()
            assert other.given is not None
            kept.append(other.given() is not None)

    fit(new_model(), checkpoint, other, Look(), epochs=3)

    assert len(kept) == 2
    assert not kept[-1]
