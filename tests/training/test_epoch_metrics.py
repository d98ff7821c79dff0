from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tf_keras as tfk

from keras_probckpt.training.epoch_metrics import make_metrics, metric_values, put_back_metrics

X = np.arange(4, dtype="float32")[:, np.newaxis]


def trained(metrics: list[Any], *, is_eager: bool = False) -> tfk.Sequential:
    """Make a model whose metrics have gathered an epoch."""
    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=metrics, run_eagerly=is_eager)
    model.fit(X, X, batch_size=2, verbose=0)
    return model


def test_what_metrics_gathered_goes_on() -> None:
    """The loss, a mean, and one with more than one variable."""
    model = trained(["mae", tfk.metrics.RootMeanSquaredError()])
    values, results = metric_values(model), model.get_metrics_result()
    model.reset_metrics()

    assert put_back_metrics(model, values)
    assert {name: float(value) for name, value in model.get_metrics_result().items()} == {
        name: float(value) for name, value in results.items()
    }
    assert len(values) == 6


def test_values_are_those_of_the_moment() -> None:
    """What the metrics gather later is not in them."""
    model = trained(["mae"])
    values = metric_values(model)
    before = {name: value.copy() for name, value in values.items()}

    model.reset_metrics()

    assert all(np.array_equal(values[name], before[name]) for name in before)


@pytest.mark.parametrize("others", [["mse"], ["mae", "mse"], []])
def test_other_metrics_are_left_as_they_are(others: list[str]) -> None:
    """Nothing is put back where they are not the same."""
    values = metric_values(trained(["mae"]))
    model = trained(others)
    before = {name: value.copy() for name, value in metric_values(model).items()}

    assert not put_back_metrics(model, values)
    assert all(np.array_equal(value, before[name]) for name, value in metric_values(model).items())


def test_the_variables_of_metrics_are_made_without_a_step() -> None:
    """tf_keras makes them as it traces; nothing of the data is used, and the model stays as it is."""
    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    iterator = iter(tfk.utils.timeseries_dataset_from_array(X, X, 1, batch_size=2).map(lambda x, y: (x[:, 0], y)))
    model.make_train_function()
    before = [weight.tobytes() for weight in model.get_weights()]

    make_metrics(model, iterator)

    assert [metric.name for metric in model.metrics] == ["loss", "mae"]
    assert [weight.tobytes() for weight in model.get_weights()] == before
    assert len(list(iterator)) == 2


def test_a_model_that_is_not_traced_is_left_alone() -> None:
    """With `run_eagerly`, and before `fit` has made its train function."""
    eager = trained(["mae"], is_eager=True)
    make_metrics(eager, None)
    make_metrics(tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(1)]), None)

    assert [metric.name for metric in eager.metrics] == ["loss", "mae"]
