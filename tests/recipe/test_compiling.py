from __future__ import annotations

import copy
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbModelMixin, restore_latest
from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.document import RecipeReader
from tests.recipe.journeys import described, trust_of

X = np.ones((4, 2), "float32")


class Weighted(ProbModelMixin, tfk.Model):
    """A model with a `compile` of its own, which passes on less than it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = tfk.layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        """Apply the layer."""
        return self.dense(inputs)

    def compile(self, step_optimizer: Any, *scales: float, penalty: Any = None, **options: Any) -> None:
        """Keep an optimizer of its own, and a function."""
        super().compile(**options)
        self.step_optimizer, self.scales, self.penalty = step_optimizer, scales, penalty

    def train_step(self, data: Any) -> dict[str, Any]:
        """Train with them."""
        with tf.GradientTape() as tape:
            loss = self.scales[0] * tf.reduce_sum(self.penalty(self(data)))
        self.step_optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return {"loss": loss}


class Twice(Weighted):
    """One that calls the other's `compile`."""

    def compile(self, rate: float) -> None:
        """Make the optimizer."""
        super().compile(tfk.optimizers.Adam(rate), 2.0 * rate, penalty=tf.square)


class Described(tfk.Model):
    """A model without the mixin that describes its `compile` in Keras's way."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = tfk.layers.Dense(2)

    def compile(self, label: Any, **options: Any) -> None:
        """Keep a label."""
        super().compile(**options)
        self.label = label

    def get_compile_config(self) -> dict[str, Any]:
        """Give the arguments."""
        optimizer = tfk.saving.serialize_keras_object(self.optimizer)
        return {"label": self.label, "optimizer": optimizer}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile again."""
        self.compile(config["label"], optimizer=tfk.saving.deserialize_keras_object(config["optimizer"]))


class Silent(tfk.Model):
    """A model without the mixin that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = tfk.layers.Dense(2)

    def compile(self, label: Any) -> None:
        """Keep a label."""
        super().compile()
        self.label = label


def compiled_again(model: tfk.Model) -> tfk.Model:
    """Describe a model, build and compile another by that."""
    recipe = described(model)
    reader = RecipeReader(copy.deepcopy(recipe.document), arrays=recipe.arrays, trust=trust_of(code=recipe.code or b""))
    again = reader.build(None)
    assert reader.compile(again) == ""
    return again


def test_a_compile_of_its_own_is_called_with_the_arguments_it_had(tmp_path: pathlib.Path) -> None:
    """The optimizer it keeps goes on where it was: the next step is the same, to the bit."""
    model = Weighted()
    model.compile(tfk.optimizers.Adam(0.1), 0.5, 2.0, penalty=lambda t: t**2, run_eagerly=True)
    model.fit(X, verbose=0)
    with CheckpointManager(model, tmp_path) as manager:
        manager.save(1)

    again = restore_latest(tmp_path)

    assert (again.scales, again.run_eagerly) == ((0.5, 2.0), True)
    for trained in (model, again):
        trained.fit(X, verbose=0)
    assert np.array_equal(again.dense.kernel, model.dense.kernel)
    assert int(again.step_optimizer.iterations) == 2


def test_of_several_the_outermost_counts() -> None:
    """What one `compile` passes to another is its own affair."""
    model = Twice()
    model.compile(rate=0.25)

    again = compiled_again(model)

    assert described(model).document["compile"]["arguments"] == {"rate": 0.25}
    assert again.scales == (0.5,)
    assert float(again.step_optimizer.learning_rate) == 0.25


def test_a_class_may_describe_its_compile_in_keras_s_way() -> None:
    """`get_compile_config` and `compile_from_config`."""
    model = Described()
    model.compile(("a", 1), optimizer=tfk.optimizers.SGD(0.125))

    again = compiled_again(model)

    assert again.label == ("a", 1)
    assert type(again.optimizer) is tfk.optimizers.SGD
    assert float(again.optimizer.learning_rate) == 0.125


def test_a_compile_that_nobody_describes_is_left_out_with_the_reason() -> None:
    """The model comes back uncompiled; the reason names the mixin."""
    model = Silent()
    model.compile("a")

    recorded = described(model).document["compile"]

    assert recorded["arguments"] is None
    assert recorded["reason"] == "Silent has a compile of its own, whose arguments only ProbModelMixin records"


def test_keras_s_own_compile_takes_no_configuration_of_a_file() -> None:
    """It would import what that names."""
    recipe = described(tfk.Sequential([tfk.layers.Dense(2, input_shape=(2,))]))
    reader = RecipeReader({**recipe.document, "compile": {"config": {}}}, arrays={}, trust=trust_of())

    with pytest.raises(MalformedRecipeError, match="no compile_from_config of its own"):
        reader.compile(reader.build(None))
