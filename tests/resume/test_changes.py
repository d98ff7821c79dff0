from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from keras_probckpt.errors import VariableMismatchError
from keras_probckpt.training.variables import find_variables
from tests.integration.tiny import negative_log_likelihood
from tests.resume.trainings import X, Y, arrays, as_if_stopped, attempt, density_model, plain_model


def bytes_below(directory: pathlib.Path) -> dict[str, bytes]:
    """Read every file below a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def weighted_model(rate: float, weight: float) -> tfk.Sequential:
    """Make the density network with a rate and a weight of its loss."""
    model = density_model(tfk.optimizers.Adam(rate))
    model.compile(model.optimizer, model.loss, loss_weights=[weight])
    return model


def test_what_the_user_changed_is_kept_and_said(run: pathlib.Path, said: pytest.LogCaptureFixture) -> None:
    """One line for each, with the old and the new; what was not changed goes on."""
    first = attempt(
        run,
        new_model=lambda: weighted_model(0.1, 1.0),
        new_callbacks=lambda: [tfk.callbacks.EarlyStopping("loss", patience=7)],
    )
    said.clear()

    second = attempt(
        run,
        new_model=lambda: weighted_model(0.03125, 0.5),
        new_data=lambda: arrays(batch_size=4),
        new_callbacks=lambda: [tfk.callbacks.EarlyStopping("loss", patience=2)],
        fit={"epochs": 4},
    )

    assert said.messages[:5] == [
        "epochs was 3 before and is 4 now; the new value is taken.",
        "optimizer.learning_rate was 0.1 before and is 0.03125 now; the new value is taken.",
        "loss_weights[0] was 1.0 before and is 0.5 now; the new value is taken.",
        "batch_size was 2 before and is 4 now; the new value is taken.",
        "EarlyStopping.patience was 7 before and is 2 now; the new value is taken.",
    ]
    assert float(second.model.optimizer.learning_rate) == 0.03125
    assert int(second.model.optimizer.iterations) == int(first.model.optimizer.iterations) + 3
    assert second.callbacks[0].patience == 2
    assert second.history["loss"][:3] == first.history["loss"]


class Tempered(ProbModelMixin, tfk.Model):
    """A model with a number that its caller gives, and one that a training sets."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.dense = tfk.layers.Dense(1)
        self.scale = scale
        self.temperature = 1.0

    def call(self, x: Any) -> Any:
        """Scale what a layer makes."""
        return self.dense(x) * self.scale * self.temperature


class Cool(tfk.callbacks.Callback):
    """Sets the temperature."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set it."""
        self.model.temperature = 0.5


def tempered_model(scale: float) -> tfk.Model:
    """Compile such a model."""
    model = Tempered(scale)
    model.compile("sgd", "mse")
    return model


def test_an_argument_that_the_user_changed_is_kept_and_what_the_training_set_is_put_back(run: pathlib.Path) -> None:
    """Both are attributes of one object: which of them the constructor was told otherwise is recorded."""
    attempt(run, new_model=lambda: tempered_model(1.0), new_callbacks=lambda: [Cool()])

    with pytest.warns(UserWarning, match=r"model\.scale: saved 1\.0, rebuilt 2\.0"):
        second = attempt(run, new_model=lambda: tempered_model(2.0), fit={"epochs": 4})

    assert (second.model.scale, second.model.temperature) == (2.0, 0.5)


def test_a_rate_that_a_callback_lowered_is_no_change_of_the_users(
    run: pathlib.Path, said: pytest.LogCaptureFixture
) -> None:
    """The same script again: it goes on with the lowered rate, silently."""
    halve = tfk.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch == 1 else rate)
    attempt(run, crash=(2, 1), new_callbacks=lambda: [halve])
    said.clear()

    resumed = attempt(run, new_callbacks=lambda: [halve])

    assert float(resumed.model.optimizer.learning_rate) == pytest.approx(0.05)
    assert not [message for message in said.messages if "before and is" in message]


def other_optimizer() -> tfk.Sequential:
    """Make it with an optimizer of another kind."""
    return density_model(tfk.optimizers.SGD(0.1))


def test_another_optimizer_begins_anew_and_is_said(run: pathlib.Path, said: pytest.LogCaptureFixture) -> None:
    """The weights go on; of the old optimizer's state nothing is forced upon the new."""
    first = attempt(run)
    said.clear()

    with pytest.warns(UserWarning, match="optimizer"):
        second = attempt(run, new_model=other_optimizer, fit={"epochs": 4})

    assert any("optimizer.name was 'Adam' before and is 'SGD' now" in message for message in said.messages)
    assert second.history["loss"][:3] == first.history["loss"]
    assert float(second.model.optimizer.learning_rate) == pytest.approx(0.1)


def wider_model() -> tfk.Sequential:
    """Make one with a layer more."""
    layers = [tfk.layers.Dense(5), tfk.layers.Dense(2), tfp.layers.IndependentNormal(1)]
    model = tfk.Sequential([tfk.Input((1,)), *layers])
    model.compile(tfk.optimizers.Adam(0.1), negative_log_likelihood)
    return model


