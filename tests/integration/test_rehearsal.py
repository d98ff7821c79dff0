from __future__ import annotations

import logging
import os
import pathlib
import threading
from typing import Any

import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbCheckpoint, list_checkpoints
from keras_probckpt.errors import RehearsalError, UnrecordableError
from tests.integration.tiny import X, fit, names_in, new_model


def test_the_second_process_imports_what_this_one_would_and_restores_what_is_not_signed(
    run: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -c` looks for modules in the working directory first; without a place for a key nothing is signed."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('numpy.py of the working directory')")
    (tmp_path / "no directory").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no directory"))

    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1), tfk.layers.Lambda(lambda x: 2 * x)])
    model.compile("sgd", "mse")

    with pytest.warns(UserWarning, match="unsigned"):
        fit(model, ProbCheckpoint(run, "loss", rehearse=True))

    assert names_in(run) == ["step-0000000003"]


def test_a_rehearsal_says_what_it_cannot_compare(run: pathlib.Path) -> None:
    """A call that needs numbers at hand cannot be traced, so no outputs are recorded."""

    class Eager(tfk.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = tfk.layers.Dense(1)

        def call(self, x: tf.Tensor) -> tf.Tensor:
            return self.dense(x) * float(tf.reduce_max(x).numpy())

    model = Eager()
    model.compile("sgd", "mse", run_eagerly=True)
    model(X)

    with (
        CheckpointManager(model, run, rehearse=True) as manager,
        pytest.warns(UserWarning, match="was not compared: its call cannot be traced"),
    ):
        manager.save(1)

    assert [info.step for info in list_checkpoints(run)] == [1]


class Licensed(tfk.layers.Layer):
    """A layer that cannot be made everywhere."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if "TESTS_LICENSE" not in os.environ:
            raise RuntimeError("there is no license here")

    def get_config(self) -> dict[str, Any]:
        """Tell what it was given: nothing."""
        return super().get_config()

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Give what came."""
        return x


def trained_epochs(model: tfk.Model, error: type[Exception], match: str, callback: ProbCheckpoint) -> list[int]:
    """Train until the error is raised; the epochs that were trained before."""
    epochs: list[int] = []
    count = tfk.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: epochs.append(epoch))
    with pytest.raises(error, match=match):
        fit(model, count, callback, epochs=2)
    return epochs


def test_a_model_that_cannot_be_written_down_is_refused_before_an_epoch_is_spent(run: pathlib.Path) -> None:
    """It is built, so all of it is known. Nothing is left behind, and the next training has the directory."""
    lock = threading.Lock()
    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Lambda(lambda x: x if lock else -x), tfk.layers.Dense(1)])
    model.compile("sgd", "mse")

    assert trained_epochs(model, UnrecordableError, "lock", ProbCheckpoint(run, "loss")) == []

    fit(new_model(), ProbCheckpoint(run, "loss"))
    assert names_in(run) == ["step-0000000003"]


def test_a_model_that_cannot_be_made_again_is_refused_before_an_epoch_is_spent(
    run: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither here nor in a new process."""
    monkeypatch.setenv("TESTS_LICENSE", "given")
    model = tfk.Sequential([tfk.Input((1,)), Licensed(), tfk.layers.Dense(1)])
    model.compile("sgd", "mse")
    monkeypatch.delenv("TESTS_LICENSE")

    assert trained_epochs(model, RehearsalError, "there is no license here", ProbCheckpoint(run, "loss")) == []


def test_a_rehearsal_of_large_layers_needs_no_second_process(
    run: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The variables of the rebuilt model take no memory; those that the saved values are lent to have them."""
    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(64), tfk.layers.Dense(64), tfk.layers.Dense(1)])
    model.compile("sgd", "mse")

    with caplog.at_level(logging.INFO, logger="keras_probckpt"):
        fit(model, ProbCheckpoint(run, "loss"))

    assert [record.message for record in caplog.records if "new process" in record.message] == []
    assert names_in(run) == ["step-0000000003"]
