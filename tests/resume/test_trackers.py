from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbModelMixin, restore_latest
from tests.resume.trainings import as_if_stopped, attempt


class Tracked(ProbModelMixin, tfk.Model):  # type: ignore[misc] # tf_keras is untyped
    """Keeps its own loss, as VAEs do; and counts all batches in a metric that no epoch resets."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = tfk.layers.Dense(1)
        self.tracker = tfk.metrics.Mean(name="own")
        self.batches = tfk.metrics.Sum(name="batches")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Apply the layer."""
        return self.dense(inputs)

    @property
    def metrics(self) -> list[Any]:
        """Those that each epoch resets."""
        return [self.tracker]

    def train_step(self, data: Any) -> dict[str, Any]:
        """Make an update."""
        inputs, targets = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(inputs) - targets))
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        self.tracker.update_state(loss)
        self.batches.update_state(1.0)
        return {"loss": self.tracker.result(), "batches": self.batches.result()}


def tracked_model() -> Tracked:
    """Make it compiled."""
    model = Tracked()
    model.compile(tfk.optimizers.SGD(0.1, momentum=0.5))
    return model


@pytest.mark.parametrize("after", [6, 9], ids=["at the end of an epoch", "within one"])
def test_metrics_of_the_model_go_on_and_count_nothing_twice(after: int, run: pathlib.Path) -> None:
    """The logs of every epoch, the cut one too, are those of a training that never stopped."""
    script: dict[str, Any] = {"new_model": tracked_model, "save_freq": 3}
    whole = attempt(run, save_top_k=-1, **script)

    resumed = attempt(as_if_stopped(run, after=after), **script)

    assert resumed.result == whole.result
    assert resumed.history["batches"] == [6.0, 12.0, 18.0]


def test_the_weights_of_a_restored_model_are_complete(run: pathlib.Path) -> None:
    """Those of the metrics that it holds among them."""
    model = attempt(run, new_model=tracked_model).model

    restored = restore_latest(run)

    assert [np.asarray(weight).tobytes() for weight in restored.weights] == [
        np.asarray(weight).tobytes() for weight in model.weights
    ]
    assert float(restored.batches.result()) == 18.0
    assert len(restored.weights) == 5


def test_a_checkpoint_without_the_variables_of_metrics_leaves_them_as_they_are(run: pathlib.Path) -> None:
    """Releases up to 0.1 saved none."""
    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1)])
    manager = CheckpointManager(model, run, monitor="loss")
    manager.save(1, metrics={"loss": 1.0})
    saved = model.get_weights()
    model.set_weights([weight + 1 for weight in saved])
    model.tracker = tfk.metrics.Sum()
    model.tracker.update_state(3.0)

    manager.restore_best()
    manager.close()

    assert [weight.tolist() for weight in model.get_weights()[:2]] == [weight.tolist() for weight in saved]
    assert float(model.tracker.result()) == 3.0


def test_a_metric_that_makes_its_variables_late_begins_anew(run: pathlib.Path, said: Any) -> None:
    """What a rebuilt model has no variable for cannot be put anywhere: that is said, and the model comes back."""
    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1)])
    model.add(Late())
    model.layers[-1].late.update_state([1.0, 2.0])
    with CheckpointManager(model, run) as manager:
        manager.save(1)
    said.clear()

    restored = restore_latest(run)

    assert [weight.tolist() for weight in restored.get_weights()[:2]] == [w.tolist() for w in model.get_weights()[:2]]
    assert "Metrics that are not built yet begin anew: layer-1/late/_count, layer-1/late/_total." in said.messages


class Late(tfk.layers.Layer):  # type: ignore[misc] # tf_keras is untyped
    """Holds a metric that takes its shape from its first values."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.late = tfk.metrics.MeanTensor()

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pass on."""
        return inputs
