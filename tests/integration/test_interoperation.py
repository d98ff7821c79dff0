from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbModelMixin, restore_latest

# Keras's and TFP's own, while they save and load.
pytestmark = pytest.mark.filterwarnings("ignore")

layers, tfd, tfpl = tfk.layers, tfp.distributions, tfp.layers

X = np.linspace(-1, 1, 8, dtype="float32").reshape(4, 2)


class Net(ProbModelMixin, tfk.Model):
    """A subclassed density network."""

    def __init__(self, units: int, activation: Any = "tanh", prior: Any = None) -> None:
        super().__init__()
        self.hidden, self.head = layers.Dense(units, activation), layers.Dense(2)
        self.likelihood, self.prior = tfpl.IndependentNormal(1), prior

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        return self.likelihood(self.head(self.hidden(inputs)))


class Scale(ProbModelMixin, layers.Layer):
    """A layer with the mixin."""

    def __init__(self, factor: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        """Scale."""
        return self.factor * inputs


def likelihood(y: Any, distribution: Any) -> Any:
    """Score."""
    return -distribution.log_prob(y)


def sequential() -> tfk.Model:
    """Make a density network of layers."""
    return tfk.Sequential([tfk.Input((2,)), layers.Dense(2), tfpl.IndependentNormal(1)])


def functional() -> tfk.Model:
    """Make a network with a shared layer, and one with the mixin."""
    inputs = tfk.Input((2,))
    shared, scale = layers.Dense(2, "relu"), Scale(0.5)
    return tfk.Model(inputs, layers.Dense(1)(scale(shared(shared(inputs)))))


def triangular() -> tfk.Model:
    """Make a network that Keras cannot load from some of its formats."""
    return tfk.Sequential([tfk.Input((2,)), layers.Dense(5), tfpl.MultivariateNormalTriL(2)])


def flipout() -> tfk.Model:
    """Make a Bayesian network."""
    return tfk.Sequential([tfk.Input((2,)), tfpl.DenseFlipout(2, seed=1), tfpl.IndependentNormal(1)])


def subclassed() -> tfk.Model:
    """Make the subclassed network."""
    return Net(3, activation="relu")


MODELS = {make.__name__: make for make in (sequential, functional, triangular, flipout, subclassed)}


def restored(make: Callable[[], tfk.Model], place: pathlib.Path) -> tuple[tfk.Model, tfk.Model]:
    """Make a model, and restore another from its checkpoint."""
    model = make()
    model.compile("adam", loss=likelihood)
    model(X)
    with CheckpointManager(model, place / "run") as manager:
        manager.save(1)
    return model, restore_latest(place / "run")


def outputs_of(model: Any) -> list[Any]:
    """Take the mean of what a model returns, and whether that is a distribution."""
    tfk.utils.set_random_seed(3)
    output = model(X)
    value = output.mean() if isinstance(output, tfd.Distribution) else output
    return [isinstance(output, tfd.Distribution), np.asarray(value).tolist()]


def outcome(model: tfk.Model, path: pathlib.Path) -> list[Any]:
    """Save a model by Keras and load it by Keras: what comes back, or the error."""
    path.parent.mkdir()
    try:
        model.save(path, save_format=None if path.suffix else "tf")
        options = {"safe_mode": False} if path.suffix == ".keras" else {}
        again = tfk.models.load_model(path, compile=False, **options)
    except Exception as error:  # noqa: BLE001 - Keras fails in many ways; the same one is the claim
        return [type(error).__name__]
    return outputs_of(again)


@pytest.mark.parametrize("file", ["model.keras", "model.h5", "model"])
@pytest.mark.parametrize("name", MODELS)
def test_keras_saves_a_restored_model_as_it_would_have_saved_the_original(
    name: str, file: str, tmp_path: pathlib.Path
) -> None:
    """The same outputs after loading, or the same error: what the formats lose is not for us to add."""
    original, again = restored(MODELS[name], tmp_path)

    expected = outcome(original, tmp_path / "original" / file)

    assert outcome(again, tmp_path / "again" / file) == expected


@pytest.mark.parametrize("name", ["sequential", "functional", "subclassed"])
def test_keras_s_own_format_keeps_a_restored_model(name: str, tmp_path: pathlib.Path) -> None:
    """Or the comparison above might be one of errors."""
    _, again = restored(MODELS[name], tmp_path)

    assert outcome(again, tmp_path / "keras" / "model.keras") == outputs_of(again)


@pytest.mark.parametrize("name", ["sequential", "functional", "subclassed"])
def test_a_restored_model_is_cloned(name: str, tmp_path: pathlib.Path) -> None:
    """A clone has the same layers and variables of its own."""
    original, again = restored(MODELS[name], tmp_path)

    clone = tfk.models.clone_model(again)
    clone(X)
    clone.set_weights(original.get_weights())

    assert outputs_of(clone) == outputs_of(original)
    assert not {id(variable) for variable in clone.variables} & {id(variable) for variable in again.variables}


@pytest.mark.parametrize("name", ["functional", "subclassed"])
def test_a_restored_model_is_made_again_from_its_configuration(name: str, tmp_path: pathlib.Path) -> None:
    """`get_config` is that of the original, and `from_config` takes it."""
    original, again = restored(MODELS[name], tmp_path)

    made = type(again).from_config(again.get_config())
    made(X)
    made.set_weights(original.get_weights())

    assert outputs_of(made) == outputs_of(original)
