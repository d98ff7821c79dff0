"""What is in a checkpoint that was still to be written when training went on."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint, list_checkpoints, verify_checkpoint
from keras_probckpt.training.assignment import put_back
from keras_probckpt.training.snapshot import snapshot_of
from keras_probckpt.training.variables import find_variables
from tests.integration.held import digests_of, held_manager
from tests.integration.tiny import X, Y, new_model
from tests.storage.held_filesystem import PATIENCE_SECONDS

WORDS = np.array([[0, 1], [2, 3], [4, 0], [1, 2]])
TARGETS = np.ones((4, 1), "float32")


def compiled(optimizer: Any, layers: list[tfk.layers.Layer] | None = None, **options: Any) -> tfk.Sequential:
    """Make a model with an embedding, whose gradients are sparse."""
    hidden = layers or [tfk.layers.Dense(4, "relu")]
    model = tfk.Sequential([tfk.layers.Embedding(6, 3, input_length=2), tfk.layers.Flatten(), *hidden])
    model.add(tfk.layers.Dense(1, dtype="float32"))
    model.compile(optimizer, "mse", **options)
    return model


def train(model: tfk.Model) -> None:
    """Make twelve updates."""
    model.fit(WORDS, TARGETS, batch_size=1, epochs=3, verbose=0)


def for_each_variable(change: Callable[[tf.Variable], Any]) -> Callable[[tfk.Model], None]:
    """Change the model and its optimizer variable by variable, several times over."""

    def change_all(model: tfk.Model) -> None:
        found = find_variables(model)
        for _ in range(3):
            for variable in (*found.model.values(), *found.optimizers.values()):
                change(variable)

    return change_all


def scatter(variable: tf.Variable) -> None:
    """Write one row, as a sparse update does."""
    if variable.shape.rank:
        row = tf.fill([1, *variable.shape[1:]], tf.cast(7, variable.dtype))
        variable.scatter_update(tf.IndexedSlices(row, [0]))
    else:
        variable.assign_add(tf.cast(1, variable.dtype))


def swap_with_averages(model: tfk.Model) -> None:
    """Let the optimizer put its moving averages in place of the weights, as it does at the end of a training."""
    train(model)
    model.optimizer.finalize_variable_values(model.trainable_variables)


def restore_zeros(model: tfk.Model) -> None:
    """Put other values into the same variables, as a restore does."""
    variables = find_variables(model).model
    put_back(variables, {path: np.zeros_like(array) for path, array in snapshot_of(variables).items()}, path="zeros")


def train_with_a_tape(model: tfk.Model) -> None:
    """Train in a loop of one's own, compiled to one graph."""

    @tf.function
    def update() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(WORDS, training=True) - TARGETS) ** 2)
        variables = model.trainable_variables
        model.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(3):
        update()


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, and what is done to it while its checkpoint is pending.

    Attributes:
        build: Makes the model.
        change: Changes its variables.
    """

    build: Callable[[], tfk.Model]
    change: Callable[[tfk.Model], None] = train


ADAM = tfk.optimizers.Adam
LEGACY = tfk.optimizers.legacy
CASES = {
    "steps": Case(lambda: compiled(ADAM(0.1))),
    "steps of SGD with momentum": Case(lambda: compiled(tfk.optimizers.SGD(0.1, momentum=0.9))),
    "steps in one kernel": Case(lambda: compiled(ADAM(0.1), jit_compile=True)),
    "steps of an optimizer in one kernel": Case(lambda: compiled(ADAM(0.1, jit_compile=True))),
    "several steps per execution": Case(lambda: compiled(ADAM(0.1), steps_per_execution=4)),
    "eager steps": Case(lambda: compiled(ADAM(0.1), run_eagerly=True)),
    "a loop of one's own": Case(lambda: compiled(ADAM(0.1)), train_with_a_tape),
    "steps of float16 with a loss scale": Case(
        lambda: compiled(
            tfk.mixed_precision.LossScaleOptimizer(ADAM(0.1)), [tfk.layers.Dense(4, dtype="mixed_float16")]
        )
    ),
    "steps of bfloat16": Case(lambda: compiled(ADAM(0.1), [tfk.layers.Dense(4, dtype="bfloat16")])),
    "moving means of the inputs": Case(lambda: compiled(ADAM(0.1), [tfk.layers.BatchNormalization()])),
    "moving averages": Case(lambda: compiled(ADAM(0.1, use_ema=True, ema_overwrite_frequency=2)), swap_with_averages),
    "legacy Adam": Case(lambda: compiled(LEGACY.Adam(0.1))),
    "legacy Adagrad": Case(lambda: compiled(LEGACY.Adagrad(0.1))),
    "legacy SGD": Case(lambda: compiled(LEGACY.SGD(0.1, momentum=0.9, nesterov=True))),
    "assign": Case(lambda: compiled(ADAM(0.1)), for_each_variable(lambda v: v.assign(tf.ones_like(v)))),
    "assign_add": Case(lambda: compiled(ADAM(0.1)), for_each_variable(lambda v: v.assign_add(tf.ones_like(v)))),
    "scatter_update": Case(lambda: compiled(ADAM(0.1)), for_each_variable(scatter)),
    "set_weights": Case(
        lambda: compiled(ADAM(0.1)), lambda model: model.set_weights([w + 1 for w in model.get_weights()])
    ),
    "a restore into the model": Case(lambda: compiled(ADAM(0.1)), restore_zeros),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_checkpoint_holds_the_state_at_the_call_whatever_comes_before_it_is_written(
    case: Case, run: pathlib.Path
) -> None:
    """The file's digest is that of the values which were copied one by one at the moment of `save`."""
    model = case.build()
    train(model)
    manager, held = held_manager(model, run)

    at_the_call = digests_of(model)
    manager.save(1)
    held.wait_until_held()
    case.change(model)
    after = digests_of(model)
    held.release()
    manager.close()

    (info,) = list_checkpoints(run)
    assert {file: info.files[file].blake3 for file in at_the_call} == at_the_call
    verify_checkpoint(info.path)
    assert after["model.safetensors"] != at_the_call["model.safetensors"]


