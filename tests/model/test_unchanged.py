from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.model.unchanged import unchanged
from keras_probckpt.recipe.probe import trace_call


class Impure(tfk.Model):
    """Counts its calls, keeps what it computed, gathers in a list, makes a constant at its first call."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.calls, self.seen, self.constant = tfk.layers.Dense(2), 0, [], None

    def call(self, x: Any) -> Any:  # noqa: D102
        self.calls += 1
        self.last = self.dense(x)
        self.seen.append(self.last)
        if self.constant is None:
            self.constant = tf.ones(2)
        self.add_loss(tf.reduce_sum(self.last))
        return self.last * self.constant


def test_a_look_at_a_model_leaves_it_as_it_was() -> None:
    """Numbers, tensors, lists and losses; it is called eagerly and trained afterwards as if nothing had been."""
    model = Impure()
    model(np.ones((2, 3), "float32"))
    before = {name: vars(model)[name] for name in ("calls", "last", "constant")}

    trace = trace_call(model)

    assert trace is not None
    assert {name: vars(model)[name] for name in before} == before
    assert len(model.seen) == 1
    assert len(model.losses) == 1
    assert model(np.ones((2, 3), "float32")).shape == (2, 2)


def test_what_a_call_made_first_is_gone() -> None:
    """An attribute, and a key of a dict, that were not there before."""
    layer = tfk.layers.Dense(2)
    layer.notes = {}

    with unchanged(layer):
        layer.new = 1
        layer.notes["a"] = 1

    assert not hasattr(layer, "new")
    assert dict(layer.notes) == {}
