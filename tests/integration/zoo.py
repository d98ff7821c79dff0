"""Models of every kind that the README promises, saved by one process and restored by another.

Each process ends with `<command>.json` in the directory: digests of the variables and values of the outputs, by model.
"""

from __future__ import annotations

import functools
import hashlib
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
from keras_probckpt import ProbCheckpoint, ProbModelMixin, restore_latest

tfd = tfp.distributions
tfpl = tfp.layers

X = np.linspace(-1, 1, 12, dtype="float32").reshape(6, 2)


class Net(ProbModelMixin, tfk.Model):
    """A subclassed model around any distribution layer, in a module that a later process can import."""

    def __init__(self, layer: tfk.layers.Layer, params_size: int, *, hidden: list[int], scale: Any = None) -> None:
        super().__init__()
        self.hidden = [tfk.layers.Dense(units, "tanh") for units in hidden]
        self.heads = {"params": tfk.layers.Dense(params_size)}
        self.likelihood = layer
        self.scale = 1.0 if scale is None else scale

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        state = inputs * self.scale
        for layer in self.hidden:
            state = layer(state)
        return self.likelihood(self.heads["params"](state))


class Ensemble(ProbModelMixin, tfk.Model):
    """A model of models: one network feeds another, with a weight of its own and one that is not trained."""

    def __init__(self, trunk: tfk.Model, *, units: int, dtype_of_offset: Any = tf.float32) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = Net(tfpl.IndependentNormal(1), 2, hidden=[units])
        self.offset = tf.Variable(0.5, dtype=dtype_of_offset, name="offset")
        self.calls = self.add_weight(name="calls", shape=(), initializer="zeros", trainable=False)

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        return self.head(self.trunk(inputs) + tf.cast(self.offset, tf.float32))


def _layers() -> dict[str, tuple[Callable[[], tfk.layers.Layer], int]]:
    """Each distribution layer, with the number of parameters it takes."""
    return {
        "normal": (lambda: tfpl.IndependentNormal(1), tfpl.IndependentNormal.params_size(1)),
        "normal of shape (2, 3)": (lambda: tfpl.IndependentNormal((2, 3)), tfpl.IndependentNormal.params_size((2, 3))),
        "normal by its mean": (lambda: tfpl.IndependentNormal(2, convert_to_tensor_fn=tfd.Distribution.mean), 4),
        "normal, checked": (lambda: tfpl.IndependentNormal([2], validate_args=True), 4),
        "bernoulli": (lambda: tfpl.IndependentBernoulli(2), 2),
        "bernoulli by its mean": (lambda: tfpl.IndependentBernoulli((2,), tfd.Bernoulli.mean), 2),
        "bernoulli of floats": (lambda: tfpl.IndependentBernoulli(1, sample_dtype=tf.float32), 1),
        "bernoulli by its logits": (lambda: tfpl.IndependentBernoulli(1, convert_to_tensor_fn=tfd.Bernoulli.logits), 1),
        "logistic": (lambda: tfpl.IndependentLogistic(3), tfpl.IndependentLogistic.params_size(3)),
        "poisson": (lambda: tfpl.IndependentPoisson((2, 2)), tfpl.IndependentPoisson.params_size((2, 2))),
        "mixture of normals": (lambda: tfpl.MixtureNormal(3, 2), tfpl.MixtureNormal.params_size(3, 2)),
        "mixture of logistics": (lambda: tfpl.MixtureLogistic(2, [1]), tfpl.MixtureLogistic.params_size(2, [1])),
        "mixture by its mode": (
            lambda: tfpl.MixtureNormal(2, 1, convert_to_tensor_fn=tfd.Distribution.stddev),
            tfpl.MixtureNormal.params_size(2, 1),
        ),
    }


def _sequential(layer: tfk.layers.Layer, params_size: int) -> tfk.Model:
    return tfk.Sequential([tfk.layers.Dense(4, "relu", input_shape=(2,)), tfk.layers.Dense(params_size), layer])


def _functional(layer: tfk.layers.Layer, params_size: int) -> tfk.Model:
    inputs = tfk.Input((2,), name="x")
    state = tfk.layers.Dense(4, tf.nn.softplus)(inputs)
    state = tfk.layers.Concatenate()([tfk.layers.BatchNormalization()(state), inputs])
    return tfk.Model(inputs, layer(tfk.layers.Dense(params_size, kernel_regularizer="l2")(state)))


def _subclassed(layer: tfk.layers.Layer, params_size: int) -> tfk.Model:
    return Net(layer, params_size, hidden=[3, 4], scale=np.array([0.5, 2.0], "float32"))


