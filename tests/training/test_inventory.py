from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt.training.inventory import VariableInventory
from keras_probckpt.training.variables import find_variables

X = np.zeros((4, 2), "float32")
Y = np.zeros((4, 1), "float32")


class Parts(tfk.Model):
    """Keeps layers and variables in every way that Keras tracks."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = tfk.layers.Dense(3)
        self.blocks = [tfk.layers.Dense(3), [tfk.layers.Dropout(0.1)]]
        self.named = {"a": tfk.layers.Dense(3)}
        self.scale = tf.Variable(1.0)
        self.module = tf.Module()
        self.head = tfk.Sequential([tfk.layers.Dense(2), tfp.layers.IndependentNormal(1)])

    def call(self, inputs: Any) -> Any:
        """Use what there is from the start."""
        hidden = self.named["a"](self.blocks[0](self.dense(inputs))) * self.scale
        return self.head(hidden)


def trained(optimizer: Any = "adam") -> Parts:
    """Make a model that has been trained."""
    model = Parts()
    compile_with(model, optimizer)
    train(model)
    return model


def compile_with(model: tfk.Model, optimizer: Any) -> None:
    """Compile for a negative log-likelihood, without the time that tracing takes."""
    model.compile(optimizer, lambda y, prediction: -prediction.log_prob(y), run_eagerly=True)


def train(model: tfk.Model) -> None:
    """Make one update."""
    model.fit(X, Y, verbose=0)


def thaw(model: Parts) -> None:
    """Train a layer that was frozen when the optimizer was made."""
    model.dense.trainable = True
    compile_with(model, "adam")
    train(model)


def exchange_optimizer(model: Parts) -> None:
    """Give the model another optimizer, as `compile` does."""
    model.optimizer = tfk.optimizers.SGD(0.1, momentum=0.9)


def built(layer: tfk.layers.Layer) -> tfk.layers.Layer:
    """Give a layer with its variables."""
    layer.build((None, 3))
    return layer


CHANGES: dict[str, Callable[[Parts], Any]] = {
    "an attribute": lambda model: setattr(model, "late", tf.Variable(2.0)),
    "an attribute that is exchanged": lambda model: setattr(model, "scale", tf.Variable(3.0)),
    "an attribute of a module": lambda model: setattr(model.module, "late", tf.Variable(2.0)),
    "a layer": lambda model: setattr(model, "late", built(tfk.layers.Dense(2))),
    "a layer in a list": lambda model: model.blocks.append(built(tfk.layers.Dense(2))),
    "a layer in a list in a list": lambda model: model.blocks[1].append(built(tfk.layers.Dense(2))),
    "a layer in a dict": lambda model: model.named.update(b=built(tfk.layers.Dense(2))),
    "a layer of a Sequential": lambda model: model.head.add(built(tfk.layers.PReLU())),
    "a layer that is taken away": lambda model: model.head.pop(),
    "a weight of a layer": lambda model: model.dense.add_weight(name="late", shape=(2,)),
    "two weights of one name": lambda model: [model.dense.add_weight(name="late", shape=(2,)) for _ in range(2)],
    "an optimizer that is compiled anew": lambda model: compile_with(model, "sgd"),
    "an optimizer that is exchanged": exchange_optimizer,
    "slots that an optimizer makes": lambda model: (exchange_optimizer(model), train(model)),
    "slots for a layer that was frozen": thaw,
    "a variable of an optimizer": lambda model: setattr(model.optimizer, "late", tf.Variable(1.0)),
}


def names_and_ids(model: tfk.Model, found: Any) -> list[tuple[str, int]]:
    """Tell which variable has which path."""
    return [(path, id(item)) for items in (found.model, found.optimizers) for path, item in items.items()]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_of_the_model_is_noticed(change: Callable[[Parts], Any]) -> None:
    """Whatever way a variable comes or goes, the next look finds what a new search finds."""
    model = trained()
    model.dense.trainable = False
    inventory = VariableInventory()
    before = names_and_ids(model, inventory.find(model))

    change(model)
    after = names_and_ids(model, inventory.find(model))

    assert after == names_and_ids(model, find_variables(model))
    assert change is CHANGES["a layer that is taken away"] or after != before


@pytest.mark.parametrize(
    "optimizer",
    ["adam", tfk.optimizers.legacy.Adam(), tfk.mixed_precision.LossScaleOptimizer(tfk.optimizers.Adam())],
    ids=["Adam", "legacy Adam", "loss scale"],
)
def test_where_nothing_changed_nothing_is_searched(optimizer: Any) -> None:
    """Training assigns to variables, and changes none of them for another."""
    model = trained(optimizer)
    inventory = VariableInventory()
    first = inventory.find(model)

    train(model)

    assert inventory.find(model) is first
    assert names_and_ids(model, first) == names_and_ids(model, find_variables(model))


@pytest.mark.parametrize(
    "optimizer",
    [
        tfk.optimizers.Adam(),
        tfk.optimizers.legacy.SGD(0.1, momentum=0.9),
        tfk.mixed_precision.LossScaleOptimizer(tfk.optimizers.Adam()),
        tfk.mixed_precision.LossScaleOptimizer(tfk.optimizers.legacy.Adam()),
    ],
    ids=["new", "legacy", "loss scale", "legacy loss scale"],
)
def test_slots_that_come_with_the_first_update_are_noticed(optimizer: Any) -> None:
    """A model may be saved before it is trained, in a loop where nothing else of it changes."""
    model = Parts()
    compile_with(model, optimizer)
    model(X)
    inventory = VariableInventory()
    before = inventory.find(model)

    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(model(X).log_prob(Y))
    variables = model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    after = inventory.find(model)

    assert names_and_ids(model, after) == names_and_ids(model, find_variables(model))
    assert len(after.optimizers) > len(before.optimizers)


def test_another_model_is_another_search() -> None:
    """Though both have the same paths."""
    first, second = trained(), trained()
    inventory = VariableInventory()
    inventory.find(first)

    assert names_and_ids(second, inventory.find(second)) == names_and_ids(second, find_variables(second))


class Own(tf.Module):
    """Says itself what it tracks."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, tf.Variable] = {}

    def _trackable_children(self, save_type: str = "checkpoint", **_: Any) -> dict[str, Any]:
        return dict(self.kept)


def test_a_model_with_a_part_that_is_not_known_is_searched_every_time() -> None:
    """What such a part tracks may change without a trace in any list."""
    model = trained()
    model.own = Own()
    inventory = VariableInventory()
    before = inventory.find(model)

    model.own.__dict__["kept"] = {"late": tf.Variable(1.0)}

    assert "own/late" not in before.model
    assert "own/late" in inventory.find(model).model
