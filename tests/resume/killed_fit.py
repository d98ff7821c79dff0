"""Trainings of every kind that go on wherever they were killed.

    python -c "from tests.resume.killed_fit import main; main()" <directory> <death> <case>...

trains each case, such as `flipout,tf.data,mid-epoch`, to its end in `<directory>/<case>`, and leaves there what it
ended in as `end.json`. In the last of them the process dies: `inside write 3`, `after rename 1`, or `never`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

import keras_probckpt
from keras_probckpt import ProbCheckpoint, ProbModelMixin
from tests.faults.system_calls import Tap, tapped

tfd, tfpl = tfp.distributions, tfp.layers

ROWS, BATCH, EPOCHS = 44, 8, 3  # The last batch of an epoch is half of one.
MID_EPOCH = 5  # Of 6 batches: a save after the fifth of the first epoch, the fourth of the second, and so on.
X = np.linspace(-1, 1, 2 * ROWS, dtype="float32").reshape(ROWS, 2)
Y = X.sum(axis=1, keepdims=True) + np.sin(9 * X[:, :1])


def negative_log_likelihood(y: Any, distribution: Any) -> Any:
    """Score a prediction that is a distribution."""
    return -distribution.log_prob(y)


def per_row(posterior: Any, prior: Any, _: Any) -> Any:
    """Weight a divergence as the evidence lower bound of one row does."""
    return tfd.kl_divergence(posterior, prior) / ROWS


def density() -> tfk.Model:
    """Make a density network with dropout."""
    layers = [tfk.layers.Dense(8, "relu", input_shape=(2,)), tfk.layers.Dropout(0.3)]
    return tfk.Sequential([*layers, tfk.layers.Dense(2), tfpl.IndependentNormal(1)])


def flipout() -> tfk.Model:
    """Make a Bayesian network that draws the signs of each row anew."""
    inputs = tfk.Input((2,))
    hidden = tfpl.DenseFlipout(6, activation="relu", kernel_divergence_fn=per_row)(inputs)
    params = tfpl.DenseFlipout(2, kernel_divergence_fn=per_row)(hidden)
    return tfk.Model(inputs, tfpl.IndependentNormal(1)(params))


class Autoencoder(ProbModelMixin, tfk.Model):
    """A subclassed model with a latent layer that samples."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        prior = tfd.Independent(tfd.Normal(tf.zeros(latent), 1.0), reinterpreted_batch_ndims=1)
        self.encoder = tfk.layers.Dense(tfpl.IndependentNormal.params_size(latent))
        regularizer = tfpl.KLDivergenceRegularizer(prior, weight=0.5)
        self.latent = tfpl.IndependentNormal(latent, activity_regularizer=regularizer)
        self.divergence = tfpl.KLDivergenceAddLoss(prior, weight=0.5)
        self.decoder = tfk.layers.Dense(2)
        self.likelihood = tfpl.IndependentNormal(1)

    def call(self, inputs: Any) -> Any:
        """Encode, sample, decode."""
        return self.likelihood(self.decoder(self.divergence(self.latent(self.encoder(inputs)))))


def posterior(kernel_size: int, bias_size: int = 0, dtype: Any = None) -> tfk.Model:
    """Make a trained normal distribution over the weights of a layer."""
    size = kernel_size + bias_size
    variables = tfpl.VariableLayer(tfpl.IndependentNormal.params_size(size), dtype=dtype)
    return tfk.Sequential([variables, tfpl.IndependentNormal(size)])


def prior(kernel_size: int, bias_size: int = 0, dtype: Any = None) -> tfk.Model:
    """Make a normal distribution with a mean that is trained too."""
    size = kernel_size + bias_size
    return tfk.Sequential(
        [
            tfpl.VariableLayer(size, dtype=dtype),
            tfpl.DistributionLambda(lambda mean: tfd.Independent(tfd.Normal(mean, 1.0), 1)),
        ]
    )


@keras_probckpt.builder
def variational(units: int) -> tfk.Model:
    """Make a Bayesian network that draws one set of weights for each batch."""
    hidden = tfpl.DenseVariational(units, posterior, prior, kl_weight=1 / ROWS, activation="relu", input_shape=(2,))
    return tfk.Sequential([hidden, tfk.layers.Dense(2), tfpl.IndependentNormal(1)])


KINDS: Mapping[str, Callable[[], tfk.Model]] = {
    "density": density,
    "flipout": flipout,
    "autoencoder": lambda: Autoencoder(2),
    "variational": lambda: variational(6),
}


