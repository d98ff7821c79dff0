from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbModelMixin, list_checkpoints, restore_best, restore_latest
from keras_probckpt.errors import CheckpointNotFoundError
from tests.integration.tiny import X, Y, names_in, new_model, weights_of


class Loop:
    """A training of the user's own: a model without `compile`, an optimizer, a tape."""

    def __init__(self) -> None:
        self.model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(2), tfp.layers.IndependentNormal(1)])
        self.model.optimizer = tfk.optimizers.Adam(0.1)

    def update(self) -> float:
        """Make one update and give the loss before it."""
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(self.model(X).log_prob(Y))
        variables = self.model.trainable_variables
        self.model.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return float(loss)


def test_a_loop_of_ones_own_saves_and_restores(run: pathlib.Path) -> None:
    """The engine of the callback, for whoever trains without `fit`."""
    loop = Loop()
    scores = [3.0, 1.0, 2.0]
    weights: list[Any] = []

    with CheckpointManager(loop.model, run, monitor="nll") as manager:
        for step, score in enumerate(scores, start=1):
            loop.update()
            assert manager.save(step, metrics={"nll": score})
            weights.append(weights_of(loop.model))

    assert names_in(run) == ["step-0000000002", "step-0000000003"]
    assert weights_of(restore_best(run)) == weights[1]
    assert weights_of(restore_latest(run)) == weights[2]
    assert manager.best is not None
    assert manager.best.path == run / "step-0000000002"
    assert [(info.epoch, info.batch) for info in list_checkpoints(run)] == [(None, None)] * 2


def test_the_best_goes_back_into_the_live_model_with_its_optimizer(run: pathlib.Path) -> None:
    """Training goes on from the best as it would have gone on from there: the next update is the same."""
    loop = Loop()
    with CheckpointManager(loop.model, run, monitor="nll") as manager:
        for step, score in enumerate([1.0, 2.0], start=1):
            loop.update()
            manager.save(step, metrics={"nll": score})
            if step == 1:
                at_best = weights_of(loop.model)
        after_best = weights_of(loop.model)

        info = manager.restore_best()

    assert (info.step, info.logs["nll"]) == (1, 1.0)
    assert weights_of(loop.model) == at_best
    assert int(loop.model.optimizer.iterations) == 1
    loop.update()
    assert weights_of(loop.model) == after_best


def test_the_best_goes_back_into_a_model_that_was_compiled_anew(run: pathlib.Path) -> None:
    """An optimizer without slots yet gets them."""
    model = new_model()
    model.fit(X, Y, verbose=0)
    with CheckpointManager(model, run, monitor="nll") as manager:
        manager.save(1, metrics={"nll": 1.0})
        saved, slots = weights_of(model), [value.numpy().tobytes() for value in model.optimizer.variables]
        model.compile("adam", loss=model.loss)
        manager.restore_best()

    assert weights_of(model) == saved
    assert [value.numpy().tobytes() for value in model.optimizer.variables] == slots


@pytest.mark.parametrize("metrics", [None, {"nll": float("nan")}])
def test_without_a_finite_score_there_is_no_best_to_go_back_to(
    metrics: dict[str, float] | None, run: pathlib.Path
) -> None:
    """The model is left as it is, and the message says so."""
    model = new_model()
    manager = CheckpointManager(model, run, monitor="nll")
    if metrics is not None:
        manager.save(1, metrics=metrics)
    before = weights_of(model)

    with pytest.raises(CheckpointNotFoundError, match="The model is as it was"):
        manager.restore_best()

    manager.close()
    assert weights_of(model) == before


def test_what_is_saved_is_the_model_at_the_call(run: pathlib.Path) -> None:
    """What the model is set to afterwards does not change the checkpoint."""
    model = new_model()
    before = weights_of(model)

    with CheckpointManager(model, run) as manager:
        manager.save(1)
        for variable in model.variables:
            variable.assign(variable + 1)
        manager.wait_until_finished()

    assert weights_of(restore_latest(run)) == before


