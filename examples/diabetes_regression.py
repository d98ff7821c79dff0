"""Train a density network on the diabetes data, checkpoint it, and restore its best epoch in a new process.

    python examples/diabetes_regression.py

The data are scikit-learn's bundled diabetes study: ten measurements of 442 patients, and the progress of the disease
one year later. One network is written in three ways: as a Sequential model, as a subclass and by a function that builds
it. A new process, which trains nothing, then restores the best of each and must find the same test negative
log-likelihood to the last digit. Beside it stands what tf_keras's own `ModelCheckpoint` gives for the subclass. The
last thing it does is to draw `diabetes_regression.png` from the restored subclass.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np
import sklearn.datasets
import tensorflow_probability as tfp
import tf_keras as tfk
from matplotlib.figure import Figure

import keras_probckpt
from keras_probckpt import ProbCheckpoint, ProbModelMixin, restore_best

FEATURES = 10
STOCK_FORMATS = {"SavedModel": "saved_model", ".keras": "model.keras", ".h5": "model.h5"}
NORMAL_QUANTILE_95 = 1.6448536  # mean -/+ this many standard deviations holds 90 % of a normal distribution


class Split(NamedTuple):
    """Standardised measurements `(patients, 10)` and standardised progress `(patients, 1)`, both float32."""

    x: np.ndarray
    y: np.ndarray


class Diabetes(NamedTuple):
    """The data in three parts, and what brings the progress back to its own unit: `y * scale + centre`."""

    train: Split
    validation: Split
    test: Split
    centre: float
    scale: float


def load_data() -> Diabetes:
    """Shuffle the 442 patients into 60 % train, 20 % validation, 20 % test; standardise all by the train part."""
    features, progress = sklearn.datasets.load_diabetes(return_X_y=True, scaled=False)
    order = np.random.default_rng(0).permutation(len(features))
    x, y = features[order], progress[order, None]
    first, second = len(x) * 6 // 10, len(x) * 8 // 10
    x = ((x - x[:first].mean(axis=0)) / x[:first].std(axis=0)).astype("float32")
    centre, scale = float(y[:first].mean()), float(y[:first].std())
    y = ((y - centre) / scale).astype("float32")
    parts = [Split(x[part], y[part]) for part in (slice(first), slice(first, second), slice(second, None))]
    return Diabetes(*parts, centre=centre, scale=scale)


def sequential_model() -> tfk.Model:
    """Write the network as layers in a row: nothing has to be added to it."""
    return tfk.Sequential(
        [
            tfk.layers.Dense(16, "relu"),
            tfk.layers.Dense(tfp.layers.IndependentNormal.params_size(1)),
            tfp.layers.IndependentNormal(1),
        ]
    )


class StockRegressor(tfk.Model):
    """The network as a subclass, as one writes it without this library."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.hidden = tfk.layers.Dense(units, "relu")
        self.params = tfk.layers.Dense(tfp.layers.IndependentNormal.params_size(1))
        self.likelihood = tfp.layers.IndependentNormal(1)

    def call(self, x: np.ndarray) -> tfp.distributions.Distribution:
        """Predict the distribution of the progress."""
        return self.likelihood(self.params(self.hidden(x)))


