"""A training that crashes where it is told to, and is run again in the same process: new model, data and callbacks.

What a process keeps besides, such as its random generators, is set to a seed before each attempt.
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from tensorflow.python.eager import context

from keras_probckpt import ProbCheckpoint, list_checkpoints
from tests.integration.tiny import negative_log_likelihood

# Of 12 rows in batches of 2: an epoch has 6 steps. Each row is told by its value.
X = np.arange(12, dtype="float32")[:, np.newaxis] / 8
Y = 2 * X + 1
BATCHES = 6

_SEEN: list[list[float]] = []


class CrashError(RuntimeError):
    """What ends a training in these tests."""


class Crash(tfk.callbacks.Callback):
    """Ends a training by an error before a batch, as a power cut there would: both counted from 0."""

    def __init__(self, epoch: int, batch: int) -> None:
        super().__init__()
        self._moment = epoch, batch
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Follow the epochs."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Fail where it is time to."""
        if (self._epoch, batch) == self._moment:
            raise CrashError


@tfk.utils.register_keras_serializable("tests.resume")
class Note(tfk.layers.Layer):
    """Notes the batches that a model is trained on, in the order it is."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:  # noqa: FBT001 - Keras's signature
        """Pass a batch on."""
        if training:
            tf.numpy_function(_note, [inputs], [])
        return inputs


def _note(rows: Any) -> None:
    _SEEN.append([float(row) for row in rows[:, 0]])


def density_model(optimizer: Any = None) -> tfk.Sequential:
    """Make a density network, which draws nothing while it is trained."""
    likelihood = tfp.layers.IndependentNormal(1, convert_to_tensor_fn=tfp.distributions.Distribution.mean)
    model = tfk.Sequential([tfk.Input((1,)), Note(), tfk.layers.Dense(2), likelihood])
    model.compile(optimizer or tfk.optimizers.Adam(0.1), negative_log_likelihood, metrics=["mse"])
    return model


def plain_model() -> tfk.Sequential:
    """Make the same with an optimizer that is traced in no time."""
    return density_model(tfk.optimizers.legacy.SGD(0.1))


def arrays(**options: Any) -> dict[str, Any]:
    """Give the rows as arrays, in their order."""
    return {"x": X, "y": Y, "batch_size": 2, "shuffle": False, **options}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
    """What is there after a training, whether it ended or crashed.

    Attributes:
        model: The model.
        seen: The batches it was trained on, in order, as lists of rows.
        history: Logs of the epochs; empty after a crash.
        checkpoint: The callback.
        callbacks: The callbacks before it.
    """

    model: tfk.Model
    seen: Sequence[Sequence[float]]
    history: Mapping[str, Sequence[float]]
    checkpoint: ProbCheckpoint
    callbacks: Sequence[tfk.callbacks.Callback]

    @property
    def weights(self) -> list[bytes]:
        """Every bit of the model's variables."""
        return [np.asarray(variable).tobytes() for variable in self.model.variables]

    @property
    def optimizer(self) -> list[bytes]:
        """Every bit of the optimizer's variables."""
        optimizer = self.model.optimizer
        variables = optimizer.variables
        variables = variables() if callable(variables) else variables
        return [np.asarray(variable).tobytes() for variable in variables]

    @property
    def result(self) -> tuple[Any, ...]:
        """All that two equal trainings end with."""
        return self.weights, self.optimizer, self.history


def attempt(  # noqa: PLR0913 - all that a script has
    directory: pathlib.Path,
    *,
    crash: tuple[int, int] | None = None,
    new_model: Callable[[], tfk.Model] = density_model,
    new_data: Callable[[], Mapping[str, Any]] = arrays,
    new_callbacks: Callable[[], Sequence[tfk.callbacks.Callback]] = list,
    seed: int | None = 1,
    fit: Mapping[str, Any] | None = None,
    **options: Any,
) -> Attempt:
    """Run a training script once.

    Args:
        directory: The run directory.
        crash: Index of the epoch and of its batch to crash before.
        new_model: Makes the compiled model.
        new_data: Makes the arguments of `fit` that are about data.
        new_callbacks: Makes the callbacks before `ProbCheckpoint`.
        seed: Seed of the process; None for a process that set none.
        fit: More arguments of `fit`.
        **options: Arguments of `ProbCheckpoint`.
    """
    _SEEN.clear()
    if seed is None:
        context.context()._seed = None
    else:
        tfk.utils.set_random_seed(seed)
    model, data, callbacks = new_model(), new_data(), list(new_callbacks())
    checkpoint = ProbCheckpoint(directory, **{"monitor": "loss", "resume": True, "rehearse": False, **options})
    crashes = [] if crash is None else [Crash(*crash)]
    everything = {"epochs": 3, "verbose": 0, **data, **(fit or {}), "callbacks": [*callbacks, checkpoint, *crashes]}
    history: Mapping[str, Sequence[float]] = {}
    try:
        history = model.fit(**everything).history
    except CrashError:
        assert crash is not None
    else:
        assert crash is None, "The training ended before it could crash."
    checkpoint.wait_until_finished()
    return Attempt(model=model, seen=list(_SEEN), history=history, checkpoint=checkpoint, callbacks=callbacks)


def attempts(directory: pathlib.Path, *, crashes: Sequence[tuple[int, int]], **script: Any) -> Attempt:
    """Run a script that crashes, and run it again until it ends; give the last."""
    for crash in crashes:
        attempt(directory, crash=crash, **script)
    return attempt(directory, **script)


def as_if_stopped(directory: pathlib.Path, *, after: int) -> pathlib.Path:
    """Copy a run directory as it was when no step after a given one was saved."""
    copy = directory.with_name(f"{directory.name}-stopped")
    shutil.copytree(directory, copy)
    for info in list_checkpoints(copy):
        if info.step > after:
            shutil.rmtree(info.path)
    return copy
