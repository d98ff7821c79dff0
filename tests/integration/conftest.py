"""What the tests over `fit` share: one traced model, made as new for each test."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tf_keras as tfk

from tests.integration.tiny import fit, new_model


@pytest.fixture(scope="session")
def traced_model() -> tfk.Sequential:
    """Trace the training step once for all tests."""
    model = new_model()
    fit(model, epochs=1)
    return model


@pytest.fixture
def model(traced_model: tfk.Sequential) -> tfk.Sequential:
    """Give a model of which no update was made."""
    traced_model.stop_training = False
    for number, variable in enumerate(traced_model.variables):
        variable.assign(np.full(variable.shape, 0.1 * (number + 1), "float32"))
    for variable in traced_model.optimizer.variables:
        if variable is not traced_model.optimizer.learning_rate:
            variable.assign(np.zeros(variable.shape, variable.dtype.as_numpy_dtype))
    return traced_model


@pytest.fixture
def run(tmp_path: pathlib.Path) -> pathlib.Path:
    """Name a run directory that is not there yet."""
    return tmp_path / "runs" / "exp1"