def test_a_checkpoint_that_waits_for_its_turn_is_of_its_own_moment(run: pathlib.Path) -> None:
    """Two are pending, and the training is at a third state already."""
    model = compiled(ADAM(0.1))
    train(model)
    manager, held = held_manager(model, run, save_top_k=-1, monitor="loss")
    expected = []
    for step in (1, 2):
        expected.append(digests_of(model))
        manager.save(step, metrics={"loss": 1.0})
        held.wait_until_held()
        train(model)
    held.release()
    manager.close()

    found = [{file: info.files[file].blake3 for file in expected[0]} for info in list_checkpoints(run)]
    assert found == expected
    assert expected[0] != expected[1]


def test_best_and_latest_name_only_what_is_committed(run: pathlib.Path) -> None:
    """While a save is pending they name the one before; afterwards they name it."""
    model = compiled(ADAM(0.1))
    manager, held = held_manager(model, run, monitor="loss")
    manager.save(1, metrics={"loss": 1.0})
    held.wait_until_held()
    before = (manager.best, manager.latest)
    held.release()
    manager.wait_until_finished()

    assert before == (None, None)
    assert manager.best is not None
    assert manager.best == manager.latest
    assert manager.best.step == 1
    manager.close()


@pytest.mark.parametrize(
    ("scores", "asked", "kept"), [([2.0, 3.0, 1.0], [True, False, True], [3]), ([2.0, 2.0], [True, False], [1])]
)
def test_what_is_pending_counts_when_it_is_asked_what_is_worth_saving(
    scores: list[float], asked: list[bool], kept: list[int], run: pathlib.Path
) -> None:
    """With `save_best_only` a score that does not improve on a pending one is not saved."""
    manager, held = held_manager(compiled(ADAM(0.1)), run, monitor="loss", save_best_only=True)

    outcomes = [manager.save(step, metrics={"loss": score}) for step, score in enumerate(scores, start=1)]
    held.release()
    manager.close()

    assert outcomes == asked
    assert [info.step for info in list_checkpoints(run)] == kept


def test_a_step_that_goes_back_behind_a_pending_one_is_refused(run: pathlib.Path) -> None:
    """As behind one that is committed."""
    manager, held = held_manager(compiled(ADAM(0.1)), run)
    manager.save(5)

    with pytest.raises(ValueError, match="step went back: 5 was saved before, got 3"):
        manager.save(3)

    held.release()
    manager.close()


def test_the_best_goes_back_into_the_model_when_it_is_committed(run: pathlib.Path) -> None:
    """`restore_best` waits for what is pending."""
    model = compiled(ADAM(0.1))
    train(model)
    manager, held = held_manager(model, run, monitor="loss")
    at_the_call = digests_of(model)
    manager.save(1, metrics={"loss": 1.0})
    held.wait_until_held()
    train(model)
    held.release()

    manager.restore_best()

    assert digests_of(model) == at_the_call
    manager.close()


class Remembers(tfk.callbacks.Callback):
    """Has its epochs in one list, which it gives away as its state and goes on filling."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Fill it."""
        self.epochs.append(epoch)

    def get_state(self) -> list[int]:
        """Give it away."""
        return self.epochs

    def set_state(self, state: list[int]) -> None:
        """Take one."""
        self.epochs = state


def test_what_callbacks_know_is_of_the_moment_too(run: pathlib.Path) -> None:
    """Theirs and tf_keras's own, though it is written down while they learn more."""
    trained = threading.Event()
    checkpoint = ProbCheckpoint(
        run / "{epoch}", monitor="loss", rehearse=False, on_commit=[lambda _: trained.wait(PATIENCE_SECONDS)]
    )
    end = tfk.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: trained.set() if epoch == 2 else None)

    new_model().fit(X, Y, batch_size=2, epochs=3, verbose=0, callbacks=[Remembers(), checkpoint, end])

    for epoch in (1, 2, 3):
        known = json.loads((run / f"{epoch}" / "training.json").read_text())["fit"]["callbacks"]
        assert known["Remembers"] == list(range(epoch))
        # tf_keras's own history is called last.
        assert known["History"]["epoch"] == list(range(epoch - 1))
        assert len(known["History"]["history"].get("loss", ())) == epoch - 1
