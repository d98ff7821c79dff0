from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import CheckpointManager, list_checkpoints
from keras_probckpt.storage.keys import KEY_VARIABLE
from tests.resume.trainings import X, Y


class Loop:
    """A training of the user's own, in any order of its data, that can be begun again."""

    def __init__(self, run: pathlib.Path, dataset: tf.data.Dataset | None = None) -> None:
        tfk.utils.set_random_seed(1)
        self.model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1)])
        self.model.optimizer = tfk.optimizers.Adam(0.1)
        rows = tf.data.Dataset.from_tensor_slices((X, Y))
        self.iterator = iter(dataset if dataset is not None else rows.shuffle(12).repeat().batch(2))
        self.manager = CheckpointManager(self.model, run, monitor="nll", save_top_k=1, save_last=1)
        self.seen: list[list[float]] = []

    def train(self, first: int, last: int, *, scores: dict[int, float]) -> None:
        """Make updates, and save after those that have a score."""
        for step in range(first, last + 1):
            inputs, targets = next(self.iterator)
            self.seen.append(inputs.numpy()[:, 0].tolist())
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(self.model(inputs) - targets))
            variables = self.model.trainable_variables
            self.model.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            if step in scores:
                state = {"temperature": 1 / step, "table": np.arange(step)}
                self.manager.save(
                    step, metrics={"nll": scores[step]}, epoch=1, data_iterator=self.iterator, state=state
                )
        self.manager.wait_until_finished()

    @property
    def bits(self) -> list[bytes]:
        """Every bit of model and optimizer."""
        return [value.numpy().tobytes() for value in (*self.model.variables, *self.model.optimizer.variables)]


def test_a_loop_goes_on_with_its_batches_its_state_and_its_best(run: pathlib.Path) -> None:
    """As if it had never stopped: model, optimizer, data, what the user saved, and what there is to improve on."""
    scores = {3: 1.0, 6: 2.0, 9: 3.0}
    whole = Loop(run.with_name("whole"))
    whole.train(1, 9, scores=scores)
    whole.manager.close()
    stopped = Loop(run)
    stopped.train(1, 8, scores=scores)
    stopped.manager.close()

    resumed = Loop(run)
    point = resumed.manager.resume(data_iterator=resumed.iterator)
    assert point is not None
    resumed.train(point.info.step + 1, 9, scores=scores)
    resumed.manager.close()

    assert resumed.seen == whole.seen[6:]
    assert resumed.bits == whole.bits
    assert (point.info.step, point.info.epoch, point.state["temperature"]) == (6, 1, 1 / 6)
    assert point.state["table"].tolist() == [0, 1, 2, 3, 4, 5]
    assert resumed.manager.best is not None
    assert resumed.manager.best.step == 3
    assert [info.step for info in list_checkpoints(run)] == [3, 9]
    assert len({info.run for info in list_checkpoints(run)}) == 1


def test_where_there_is_nothing_yet_a_loop_begins(run: pathlib.Path) -> None:
    """`resume` may stand in the script from its first run on."""
    loop = Loop(run)

    assert loop.manager.resume(data_iterator=loop.iterator) is None
    loop.train(1, 1, scores={1: 1.0})
    loop.manager.close()

    assert [info.step for info in list_checkpoints(run)] == [1]


def test_data_whose_position_cannot_be_saved_begin_anew_and_that_is_said(
    run: pathlib.Path, said: pytest.LogCaptureFixture
) -> None:
    """At the save, and at the resume."""
    spec = (tf.TensorSpec((2, 1)), tf.TensorSpec((2, 1)))
    dataset = tf.data.Dataset.from_generator(lambda: iter([(X[:2], Y[:2])] * 9), output_signature=spec)
    loop = Loop(run, dataset)
    loop.train(1, 1, scores={1: 1.0})
    loop.manager.close()

    again = Loop(run, dataset)
    point = again.manager.resume(data_iterator=again.iterator)
    again.manager.close()

    assert point is not None
    assert said.messages == [
        "This data iterator has no position that can be saved: resume begins the data anew.",
        f"{run / 'step-0000000001'} holds no position of this data iterator: the data begin anew.",
    ]


def test_a_position_in_the_data_that_a_stranger_wrote_is_not_read(
    run: pathlib.Path, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow would parse it, and trusts what it parses. Model, optimizer and state are data and come back."""
    loop = Loop(run)
    loop.train(1, 3, scores={3: 1.0})
    loop.manager.close()
    monkeypatch.setenv(KEY_VARIABLE, "5f" * 32)

    again = Loop(run)
    point = again.manager.resume(run, data_iterator=again.iterator)
    again.train(4, 4, scores={})
    again.manager.close()

    assert point is not None
    assert point.info.signature == "foreign"
    assert point.state["temperature"] == 1 / 3
    assert again.seen == loop.seen[:1]
    assert said.messages == [
        f"{run / 'step-0000000003'} is not signed with a key of yours: its position in the data is not used.",
        f"{run / 'step-0000000003'} holds no position of this data iterator: the data begin anew.",
    ]


def test_a_state_that_is_no_data_is_refused_where_it_is_given(run: pathlib.Path) -> None:
    """The error names it; nothing was saved."""
    from keras_probckpt.errors import UnrecordableError

    loop = Loop(run)
    state: dict[str, Any] = {"file": lambda: None}

    with pytest.raises(UnrecordableError, match="file"):
        loop.manager.save(1, metrics={"nll": 1.0}, state=state)

    loop.manager.close()
    assert not list(run.glob("step-*"))