def fit_on_arrays(model: tfk.Model, **options: Any) -> Any:
    """Train on arrays that `fit` shuffles, and validate."""
    return model.fit(X, Y, batch_size=BATCH, validation_data=(X[:9], Y[:9]), **options)


def fit_on_pipeline(model: tfk.Model, **options: Any) -> Any:
    """Train on a pipeline that shuffles in a buffer smaller than the data."""
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(20).batch(BATCH).prefetch(2)
    return model.fit(data, **options)


DATA: Mapping[str, Callable[..., Any]] = {"array": fit_on_arrays, "tf.data": fit_on_pipeline}
SAVES: Mapping[str, Any] = {"epoch": "epoch", "mid-epoch": MID_EPOCH}
CASES = [",".join(parts) for parts in itertools.product(KINDS, DATA, SAVES)]


class Begun(tfk.callbacks.Callback):
    """Tells who starts the training that it has begun; until then, importing and building took time."""

    def __init__(self, tell: Callable[[], object]) -> None:
        super().__init__()
        self._tell = tell

    def on_train_begin(self, logs: Any = None) -> None:
        """Tell."""
        self._tell()


def train(case: str, directory: pathlib.Path, tell: Callable[[], object]) -> None:
    """Train a case to its end, from wherever the last process was killed; a script as a user writes it."""
    kind, data, saves = case.split(",")
    tfk.backend.clear_session()
    tfk.utils.set_random_seed(7)
    model = KINDS[kind]()
    model.compile(tfk.optimizers.Adam(0.02), loss=negative_log_likelihood, metrics=["mse"])
    checkpoint = ProbCheckpoint(
        directory / "run", "loss", save_freq=SAVES[saves], save_top_k=2, resume=True, reproducible=True
    )
    rate = tfk.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=1.0, factor=0.7)
    callbacks = [Begun(tell), checkpoint, rate]
    history = DATA[data](model, epochs=EPOCHS, verbose=0, callbacks=callbacks)
    end = {
        "weights": {f"{number} {item.name}": _digest(item) for number, item in enumerate(model.variables)},
        "optimizer": {str(number): _digest(item) for number, item in enumerate(model.optimizer.variables)},
        "history": {name: [repr(float(value)) for value in values] for name, values in history.history.items()},
        "epochs": list(history.epoch),
        "best": [pathlib.Path(checkpoint.best_model_path or "").name[:15], repr(checkpoint.best_model_score)],
    }
    (directory / "end.part").write_text(json.dumps(end))
    (directory / "end.part").rename(directory / "end.json")


def _digest(variable: Any) -> str:
    return hashlib.sha256(np.asarray(variable).tobytes()).hexdigest()[:16]


@dataclasses.dataclass
class Death(Tap):
    """Kills the process at the n-th call of a name, in the midst of it or right after.

    Attributes:
        name: Of the call, such as "write"; "" kills nothing.
        number: Which of them, counted from 1.
    """

    name: str = ""
    number: int = 0

    def see(self, call: tuple[str, ...], function: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Count a call of the name; have the one it is about to be the last."""
        self.number -= call[0] == self.name
        if call[0] == self.name and self.number == 0:
            self.dies_at = len(self.calls)
        return super().see(call, function, half)


def death_of(text: str) -> Death:
    """Read `inside write 3`, `after rename 1` or `never`."""
    if text == "never":
        return Death()
    when, name, number = text.split()
    assert when in {"inside", "after"}
    return Death(when=when, name=name, number=int(number))  # type: ignore[arg-type] # one of the two


def train_all(place: pathlib.Path, cases: list[str], death: str) -> None:
    """Train what has not come to its end; the death is that of the last of the cases."""
    for case in cases:
        directory = place / case
        if (directory / "end.json").exists():
            continue
        directory.mkdir(parents=True, exist_ok=True)
        with tapped(death_of(death if case == cases[-1] else "never")):
            train(case, directory, lambda case=case: print("begun", case, flush=True))  # type: ignore[misc] # noqa: T201


def differences(expected: Mapping[str, Any], end: Mapping[str, Any]) -> list[str]:
    """List by part and name what two trainings ended in otherwise."""
    found = []
    for part in sorted({*expected, *end}):
        one, other = (_by_name(side.get(part)) for side in (expected, end))
        names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        found += [f"{part} {name}: {other.get(name)}, not {one.get(name)}" for name in names]
    return found


def _by_name(values: Any) -> Mapping[str, Any]:
    return values if isinstance(values, dict) else {"": values}


def main() -> None:
    """Train what the command line says."""
    place, death, *cases = sys.argv[1:]
    train_all(pathlib.Path(place), cases, death)
