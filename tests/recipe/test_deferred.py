from __future__ import annotations

import pathlib
import types
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbModelMixin, restore_latest
from keras_probckpt.errors import CheckpointError, MalformedRecipeError
from keras_probckpt.recipe.deferred import Deferred

X = np.linspace(-1.0, 1.0, 6, dtype=np.float32).reshape(2, 3)


class Agent:
    """A plain object, and what it leads to."""

    def __init__(self) -> None:
        self.scale = 2.0
        self.network: Any = types.MappingProxyType({})
        self.models: list[Any] = []


class Scaled(ProbModelMixin, tfk.Model):
    """A model with such an object as an argument."""

    def __init__(self, agent: Any) -> None:
        super().__init__()
        self.agent = agent
        self.dense = tfk.layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        """Ask the object."""
        return self.dense(inputs) * self.agent.scale


def by_argument() -> tfk.Model:
    """An agent that holds the model that holds the agent."""
    agent = Agent()
    model = Scaled(agent)
    agent.network = model
    agent.models.append(model)
    return model


def by_closure() -> tfk.Model:
    """A function in a layer of the model leads to the model."""
    agent = Agent()
    scaled = tfk.layers.Lambda(lambda t: t * agent.scale)
    model = tfk.Sequential([tfk.layers.Dense(1, input_shape=(3,)), scaled])
    agent.network = model
    agent.models.append(model)
    scaled.agent = agent
    return model


def agent_of(model: Any) -> Agent:
    """Find the agent of either."""
    return model.agent if isinstance(model, Scaled) else model.layers[1].function.__closure__[0].cell_contents


@pytest.mark.parametrize("make", [by_argument, by_closure])
def test_what_leads_back_to_the_model_leads_to_the_restored_one(make: Any, tmp_path: pathlib.Path) -> None:
    """It is there before the model is; afterwards it holds this very model."""
    model = make()
    expected = model(X).numpy()
    with CheckpointManager(model, tmp_path / "run") as manager:
        manager.save(1)

    restored = restore_latest(tmp_path / "run")

    assert np.array_equal(restored(X).numpy(), expected)
    assert restored is not model
    assert agent_of(restored).network is restored
    assert agent_of(restored).models[0] is restored


def test_a_layer_that_only_a_function_holds_comes_back_with_its_weights(tmp_path: pathlib.Path) -> None:
    """It was built before the Lambda layer called it; Keras lets no variable be made there."""
    net = tfk.layers.Dense(3, bias_initializer="normal")
    net.build((None, 3))
    model = tfk.Sequential([tfk.layers.InputLayer((3,)), tfk.layers.Lambda(lambda v: net(v)), tfk.layers.Dense(1)])  # noqa: PLW0108 - of the layer itself Keras would know
    expected = model(X).numpy()
    with CheckpointManager(model, tmp_path / "run") as manager:
        manager.save(1)

    restored = restore_latest(tmp_path / "run")

    assert np.array_equal(restored(X).numpy(), expected)


def test_what_is_asked_too_early_says_so() -> None:
    """A constructor that needs the model while the model is made was never called so."""
    deferred = Deferred("externals[3]")

    for ask in (lambda: deferred.layers, deferred):
        with pytest.raises(MalformedRecipeError, match=r"externals\[3\].*while it is being made") as caught:
            ask()
        assert isinstance(caught.value, CheckpointError)


def test_an_object_takes_the_place_of_its_reference_wherever_that_stands() -> None:
    """In attributes, lists, dicts and closures."""
    deferred = Deferred("here")
    holder, items, table = types.SimpleNamespace(model=deferred), [1, deferred], {"a": deferred}
    closure = lambda: deferred  # noqa: E731
    model = tf.Module()

    deferred.give_way(model)

    assert [holder.model, items[1], table["a"], closure()] == [model] * 4