class Regressor(ProbModelMixin, tfk.Model):
    """The same subclass with the mixin in front: the one change it needs."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.hidden = tfk.layers.Dense(units, "relu")
        self.params = tfk.layers.Dense(tfp.layers.IndependentNormal.params_size(1))
        self.likelihood = tfp.layers.IndependentNormal(1)

    def call(self, x: np.ndarray) -> tfp.distributions.Distribution:
        """Predict the distribution of the progress."""
        return self.likelihood(self.params(self.hidden(x)))


@keras_probckpt.builder
def build_regressor(units: int) -> tfk.Model:
    """Write the network as a function: its name and arguments travel with the model it returns."""
    inputs = tfk.Input((FEATURES,))
    hidden = tfk.layers.Dense(units, "relu")(inputs)
    params = tfk.layers.Dense(tfp.layers.IndependentNormal.params_size(1))(hidden)
    return tfk.Model(inputs, tfp.layers.IndependentNormal(1)(params))


WAYS = {"sequential": sequential_model, "subclass": lambda: Regressor(units=16), "builder": lambda: build_regressor(16)}


def negative_log_likelihood(y: np.ndarray, distribution: tfp.distributions.Distribution) -> np.ndarray:
    """Score a predicted distribution by the data: the loss."""
    return -distribution.log_prob(y)


def score_on_test(model: tfk.Model, data: Diabetes) -> str:
    """Compute the mean test negative log-likelihood, in nats, with every digit of the float."""
    return repr(float(np.mean(negative_log_likelihood(data.test.y, model(data.test.x)), dtype="float64")))


def fit(
    model: tfk.Model, data: Diabetes, callbacks: list[tfk.callbacks.Callback], *, epochs: int
) -> tfk.callbacks.History:
    """Train by Adam on the negative log-likelihood."""
    model.compile(tfk.optimizers.Adam(0.005), loss=negative_log_likelihood)
    return model.fit(*data.train, validation_data=data.validation, epochs=epochs, verbose=0, callbacks=callbacks)


def train(way: str, runs: pathlib.Path, data: Diabetes, *, seed: int) -> str:
    """Train one way of writing the network with a checkpoint of its best epoch, and score the model kept in memory."""
    tfk.utils.set_random_seed(seed)
    model = WAYS[way]()
    checkpoint = ProbCheckpoint(runs / way, monitor="val_loss", save_best_only=True)
    patience = tfk.callbacks.EarlyStopping("val_loss", patience=15, restore_best_weights=True)
    history = fit(model, data, [checkpoint, patience], epochs=500)
    best = min(history.history["val_loss"])
    print(f"{way:10} {len(history.epoch):3} epochs, best val_loss {best:.4f}, kept in {checkpoint.best_model_path}")
    return score_on_test(model, data)  # by the weights that EarlyStopping kept in memory, without this library


def train_with_stock_checkpoints(runs: pathlib.Path, data: Diabetes) -> dict[str, str]:
    """Train the plain subclass with `ModelCheckpoint` in each format.

    Returns:
        What went wrong while saving, by format.
    """
    problems = {}
    for title, name in STOCK_FORMATS.items():
        checkpoint = tfk.callbacks.ModelCheckpoint(str(runs / "stock" / name), save_best_only=True)
        try:
            fit(StockRegressor(units=16), data, [checkpoint], epochs=2)
        except Exception as error:  # noqa: BLE001 (which error it is, is what is asked)
            problems[title] = f"not saved, {type(error).__name__}: {shorten(str(error), 70)}"
    return problems


def describe_output(model: tfk.Model, data: Diabetes) -> str:
    """Say what a restored model predicts."""
    output = model(data.test.x)
    return "a distribution" if hasattr(output, "log_prob") else f"{type(output).__name__} without log_prob"


def describe_stock(path: pathlib.Path, data: Diabetes, *, custom_objects: dict[str, type] | None) -> str:
    """Load what `ModelCheckpoint` saved and say what its output is."""
    if not path.exists():
        return "nothing to load"
    try:
        return describe_output(tfk.models.load_model(path, compile=False, custom_objects=custom_objects), data)
    except Exception as error:  # noqa: BLE001 (which error it is, is what is asked)
        return f"not loaded, {type(error).__name__}: {shorten(str(error), 70)}"


def describe_all_stock(runs: pathlib.Path, data: Diabetes) -> dict[str, list[str]]:
    """Load what `ModelCheckpoint` saved, in each format, without and with the class given to the loader."""
    classes = (None, {"StockRegressor": StockRegressor})
    return {
        title: [describe_stock(runs / "stock" / name, data, custom_objects=given) for given in classes]
        for title, name in STOCK_FORMATS.items()
    }


def restore(runs: pathlib.Path, picture: pathlib.Path) -> None:
    """Do a new process's part: restore, score, draw, and print the findings as one line of JSON."""
    data = load_data()
    models = {way: restore_best(runs / way) for way in WAYS}
    coverage = draw(models["subclass"], data, picture)
    findings = {
        "scores": {way: score_on_test(model, data) for way, model in models.items()},
        "stock": describe_all_stock(runs, data),
        "output": describe_output(models["subclass"], data),
        "coverage": coverage,
    }
    print(json.dumps(findings))


