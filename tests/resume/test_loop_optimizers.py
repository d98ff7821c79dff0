from __future__ import annotations

import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import CheckpointManager, restore_latest
from tests.resume.trainings import X, Y

Adam, SGD = tfk.optimizers.Adam, tfk.optimizers.SGD


def two_parts() -> tfk.Sequential:
    """Make a model that two optimizers train, each a layer."""
    tfk.utils.set_random_seed(1)
    return tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(2), tfk.layers.Dense(1)])


def trained(  # noqa: PLR0913 - a loop has these
    run: pathlib.Path, *, first: int, last: int, given: Any, used: Sequence[Any], is_built: bool = False
) -> Any:
    """Train with optimizers that are local variables, and save after each step; resume where there is what to."""
    model = two_parts()
    parts = [layer.trainable_variables for layer in model.layers]
    parts = [[*parts[0], *parts[1]]] if len(used) == 1 else parts
    if is_built:
        for optimizer, variables in zip(used, parts, strict=True):
            optimizer.build(variables)
    with CheckpointManager(model, run, rehearse=False, optimizers=given) as manager:
        manager.resume() if first > 1 else None
        for step in range(first, last + 1):
            for optimizer, variables in zip(used, parts, strict=True):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean(tf.square(model(X) - Y))
                optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            manager.save(step)
    state = [*model.variables, *(v for o in used for v in (o.variables() if callable(o.variables) else o.variables))]
    return [item.numpy().tobytes() for item in state]


KINDS: dict[str, Any] = {
    "one": (lambda: [Adam(0.1)], lambda used: used[0]),
    "list": (lambda: [Adam(0.1), SGD(0.1, momentum=0.9)], list),
    "dict": (lambda: [Adam(0.1), Adam(0.01)], lambda used: {"encoder": used[0], "critic/a": used[1]}),
    "legacy": (lambda: [tfk.optimizers.legacy.Adam(0.1)], lambda used: used[0]),
    "ema": (lambda: [Adam(0.1, use_ema=True)], lambda used: used[0]),
}


@pytest.mark.parametrize("is_built", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_optimizers_that_are_local_variables_go_on_bit_by_bit(kind: str, run: pathlib.Path, *, is_built: bool) -> None:
    """Given as `optimizers=`, built already or not, their slots are those of the model's variables by path."""
    new, given = KINDS[kind]
    is_built = is_built and kind != "legacy"  # Those of legacy have no such method.
    whole, stopped, resumed = new(), new(), new()
    expected = trained(run.with_name("whole"), first=1, last=4, given=given(whole), used=whole)
    trained(run, first=1, last=2, given=given(stopped), used=stopped)

    result = trained(run, first=3, last=4, given=given(resumed), used=resumed, is_built=is_built)

    assert result == expected


def test_a_model_comes_back_without_the_optimizers_of_the_loop(run: pathlib.Path) -> None:
    """They are the loop's: a restored model is not compiled with them, and one that is keeps its own."""
    model, optimizer = two_parts(), Adam(0.1)
    model.compile(SGD(0.1, momentum=0.9), "mse")
    model.fit(X, Y, verbose=0)
    optimizer.build(model.trainable_variables)
    with CheckpointManager(model, run, optimizers=optimizer) as manager:
        manager.save(1)

    restored = restore_latest(run)

    assert [w.tobytes() for w in restored.get_weights()] == [w.tobytes() for w in model.get_weights()]
    assert [v.numpy().tobytes() for v in restored.optimizer.variables] == [
        v.numpy().tobytes() for v in model.optimizer.variables
    ]


def test_optimizers_that_are_others_than_were_saved_are_named(run: pathlib.Path, said: Any) -> None:
    """What is among both goes on, the rest begins anew."""
    old, new = [Adam(0.1), Adam(0.1)], [Adam(0.1), Adam(0.1)]
    trained(run, first=1, last=2, given={"a": old[0], "b": old[1]}, used=old)

    trained(run, first=3, last=3, given={"a": new[0], "c": new[1]}, used=new)

    (message,) = [message for message in said.messages if "optimizers=" in message]
    assert message == (
        f"{run / 'step-0000000002'} has the state of these optimizers= of a loop: a, b. Given now: a, c. What is not "
        "among both begins anew."
    )
    assert [int(optimizer.iterations) for optimizer in new] == [3, 1]


class NoOptimizer:
    """Something else."""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "adam",
            "optimizers must be a tf_keras optimizer, a list or a dict of them, got builtins.str. Nothing was saved.",
        ),
        (
            [SGD(0.1), None],
            "optimizers[1] must be a tf_keras optimizer, a list or a dict of them, got builtins.NoneType. ",
        ),
        (
            {"a": NoOptimizer()},
            "optimizers['a'] must be a tf_keras optimizer, a list or a dict of them, got tests.resume.",
        ),
        ({1: SGD(0.1)}, "optimizers= must have names that are texts, got 1. Nothing was saved."),
        (tf.optimizers.Adam(), "Take one of tf_keras.optimizers: in this TensorFlow, tf.keras is Keras 3."),
    ],
)
def test_what_is_no_optimizer_is_refused_where_it_is_given(given: Any, message: str, run: pathlib.Path) -> None:
    """With its place, and what it is."""
    with pytest.raises(TypeError) as caught:
        CheckpointManager(two_parts(), run, optimizers=given)

    assert message in str(caught.value)
    assert not run.exists()


def messages_of(run: pathlib.Path, model: tfk.Model, updates: Sequence[Any], **given: Any) -> list[str]:
    """Save after each update, and give the warnings of optimizers."""
    with (
        warnings.catch_warnings(record=True) as caught,
        CheckpointManager(model, run, rehearse=False, **given) as manager,
    ):
        warnings.simplefilter("always")
        for step, update in enumerate(updates, start=1):
            update()
            manager.save(step)
    return [str(item.message) for item in caught if "optimizer" in str(item.message)]


def test_a_training_whose_optimizer_is_not_saved_is_warned_of_once(run: pathlib.Path) -> None:
    """It shows in variables that change between two saves of a model without an optimizer."""
    model = two_parts()

    def update() -> None:
        model.trainable_variables[0].assign_add(np.ones((1, 2)))

    (message,) = messages_of(run, model, [update, update, update])

    assert message == (
        "The trainable variables have changed since the last save, and the model leads to no optimizer: the "
        "checkpoints hold none, and a resumed training would begin with a new one. Write "
        "CheckpointManager(model, directory, optimizers=optimizer), with one, a list or a dict by name."
    )


@pytest.mark.parametrize("kind", ["untouched", "compiled", "given"])
def test_no_optimizer_is_missed_where_there_is_one_or_nothing_is_trained(kind: str, run: pathlib.Path) -> None:
    """A model that only statistics change, one that is compiled, and one whose optimizer was given."""
    model = two_parts()
    if kind == "compiled":
        model.compile("sgd", "mse")
    given: Mapping[str, Any] = {"optimizers": SGD(0.1)} if kind == "given" else {}

    def update() -> None:
        if kind != "untouched":
            model.trainable_variables[0].assign_add(np.ones((1, 2)))

    assert messages_of(run, model, [update, update], **given) == []