def test_save_tells_whether_it_saved(run: pathlib.Path) -> None:
    """With `save_best_only` only an improvement is."""
    with CheckpointManager(new_model(), run, monitor="nll", save_best_only=True) as manager:
        outcomes = [manager.save(step, metrics={"nll": score}) for step, score in [(1, 2.0), (2, 3.0), (3, 1.0)]]

    assert outcomes == [True, False, True]
    assert names_in(run) == ["step-0000000003"]


def test_after_close_a_save_goes_on_with_the_run(run: pathlib.Path) -> None:
    """The directory is taken again; it is the same run with the same best."""
    manager = CheckpointManager(new_model(), run, monitor="nll")
    manager.save(1, metrics={"nll": 1.0})
    manager.close()
    assert (run / ".lock").read_bytes() == b""

    manager.save(2, metrics={"nll": 2.0})
    manager.close()

    assert [(info.step, info.run_number) for info in list_checkpoints(run)] == [(1, 1), (2, 1)]
    assert len({info.run for info in list_checkpoints(run)}) == 1


def test_a_with_block_that_fails_gives_the_directory_back(run: pathlib.Path) -> None:
    """The error comes through, the lock is free, what was saved stays."""

    def loop() -> None:
        with CheckpointManager(new_model(), run) as manager:
            manager.save(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()

    assert (run / ".lock").read_bytes() == b""
    assert names_in(run) == ["step-0000000001"]


def test_a_template_names_checkpoints_of_a_loop_too(run: pathlib.Path) -> None:
    """With the step, the epoch if there is one, and any metric."""
    with CheckpointManager(new_model(), run / "{step:03d}-{nll:.1f}") as manager:
        manager.save(7, metrics={"nll": 0.25})
        manager.save(8, metrics={"nll": 0.75}, epoch=2)

    assert names_in(run) == ["007-0.2", "008-0.8"]


def test_metrics_may_be_tensors(run: pathlib.Path) -> None:
    """What a loop has at hand need not be turned into floats first."""
    with CheckpointManager(new_model(), run) as manager:
        manager.save(1, metrics={"nll": tf.constant(0.5)})

    assert list_checkpoints(run)[0].logs == {"nll": 0.5}


def test_a_subclassed_model_that_was_never_called_is_saved_and_restored(run: pathlib.Path) -> None:
    """Step 0 of a loop: there are no variables yet, and none come back."""
    model = tfk.Sequential([tfk.layers.Dense(2), tfp.layers.IndependentNormal(1)])

    with CheckpointManager(model, run) as manager:
        manager.save(0)
        model(X)
        manager.save(1)

    assert [len(restore_latest(info.path).variables) for info in list_checkpoints(run)] == [2]


@pytest.mark.parametrize(
    "arguments", [{"save_best_only": True}, {"monitor": "nll", "mode": "mni"}, {"save_top_k": 0, "save_last": 0}]
)
def test_arguments_without_meaning_are_refused_at_once(arguments: dict[str, Any], run: pathlib.Path) -> None:
    """Before a loop has run for hours."""
    with pytest.raises(ValueError, match=r"monitor|mode|keep no checkpoint"):
        CheckpointManager(new_model(), run, **arguments)

    assert not run.exists()


def test_a_step_that_goes_back_is_refused(run: pathlib.Path) -> None:
    """The newest would not be the latest, and what was just saved might be removed at once."""
    with CheckpointManager(new_model(), run) as manager:
        manager.save(5)

        with pytest.raises(ValueError, match=r"step went back: 5 was saved before, got 3\. Nothing was saved\."):
            manager.save(3)

    assert names_in(run) == ["step-0000000005"]


WEIGHT = tf.Variable(2.0)
PARTS: list[str] = []


def loss_in_parts(y: Any, prediction: Any) -> Any:
    """Find a variable in the module, but only where a part asks for it."""
    return -prediction.log_prob(y) * (WEIGHT if PARTS else 1.0)


def test_a_variable_that_only_a_later_trace_uses_is_saved_from_then_on(run: pathlib.Path) -> None:
    """What saves have in common is found anew when the train step is."""
    model = new_model()
    model.compile("sgd", loss_in_parts)
    found = []
    with CheckpointManager(model, run, save_top_k=-1, rehearse=False) as manager:
        for step in (1, 2):
            model.fit(X, Y, verbose=0)
            manager.save(step)
            manager.wait_until_finished()
            info = list_checkpoints(run)[step - 1]
            found.append("hidden~/" in (info.path / "recipe.json").read_text())
            PARTS.append("the weight")
            model.make_train_function(force=True)
    PARTS.clear()

    assert found == [False, True]


def test_a_layer_that_is_frozen_between_two_saves_comes_back_frozen(run: pathlib.Path) -> None:
    """A loop of one's own compiles nothing anew for it."""
    loop = Loop()
    with CheckpointManager(loop.model, run) as manager:
        loop.update()
        manager.save(1)
        loop.model.layers[0].trainable = False
        manager.save(2)

    assert not restore_latest(run).layers[0].trainable


def test_a_layer_without_variables_that_is_added_between_two_saves_comes_back(run: pathlib.Path) -> None:
    """All paths of variables are the same before and after."""
    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(2)])
    with CheckpointManager(model, run) as manager:
        manager.save(1)
        model.add(tfp.layers.IndependentNormal(1))
        manager.save(2)

    expected, found = model(X).log_prob(Y), restore_latest(run)(X).log_prob(Y)

    assert np.array_equal(found, expected)


