"""Variables that training uses and the model does not track."""

from __future__ import annotations

import pathlib
import types
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from tensorflow.python.ops.resource_variable_ops import BaseResourceVariable

from keras_probckpt import CheckpointManager, ProbCheckpoint, inspect_checkpoint, restore_latest
from keras_probckpt.errors import UnrecordableError
from keras_probckpt.training.hidden import find_hidden
from keras_probckpt.training.used import used_variables
from keras_probckpt.training.variables import find_variables

X = np.ones((8, 2), np.float32)

KL_WEIGHT = tf.Variable(0.5, trainable=False)


def weighted_loss(y: Any, prediction: Any) -> Any:
    """Read a global variable of this module."""
    return -prediction.log_prob(y) * KL_WEIGHT


class Scaled(tfk.Model):
    """A model that keeps a variable where Keras does not look."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = tfk.layers.Dense(2)
        self.likelihood = tfp.layers.IndependentNormal(1)
        self.scale = types.SimpleNamespace(value=tf.Variable(2.0))

    def call(self, inputs: Any) -> Any:
        """Scale by the untracked variable."""
        return self.likelihood(self.dense(inputs) * self.scale.value)


class Slotted:
    """Holds a variable out of reach of any search through attributes."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = tf.Variable(3.0, name="out_of_reach")


class OutOfReach(Scaled):
    """A model with such a variable."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Slotted()


STEPS = pytest.mark.parametrize("is_eager", [False, True], ids=["traced", "eager"])


def trained(model: tfk.Model, *callbacks: tfk.callbacks.Callback, is_eager: bool = False) -> tfk.Model:
    """Compile and fit a model for one epoch."""
    model.compile("sgd", weighted_loss, run_eagerly=is_eager)
    model.fit(X, X[:, :1], verbose=0, callbacks=list(callbacks))
    return model


def test_a_model_that_tracks_all_it_uses_hides_nothing() -> None:
    """Metrics, counters and optimizers are not taken for hidden state."""
    model = tfk.Sequential([tfk.layers.Dense(2), tfk.layers.BatchNormalization(), tfp.layers.IndependentNormal(1)])
    model.compile("adam", lambda y, prediction: -prediction.log_prob(y), metrics=["mae"], steps_per_execution=2)
    model.fit(X, X[:, :1], batch_size=2, verbose=0)
    known = find_variables(model)

    hidden = find_hidden(model, (*known.model.values(), *known.optimizers.values()), used_variables(model))

    assert hidden == {}


def test_mixed_precision_hides_nothing() -> None:
    """A layer's variable is the one that casts it; the train step knows the one inside."""
    layers = [tfk.layers.Dense(2, dtype="mixed_float16"), tfk.layers.Dense(2, dtype="float32")]
    model = trained(tfk.Sequential([*layers, tfp.layers.IndependentNormal(1)]))
    known = find_variables(model)

    hidden = find_hidden(model, (*known.model.values(), *known.optimizers.values()), used_variables(model))

    assert list(hidden) == ["hidden~/model/loss/KL_WEIGHT"]


@STEPS
def test_hidden_variables_are_saved_and_restored(tmp_path: pathlib.Path, *, is_eager: bool) -> None:
    """One in a plain object of the model and one that the loss finds in its module come back with their values."""
    model = Scaled()
    model.scale.value.assign(5.0)
    KL_WEIGHT.assign(0.25)
    trained(model, ProbCheckpoint(tmp_path, monitor="loss"), is_eager=is_eager)
    KL_WEIGHT.assign(0.5)

    restored = restore_latest(tmp_path)

    paths = [variable.path for variable in inspect_checkpoint(tmp_path).variables]
    assert [path for path in paths if "~" in path] == ["hidden~/model/loss/KL_WEIGHT", "hidden~/model/scale/value"]
    assert restored.scale.value.numpy() == model.scale.value.numpy() != 2.0
    assert KL_WEIGHT.numpy() == 0.25


@STEPS
def test_a_variable_nothing_leads_to_is_an_error_at_the_first_save(tmp_path: pathlib.Path, *, is_eager: bool) -> None:
    """It would be lost in silence otherwise."""
    with pytest.raises(UnrecordableError, match=r"'out_of_reach:0' of shape \(\).*neither the model nor its loss"):
        trained(OutOfReach(), ProbCheckpoint(tmp_path, monitor="loss"), is_eager=is_eager)

    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


def test_an_eager_step_leaves_tensorflow_as_it_was(tmp_path: pathlib.Path) -> None:
    """What watches a step is gone with it, also where the step fails; and nothing Keras keeps for itself is saved."""
    model = tfk.Sequential([tfk.layers.Dense(2), tfk.layers.BatchNormalization(), tfp.layers.IndependentNormal(1)])
    model.compile("adam", lambda y, prediction: -prediction.log_prob(y), metrics=["mae"], run_eagerly=True)
    kept, graph = dict(vars(BaseResourceVariable)), tf.compat.v1.get_default_graph()
    model.fit(X, X[:, :1], verbose=0, callbacks=[ProbCheckpoint(tmp_path, monitor="loss")])

    with pytest.raises(ValueError, match="incompatible"):
        model.fit(X[:, :1], X[:, :1], verbose=0, callbacks=[ProbCheckpoint(tmp_path, monitor="loss")])

    assert dict(vars(BaseResourceVariable)) == kept
    assert not hasattr(graph, "watch_variable")
    assert not any("~" in variable.path for variable in inspect_checkpoint(tmp_path).variables)


def test_a_training_loop_of_ones_own_has_what_the_model_reads_saved(tmp_path: pathlib.Path) -> None:
    """There is no train step of Keras's to ask: a call of the model tells."""
    model = Scaled()
    model(X)
    model.scale.value.assign(5.0)
    with CheckpointManager(model, tmp_path) as manager:
        manager.save(1)

    restored = restore_latest(tmp_path)

    assert restored.scale.value.numpy() == 5.0
    assert [item.path for item in inspect_checkpoint(tmp_path).variables if "~" in item.path] == [
        "hidden~/model/scale/value"
    ]


def test_a_variable_nothing_leads_to_is_an_error_in_a_training_loop_of_ones_own(tmp_path: pathlib.Path) -> None:
    """As in `fit`."""
    model = OutOfReach()
    model(X)

    with (
        CheckpointManager(model, tmp_path) as manager,
        pytest.raises(UnrecordableError, match=r"'out_of_reach:0' of shape \(\).*neither the model nor its loss"),
    ):
        manager.save(1)
