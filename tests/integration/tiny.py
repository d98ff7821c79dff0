"""A model small enough to train in milliseconds, and a training in which the metrics are written out beforehand."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint, list_checkpoints

X = np.linspace(-1, 1, 6, dtype="float32")[:, np.newaxis]
Y = 2 * X + 1

# Of 6 rows in batches of 2: an epoch has 3 steps.
BATCHES = 3


def negative_log_likelihood(y: Any, distribution: Any) -> Any:
    """Score a prediction that is a distribution."""
    return -distribution.log_prob(y)


def new_model(units: int = 2) -> tfk.Sequential:
    """Make a compiled density network. Any `units` but 2 leaves a layer before the last that is of another shape."""
    hidden = [] if units == 2 else [tfk.layers.Dense(units)]
    model = tfk.Sequential([tfk.Input((1,)), *hidden, tfk.layers.Dense(2), tfp.layers.IndependentNormal(1)])
    model.compile("adam", loss=negative_log_likelihood)
    return model


class Scores(tfk.callbacks.Callback):
    """Writes values into the logs of each epoch before later callbacks see them; a NaN is a value, None is absence."""

    def __init__(self, **values: Sequence[float | None]) -> None:
        super().__init__()
        self._values = values

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Put in what is due in this epoch."""
        for name, values in self._values.items():
            value = values[epoch]
            if value is not None:
                logs[name] = value


class Finish(tfk.callbacks.Callback):
    """Waits after each batch and epoch until what a callback before it saved is on disk."""

    def __init__(self, checkpoint: ProbCheckpoint) -> None:
        super().__init__()
        self._checkpoint = checkpoint

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Wait after a batch."""
        self._checkpoint.wait_until_finished()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Wait after an epoch."""
        self._checkpoint.wait_until_finished()


def fit(model: tfk.Model, *callbacks: tfk.callbacks.Callback, **options: Any) -> Any:
    """Train in silence on 6 rows, 3 batches an epoch."""
    return model.fit(X, Y, **{"batch_size": 2, "verbose": 0, **options}, callbacks=list(callbacks))


def fit_scored(
    model: tfk.Model, scores: Sequence[float | None], *callbacks: tfk.callbacks.Callback, **options: Any
) -> Any:
    """Train one epoch for each score, which the callbacks see as `val_loss`."""
    return fit(model, Scores(val_loss=scores), *callbacks, epochs=len(scores), **options)


def names_in(directory: pathlib.Path) -> list[str]:
    """List what is there but the lock, hidden leftovers included."""
    return sorted(entry.name for entry in directory.iterdir() if entry.name != ".lock")


def epochs_in(directory: pathlib.Path) -> list[int | None]:
    """List the epochs of the committed checkpoints."""
    return [info.epoch for info in list_checkpoints(directory)]


def weights_of(model: tfk.Model) -> list[bytes]:
    """Take every bit of the weights."""
    return [np.asarray(variable).tobytes() for variable in model.variables]


def bits(values: Mapping[str, Any]) -> dict[str, bytes]:
    """Take every bit of named values."""
    return {name: np.asarray(value).tobytes() for name, value in values.items()}
