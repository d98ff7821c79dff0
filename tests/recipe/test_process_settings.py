from __future__ import annotations

import math
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint, restore_best
from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.process_settings import checked_settings, process_settings, settings_as

X = np.linspace(-1.0, 1.0, 8, dtype=np.float64)[:, None]


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """Put the settings of this process back."""
    with settings_as({"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}):
        yield


def trained(directory: pathlib.Path) -> tfk.Model:
    """Save a model of this process's settings."""
    model = tfk.Sequential([tfk.layers.Dense(1, input_shape=(1,)), tfk.layers.BatchNormalization()])
    model.compile("adam", "mse")
    model.fit(X, X, verbose=0, callbacks=[ProbCheckpoint(directory, monitor="loss")])
    return model


def test_a_model_of_float64_comes_back_where_nothing_is_set(tmp_path: pathlib.Path) -> None:
    """Its variables, its optimizer's and its outputs; the settings of the process stay what they were."""
    with settings_as({"floatx": "float64"}):
        model = trained(tmp_path / "run")
        expected = model(X).numpy()

    with pytest.warns(UserWarning, match="floatx was 'float64' and is 'float32'"):
        restored = restore_best(tmp_path / "run")

    assert restored(X).dtype == "float64"
    assert np.array_equal(restored(X).numpy(), expected)
    assert [v.dtype for v in restored.optimizer.variables] == [v.dtype for v in model.optimizer.variables]
    assert tfk.backend.floatx() == "float32"


@pytest.mark.parametrize(
    ("name", "value"), [("epsilon", 0.5), ("image_data_format", "channels_first"), ("floatx", "float64")]
)
def test_a_setting_that_is_another_here_is_said_with_both_values(tmp_path: pathlib.Path, name: str, value: Any) -> None:
    """A function of the model's may read it at each call; the way to have it again is shown."""
    with settings_as({name: value}):
        trained(tmp_path / "run")

    with pytest.warns(UserWarning, match="under other settings") as caught:
        restore_best(tmp_path / "run")

    (said,) = [str(warning.message) for warning in caught]
    assert f"{name} was {value!r} and is {process_settings()[name]!r}" in said
    assert f"tf_keras.backend.set_{name}({value!r})" in said


def test_the_same_settings_are_nothing_to_tell(tmp_path: pathlib.Path) -> None:
    """Nor are those of the process changed."""
    with settings_as({"epsilon": 0.5}), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trained(tmp_path / "run")
        restore_best(tmp_path / "run")

        assert tfk.backend.epsilon() == 0.5


@pytest.mark.parametrize(
    "recorded",
    [
        {"floatx": "float8"},
        {"floatx": ["float32"]},
        {"epsilon": math.nan},
        {"epsilon": True},
        {"image_data_format": "channels"},
        {"learning_phase": 1},
        [],
        None,
    ],
)
def test_settings_that_keras_has_not_are_malformed(recorded: Any) -> None:
    """A file may say anything."""
    with pytest.raises(MalformedRecipeError, match="settings"):
        checked_settings(recorded)