def test_another_architecture_is_an_error_before_anything_is_overwritten(run: pathlib.Path) -> None:
    """Model, optimizer and disk are as they were."""
    attempt(run)
    disk = bytes_below(run)
    models: list[tfk.Sequential] = []

    def new_model() -> tfk.Sequential:
        models.append(wider_model())
        models[0].fit(X, Y, verbose=0)
        weights.extend(models[0].get_weights())
        return models[0]

    weights: list[Any] = []
    with pytest.raises(VariableMismatchError, match="layer-1/kernel"):
        attempt(run, new_model=new_model)

    assert [value.tobytes() for value in models[0].get_weights()] == [value.tobytes() for value in weights]
    assert int(models[0].optimizer.iterations) == 1
    assert {name: data for name, data in bytes_below(run).items() if name != ".lock"} == {
        name: data for name, data in disk.items() if name != ".lock"
    }


def kl_model(samples: int) -> tfk.Sequential:
    """Make a Bayesian layer whose divergence counts so many examples."""

    def divergence(posterior: Any, prior: Any, _ignored: Any) -> Any:
        return tfp.distributions.kl_divergence(posterior, prior) / samples

    model = tfk.Sequential([tfk.Input((1,)), tfp.layers.DenseReparameterization(1, kernel_divergence_fn=divergence)])
    model.compile("sgd", "mse")
    return model


# What TFP's own layers do.
@pytest.mark.filterwarnings("ignore:`layer.add_variable` is deprecated:UserWarning")
@pytest.mark.filterwarnings("ignore:The initializer RandomNormal is unseeded:UserWarning")
def test_more_examples_than_a_kl_weight_counts_are_asked_about(
    run: pathlib.Path, said: pytest.LogCaptureFixture
) -> None:
    """One over the number of examples is no longer that."""
    attempt(run, new_model=lambda: kl_model(12), fit={"epochs": 1})
    said.clear()

    attempt(run, new_model=lambda: kl_model(12), new_data=lambda: {**arrays(), "x": X[:8], "y": Y[:8]})

    (line,) = [message for message in said.messages if message.startswith("There were")]
    assert line == (
        "There were 12 training examples before and are 8 now. "
        "The KL weight of layer-0 is one over a number of examples: is it right?"
    )


def test_a_moved_run_goes_on_where_it_is(run: pathlib.Path, said: pytest.LogCaptureFixture) -> None:
    """Nothing in it says where it was."""
    whole = attempt(run, new_model=plain_model, save_top_k=-1)
    moved = as_if_stopped(run, after=6)
    run.rename(run.with_name("gone"))
    said.clear()

    resumed = attempt(moved, new_model=plain_model, save_top_k=-1)

    assert resumed.result == whole.result
    assert [line.split(" (")[0] for line in said.messages] == [
        f"Resuming run {resumed.checkpoint._manager.latest.run} after epoch 1, batch 0",
        "In the data: the data begin with an epoch.",
    ]


def two_layers(*, is_frozen: bool, optimizer: Any) -> tfk.Sequential:
    """Make a density network whose first layer is trained or not."""
    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(2, name="body"), tfk.layers.Dense(2, name="head")])
    model.add(tfp.layers.IndependentNormal(1))
    model.layers[0].trainable = not is_frozen
    model.compile(optimizer, negative_log_likelihood)
    return model


@pytest.mark.filterwarnings("ignore:The model rebuilt from:UserWarning")  # It says what was thawed.
@pytest.mark.parametrize("was_frozen", [True, False], ids=["thawed", "frozen"])
@pytest.mark.parametrize(
    "new_optimizer",
    [lambda: tfk.optimizers.Adam(0.1), lambda: tfk.optimizers.legacy.Adam(0.1), lambda: tfk.optimizers.SGD(0.1)],
    ids=["adam", "legacy_adam", "sgd"],
)
def test_a_layer_that_was_thawed_or_frozen_goes_on_with_the_state_of_the_others(
    new_optimizer: Any, run: pathlib.Path, *, was_frozen: bool
) -> None:
    """Fine-tuning: the optimizer is the one for the model of now; what it knew of layers trained before is kept."""
    before = attempt(
        run, new_model=lambda: two_layers(is_frozen=was_frozen, optimizer=new_optimizer()), fit={"epochs": 2}
    ).model
    states: list[dict[str, Any]] = []
    look = tfk.callbacks.Callback()
    look.on_epoch_begin = lambda _epoch, _logs: states.append(state_of(look.model))  # type: ignore[method-assign]

    after = attempt(
        run,
        new_model=lambda: two_layers(is_frozen=not was_frozen, optimizer=new_optimizer()),
        new_callbacks=lambda: [look],
        fit={"epochs": 3},
    ).model

    known, begun = state_of(before), states[0]
    assert {path: begun[path] for path in known} == known
    assert all(not np.any(np.frombuffer(begun[path], "float32")) for path in begun.keys() - known.keys())
    assert after.history.epoch == [0, 1, 2]
    assert int(after.optimizer.iterations) == 18
    is_trained = [np.any(a.kernel != b.kernel) for a, b in zip(after.layers[:2], before.layers[:2], strict=True)]
    assert is_trained == [was_frozen, True]


def state_of(model: tfk.Model) -> dict[str, bytes]:
    """Take every bit of a model and its optimizer, by path."""
    found = find_variables(model)
    return {path: item.numpy().tobytes() for path, item in {**found.model, **found.optimizers}.items()}