class Plain:
    """Holds a variable that Keras does not see."""

    def __init__(self) -> None:
        self.scale = tf.Variable(2.0, trainable=False)


class Scaled(ProbModelMixin, tfk.Model):
    """Uses a variable that only plain Python leads to."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = tfk.layers.Dense(1)
        self.plain = Plain()

    def call(self, inputs: Any) -> Any:
        """Scale."""
        return self.dense(inputs) * self.plain.scale


def test_an_untracked_variable_is_saved_from_the_first_call_on(run: pathlib.Path) -> None:
    """A save before that cannot know of it."""
    model = Scaled()
    model.build((None, 1))
    with CheckpointManager(model, run) as manager:
        manager.save(1)
        model(X)
        model.plain.scale.assign(5.0)
        manager.save(2)

    assert restore_latest(run).plain.scale.numpy() == 5.0


def test_a_save_that_no_rule_wants_is_not_taken_for_the_one_that_is_there(run: pathlib.Path) -> None:
    """A rehearsal of the best one would find it to return something else than the live model."""
    loop, again = Loop(), Loop()
    rules: Any = {"monitor": "nll", "save_last": False}
    with CheckpointManager(loop.model, run, rehearse=False, **rules) as manager:
        loop.update()
        manager.save(1, metrics={"nll": 1.0})

    with CheckpointManager(again.model, run, rehearse=True, **rules) as manager:
        assert manager.resume() is not None
        again.update()
        manager.save(2, metrics={"nll": 2.0})

    assert names_in(run) == ["step-0000000001"]


def tracked_names(model: tfk.Model) -> dict[str, list[str]]:
    """Name what Keras tracks of a model and its layers."""
    return {layer.name: sorted(tf.train.TrackableView.children(layer)) for layer in model._flatten_layers()}


def test_a_save_leaves_what_keras_tracks_as_it_is(run: pathlib.Path) -> None:
    """The model is called symbolically, to say what it returns and to try the checkpoint."""
    model = new_model()
    model.fit(X, Y, verbose=0)
    before = tracked_names(model)

    with CheckpointManager(model, run) as manager:
        manager.save(1)

    assert tracked_names(model) == before