def draw(model: tfk.Model, data: Diabetes, picture: pathlib.Path) -> float:
    """Draw the predictive mean and its 90 % band against the test data, patients in the order of their means.

    Returns:
        The share of the test data inside the band.
    """
    distribution = model(data.test.x)
    mean, deviation = distribution.mean().numpy()[:, 0], distribution.stddev().numpy()[:, 0]
    order = np.argsort(mean)
    middle = mean[order] * data.scale + data.centre
    reach = NORMAL_QUANTILE_95 * deviation[order] * data.scale
    observed = data.test.y[order, 0] * data.scale + data.centre
    share = float(np.mean(np.abs(observed - middle) <= reach))

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    patients = np.arange(len(order))
    axes.fill_between(patients, middle - reach, middle + reach, color="#c6dbef", label="90 % band")
    axes.plot(patients, middle, color="#08519c", label="predictive mean")
    axes.scatter(patients, observed, s=14, color="#333333", zorder=3, label="observed")
    axes.set(xlabel="test patient, by predicted mean", ylabel="disease progression after one year")
    axes.set_title(f"Density network restored from its best checkpoint: {share:.0%} of the data in the 90 % band")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(picture, dpi=120)
    return share


def compare(scores: dict[str, str], findings: dict[str, Any]) -> bool:
    """Print the scores of both processes side by side, and say whether they are the same."""
    print("\nTest negative log-likelihood of the best epoch, in nats:")
    print(f"{'':10} {'this process':22} {'new process':22}")
    for way, score in scores.items():
        restored = findings["scores"][way]
        print(f"{way:10} {score:22} {restored:22} {'the same' if score == restored else 'DIFFERENT'}")
    return scores == findings["scores"]


def train_and_compare(runs: pathlib.Path, picture: pathlib.Path) -> int:
    """Do the whole example; return the exit code."""
    data = load_data()
    print(f"{len(data.train.x)} patients to train on, {len(data.validation.x)} to validate, {len(data.test.x)} to test")
    scores = {way: train(way, runs, data, seed=seed) for seed, way in enumerate(WAYS)}
    problems = train_with_stock_checkpoints(runs, data)
    command = [sys.executable, __file__, "--restore", "--runs", str(runs), "--picture", str(picture)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 (it runs itself)
    findings = json.loads(finished.stdout.splitlines()[-1])

    is_same = compare(scores, findings)
    print("\nWhat the restored subclass predicts, in the new process:")
    print(f"{'restore_best(path)':45} {findings['output']}")
    for title in STOCK_FORMATS:
        plain, given = findings["stock"][title]
        print(f"{title + ', load_model(path)':45} {problems.get(title, plain)}")
        print(f"{title + ', load_model(path, custom_objects)':45} {problems.get(title, given)}")
    print(f"\n{findings['coverage']:.0%} of the test data lie in its 90 % band: {picture}")
    return 0 if is_same else 1


def main() -> int:
    """Read the command line and do what it asks."""
    parser = argparse.ArgumentParser(description="Train, checkpoint and restore on the diabetes data.")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("diabetes_runs"), help="where to save")
    parser.add_argument("--picture", type=pathlib.Path, default=pathlib.Path("diabetes_regression.png"))
    parser.add_argument("--restore", action="store_true", help="only restore what an earlier process saved")
    arguments = parser.parse_args()
    if arguments.restore:
        restore(arguments.runs, arguments.picture)
        return 0
    return train_and_compare(arguments.runs, arguments.picture)


if __name__ == "__main__":
    sys.exit(main())