_MAIN_KINDS = ("normal", "bernoulli", "logistic", "poisson", "mixture of normals", "mixture of logistics")


@keras_probckpt.builder
def build(kind: str, *, units: int = 4) -> tfk.Model:
    """Build one of them by its name: only the name is recorded."""
    make, params_size = _layers()[kind]
    return tfk.Sequential([tfk.layers.Dense(units, input_shape=(2,)), tfk.layers.Dense(params_size), make()])


def models() -> dict[str, Callable[[], tfk.Model]]:
    """Name a way to make each model."""
    found: dict[str, Callable[[], tfk.Model]] = {}
    for kind, (make, params_size) in _layers().items():
        styles = (_sequential, _functional, _subclassed) if kind in _MAIN_KINDS else (_sequential,)
        for style in styles:
            found[f"{style.__name__[1:]}, {kind}"] = functools.partial(_made, style, make, params_size)
    for kind in ("normal", "poisson", "mixture of logistics"):
        found[f"builder, {kind}"] = functools.partial(build, kind, units=3)
    found["nested"] = lambda: Ensemble(tfk.Sequential([tfk.layers.Dense(3)]), units=2)
    return found


def _made(style: Callable[..., tfk.Model], make: Callable[[], tfk.layers.Layer], params_size: int) -> tfk.Model:
    return style(make(), params_size)


def negative_log_likelihood(y: Any, distribution: Any) -> Any:
    """Score a distribution, by a function with an importable name."""
    return -distribution.log_prob(y)


def train(model: tfk.Model, y: np.ndarray[Any, Any], *callbacks: tfk.callbacks.Callback) -> None:
    """Make two updates; nothing in them is random."""
    model.fit(X, y, batch_size=3, epochs=1, shuffle=False, verbose=0, callbacks=list(callbacks))


def describe(model: tfk.Model, y: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Take all that must come back: each bit of the variables, and what the outputs say."""
    distribution = model(X)
    state = [*model.variables, *model.optimizer.variables]
    return {
        "class": type(model).__name__,
        "variables": digest(model.variables),
        "optimizer": digest(model.optimizer.variables),
        "count": len(state),
        "mean": values(distribution.mean()),
        "stddev": values(distribution.stddev()),
        "log_prob": values(distribution.log_prob(y)),
        "event_shape": distribution.event_shape.as_list(),
    }


def digest(variables: Any) -> str:
    """Digest each bit, shape and dtype, in the variables' order."""
    found = hashlib.sha256()
    for variable in variables:
        found.update(f"{variable.shape}{variable.dtype.name}".encode())
        found.update(np.asarray(variable).tobytes())
    return found.hexdigest()


def values(tensor: Any) -> list[str]:
    """Write numbers so that equal text is equal bits."""
    return [float(number).hex() for number in np.ravel(tensor)]


def targets(distribution: Any) -> np.ndarray[Any, Any]:
    """Choose values that the distribution can take: whole numbers in its event's shape."""
    shape = [len(X), *distribution.event_shape.as_list()]
    return (np.arange(np.prod(shape)) % 2).reshape(shape).astype("float32")


def save(directory: pathlib.Path) -> Mapping[str, Any]:
    """Train each model under the callback, and say what was saved and what one more update would make of it."""
    said: dict[str, Any] = {}
    for number, (name, make) in enumerate(models().items()):
        tfk.utils.set_random_seed(number)
        model = make()
        y = targets(model(X))
        model.compile(tfk.optimizers.Adam(0.05), loss=negative_log_likelihood, run_eagerly=True)
        train(model, y, ProbCheckpoint(directory / str(number), "loss"))
        said[name] = describe(model, y)
        train(model, y)
        said[name]["one more epoch"] = digest([*model.variables, *model.optimizer.variables])
    return said


def restore(directory: pathlib.Path) -> Mapping[str, Any]:
    """Say the same of what comes back."""
    said: dict[str, Any] = {}
    for number, name in enumerate(models()):
        model = restore_latest(directory / str(number))
        y = targets(model(X))
        said[name] = describe(model, y)
        train(model, y)
        said[name]["one more epoch"] = digest([*model.variables, *model.optimizer.variables])
    return said


def main() -> None:
    """Do what the command line says: `save <directory>` or `restore <directory>`."""
    command, place = sys.argv[1], pathlib.Path(sys.argv[2])
    result = {"save": save, "restore": restore}[command](place)
    (place / f"{command}.json").write_text(json.dumps(result))
