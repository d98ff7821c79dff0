from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt.training.fit_call import running_fit
from keras_probckpt.training.settings import changed_settings, layers_weighted_by, learning_rates, settings_of

tfd = tfp.distributions
X = np.zeros((5, 1), "float32")

# What TFP's own layers do.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`layer.add_variable` is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:The initializer RandomNormal is unseeded:UserWarning"),
]


def compiled(optimizer: Any = "sgd", **options: Any) -> tfk.Sequential:
    """Make a model of one layer."""
    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1, name="dense")])
    model.compile(optimizer, "mse", **options)
    return model


def chosen(model: tfk.Model, *callbacks: tfk.callbacks.Callback, **fit: Any) -> dict[str, Any]:
    """Train, and take the settings as the training begins."""
    found: dict[str, Any] = {}

    class Look(tfk.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            found.update(settings_of(model, running_fit(model)))  # type: ignore[arg-type]

    options = {"x": X, "y": X, "batch_size": 2, "verbose": 0, **fit}
    model.fit(**options, callbacks=[*callbacks, Look()])
    return found


def test_what_a_user_chose_has_a_name() -> None:
    """Of the optimizer, the losses, the data and the callbacks, as plain values."""
    model = compiled(tfk.optimizers.SGD(0.5, momentum=0.25), loss_weights=[2])

    found = chosen(model, tfk.callbacks.EarlyStopping("loss", patience=7), epochs=3)

    expected = {
        "epochs": 3,
        "optimizer.name": "SGD",
        "optimizer.learning_rate": 0.5,
        "optimizer.momentum": 0.25,
        "loss_weights[0]": 2,
        "batch_size": 2,
        "samples": 5,
        "steps_per_epoch": 3,
        "EarlyStopping.patience": 7,
        "EarlyStopping.restore_best_weights": False,
    }
    assert {name: found[name] for name in expected} == expected
    assert not [name for name in found if name.startswith(("History", "EarlyStopping.best", "EarlyStopping.wait"))]


def test_a_schedule_is_told_by_its_own_settings() -> None:
    """A number in it that was changed is named."""
    schedule = tfk.optimizers.schedules.ExponentialDecay(0.5, 10, 0.25)

    found = chosen(compiled(tfk.optimizers.Adam(schedule)))

    assert found["optimizer.learning_rate.config.decay_rate"] == 0.25


def test_what_tf_keras_sets_by_the_device_is_not_the_users() -> None:
    """`jit_compile` is another on another machine, in an optimizer that scales the loss too."""
    found = chosen(compiled(tfk.mixed_precision.LossScaleOptimizer(tfk.optimizers.Adam(0.5))))

    assert not [name for name in found if name.endswith("jit_compile")]
    assert found["optimizer.inner_optimizer.config.learning_rate"] == 0.5


class Silent(tfk.optimizers.SGD):  # type: ignore[misc] # tf_keras is untyped
    """A user's optimizer that has nothing to say of its settings."""

    answer: Any = None

    def get_config(self) -> Any:
        """Say nothing, or fail."""
        if self.answer is not None:
            raise self.answer


@pytest.mark.parametrize("answer", [None, NotImplementedError("not yet"), KeyError("rate")])
def test_an_optimizer_that_does_not_tell_its_settings_has_none(
    answer: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `tfp.optimizer.VariationalSGD`, whose `get_config` gives None; the other settings are there."""
    monkeypatch.setattr(Silent, "answer", answer)

    found = chosen(compiled(Silent(0.5)), epochs=2)

    assert found["epochs"] == 2
    assert not [name for name in found if name.startswith("optimizer")]


@pytest.mark.parametrize(
    ("data", "samples"),
    [
        ({"x": X, "y": X, "batch_size": 5}, 5),
        ({"x": X, "y": X, "steps_per_epoch": 2}, 5),
        ({"x": tf.data.Dataset.from_tensor_slices((X, X)).batch(2), "y": None, "batch_size": None}, None),
    ],
)
def test_examples_are_counted_where_that_needs_no_reading(data: dict[str, Any], samples: int | None) -> None:
    """Of arrays; not of a `tf.data` pipeline."""
    assert chosen(compiled(), **data).get("samples") == samples


def test_only_what_both_have_and_differs_is_a_change() -> None:
    """A setting that is new or gone is none; a NaN is the same as a NaN, and 0.1 as the float32 an optimizer keeps."""
    before = {"a": 1, "b": 2, "gone": 3, "nan": math.nan, "to_nan": 1.0, "rounded": 0.1}
    now = {"a": 1, "b": 5, "new": 4, "nan": math.nan, "to_nan": math.nan, "rounded": 0.10000000149011612}

    changed = changed_settings(before, now)

    assert list(changed) == ["b", "to_nan"]
    assert changed["b"] == (2, 5)


@pytest.mark.parametrize(
    ("optimizer", "changed", "rates"),
    [
        (lambda: tfk.optimizers.Adam(0.5), ["optimizer.learning_rate"], [0.5]),
        (lambda: tfk.optimizers.legacy.SGD(0.5), ["optimizer.learning_rate"], [0.5]),
        (lambda: tfk.optimizers.Adam(0.5), None, [0.5]),
        (lambda: tfk.optimizers.Adam(0.5), ["optimizer.beta_1", "epochs"], []),
        (lambda: tfk.optimizers.Adam(0.5), ["optimizer-2.learning_rate"], []),
        (
            lambda: tfk.mixed_precision.LossScaleOptimizer(tfk.optimizers.Adam(0.5)),
            ["optimizer.inner_optimizer.config.learning_rate"],
            [0.5],
        ),
    ],
)
def test_a_changed_learning_rate_is_found_with_its_variable(
    optimizer: Any, changed: list[str] | None, rates: list[float]
) -> None:
    """Or that of each optimizer."""
    model = compiled(optimizer())
    model.fit(X, X, verbose=0)

    assert [float(rate) for _, rate in learning_rates(model, changed)] == rates


WEIGHT = 1 / 12


def by_a_global(posterior: Any, prior: Any, _ignored: Any) -> Any:
    """Weight by a number of the module."""
    return WEIGHT * tfd.kl_divergence(posterior, prior)


def by_a_local(samples: int) -> Any:
    """Weight by a number of the function around."""
    return lambda posterior, prior, _ignored: tfd.kl_divergence(posterior, prior) / samples


def parameters(count: int) -> Any:
    """Make a distribution over the parameters of a layer, as a model."""
    return lambda kernel, bias, dtype=None: tfk.Sequential(
        [
            tfp.layers.VariableLayer(count * (kernel + bias), dtype=dtype),
            tfp.layers.IndependentNormal(kernel + bias),
        ]
    )


@pytest.mark.parametrize(
    "layer",
    [
        lambda: tfp.layers.DenseFlipout(1, kernel_divergence_fn=by_a_global),
        lambda: tfp.layers.DenseReparameterization(1, bias_divergence_fn=by_a_local(12)),
        lambda: tfp.layers.DenseVariational(1, parameters(2), parameters(2), kl_weight=WEIGHT),
        lambda: tfp.layers.IndependentNormal(
            1, activity_regularizer=tfp.layers.KLDivergenceRegularizer(tfd.Normal([0.0], 1.0), weight=WEIGHT)
        ),
    ],
    ids=["global", "closure", "variational", "regularizer"],
)
def test_a_divergence_weighted_by_the_number_of_examples_is_found(layer: Any) -> None:
    """Whether the weight is an argument, or a number that a function of the user's divides by."""
    model = tfk.Sequential([layer()])

    assert layers_weighted_by(model, samples=12) == ["layer-0"]
    assert layers_weighted_by(model, samples=13) == []


def test_a_layer_without_a_divergence_weights_none() -> None:
    """Nor does the number one, which is everywhere."""
    assert layers_weighted_by(compiled(), samples=12) == []
