from __future__ import annotations

import copy
import os
import pathlib
import pickle
import signal
from collections.abc import Callable
from typing import Any

import pytest
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint, list_checkpoints
from tests.integration.tiny import fit, fit_scored, new_model

COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda item: pickle.loads(pickle.dumps(item)),  # noqa: S301 - our own
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_trains_as_the_original_would(how: str, model: tfk.Sequential, run: pathlib.Path) -> None:
    """keras-tuner#392, scikeras#236: tuners copy callbacks for each trial, and estimators are pickled with theirs."""
    original = ProbCheckpoint(run, save_top_k=2, save_last=0)

    copied = COPIES[how](original)
    fit_scored(model, [3.0, 1.0, 2.0], copied)

    assert [info.epoch for info in list_checkpoints(run)] == [2, 3]
    assert copied.best == 1.0
    assert original.best_model_path is None


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_after_a_training_knows_its_best(how: str, model: tfk.Sequential, run: pathlib.Path) -> None:
    """As that of a `ModelCheckpoint` whose model was taken away first; what it trains next is a run of its own."""
    original = ProbCheckpoint(run)
    fit_scored(model, [3.0, 1.0, 2.0], original)
    original.model = None

    copied = COPIES[how](original)

    assert (copied.best, copied.best_model_path) == (1.0, str(run / "step-0000000006"))
    assert copied.last_model_path == str(run / "step-0000000009")
    fit_scored(model, [5.0], copied)
    assert len({info.run for info in list_checkpoints(run)}) == 2
    assert original.best_model_path == str(run / "step-0000000006")


def test_a_copy_keeps_the_signals_of_its_own_training(run: pathlib.Path) -> None:
    """trieste#604: what asks whether a training runs has to ask about the model of the copy."""
    copied = copy.deepcopy(ProbCheckpoint(run, "loss", save_last=2, save_before_preemption=True))
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: came.append(number))
    send = tfk.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, _: batch == 1 and os.kill(os.getpid(), signal.SIGUSR1)
    )

    try:
        fit(new_model(), send, copied, epochs=1)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert came == [signal.SIGUSR1]
    assert (1, 2) in [(info.epoch, info.batch) for info in list_checkpoints(run)]
