"""The models that are measured, by the size of their state, and data to train them on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

__all__ = ["SCALES", "Scale", "Trained", "state_of"]


@tfk.utils.register_keras_serializable("keras_probckpt.benchmarks")
class ManyVariables(tfk.layers.Layer):
    """Holds many small variables, as a model of many small layers does; only the first is trained.

    The compiled step of a model that trains 20,000 variables takes minutes to make, and a checkpoint costs the same.
    """

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count
        # Not in a list of its own: Keras goes through one in time proportional to the square of its length.
        for index in range(count):
            self.add_weight(name=f"part-{index}", shape=(16,), initializer="ones", trainable=index == 0)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Multiply by the first."""
        return inputs * self._trainable_weights[0]

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's argument."""
        return {**super().get_config(), "count": self.count}


def loss(y: tf.Tensor, prediction: tfp.distributions.Distribution) -> tf.Tensor:
    """Score a prediction."""
    return -prediction.log_prob(y)


def _dense(width: int, hidden: int, features: int) -> tfk.Model:
    """Build a density network, which each of the stock formats can save and load."""
    layers = [tfk.layers.Dense(width, "relu") for _ in range(hidden)]
    return tfk.Sequential([tfk.Input((features,)), *layers, tfk.layers.Dense(2), tfp.layers.IndependentNormal(1)])


def _many(count: int) -> tfk.Model:
    """Build a model of many variables."""
    return tfk.Sequential(
        [tfk.Input((16,)), ManyVariables(count), tfk.layers.Dense(2), tfp.layers.IndependentNormal(1)]
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """A model, and how it is trained.

    Attributes:
        describe: As it is shown.
        build: Makes it, not compiled.
        features: How many each row of data has.
        batches: How many an epoch has.
        batch_size: Rows of a batch.
        epochs: How many a turn has, each with one save.
    """

    describe: str
    build: Callable[[], tfk.Model]
    features: int
    batches: int
    batch_size: int
    epochs: int


SCALES = {
    "tiny": Scale(
        describe="3 layers, 2 k parameters",
        build=lambda: _dense(40, 2, 8),
        features=8,
        batches=8,
        batch_size=32,
        epochs=20,
    ),
    "small": Scale(
        describe="1 M parameters", build=lambda: _dense(576, 4, 64), features=64, batches=8, batch_size=32, epochs=5
    ),
    "medium": Scale(
        describe="10 M parameters", build=lambda: _dense(1820, 4, 64), features=64, batches=8, batch_size=32, epochs=3
    ),
    "large": Scale(
        describe="50 M parameters",
        build=lambda: _dense(3535, 4, 3535),
        features=3535,
        batches=6,
        batch_size=32,
        epochs=3,
    ),
    "many": Scale(
        describe="20,000 variables", build=lambda: _many(20_000), features=16, batches=8, batch_size=32, epochs=3
    ),
    "fewer": Scale(
        describe="2,000 variables", build=lambda: _many(2_000), features=16, batches=8, batch_size=32, epochs=3
    ),
}


class Trained:
    """A model whose train step is compiled and whose optimizer has its slots.

    Args:
        name: Key of `SCALES`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.scale = SCALES[name]
        self.model = self.scale.build()
        # So slow that the largest does not diverge on data without a pattern: a loss that is not finite has no best.
        self.model.compile(tfk.optimizers.Adam(1e-5), loss=loss)
        rows = self.scale.batches * self.scale.batch_size
        generator = np.random.default_rng(0)
        self._x = generator.normal(size=(rows, self.scale.features)).astype("float32")
        self._y = generator.normal(size=(rows, 1)).astype("float32")
        self.fit(1)

    def fit(self, epochs: int, *callbacks: tfk.callbacks.Callback) -> None:
        """Train in silence."""
        self.model._training_state = None  # fit asks for it, and BackupAndRestore deletes it at the end of another fit.
        self.model.fit(
            self._x, self._y, batch_size=self.scale.batch_size, epochs=epochs, verbose=0, callbacks=list(callbacks)
        )

    @property
    def state_bytes(self) -> int:
        """Size of its weights and of the optimizer's variables."""
        return sum(array.nbytes for array in state_of(self.model))


def state_of(model: tfk.Model) -> list[np.ndarray[Any, Any]]:
    """Give the values of all variables of a model and its optimizer, where they are: nothing is copied."""
    variables = [*model.variables, *model.optimizer.variables]
    return [np.asarray(memoryview(variable.read_value())) for variable in variables]
