"""A program that trains and saves every model of the zoo; some are defined in it, and in no module.

Run as a script, `python script.py <directory> <shard> <shards>`, it leaves `saved-<shard>.json` in the directory.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import json
import os
import pathlib
import sys
import traceback
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

import keras_probckpt
from keras_probckpt import ProbCheckpoint, ProbModelMixin
from keras_probckpt.training.variables import find_variables
from tests.zoo import (
    attribute_models,
    bayesian_models,
    drawn_models,
    keras_models,
    outside_models,
    public_autoencoders,
    public_flows,
    public_models,
    public_policies,
    public_series,
    tfp_layer_models,
    training_models,
    user_models,
    user_objects,
)
from tests.zoo.cases import Case, Cases, Made, anneal, batch, compiled
from tests.zoo.observe import observe, observe_outputs
from tests.zoo.pending import PENDING

tfd, tfpl = tfp.distributions, tfp.layers

CASES = Cases()


class Link(enum.Enum):
    """An argument of the script's own kind."""

    EXP = 1
    SOFTPLUS = 2


@dataclasses.dataclass
class Settings:
    """Likewise, with a default that is made anew."""

    units: int = 3
    links: list[Link] = dataclasses.field(default_factory=lambda: [Link.SOFTPLUS])


Pair = collections.namedtuple("Pair", ["left", "right"])  # noqa: PYI024 - users write it so


def scale_of(params: Any, link: Link) -> Any:
    """Compute a scale: called by what is stored, so stored with it."""
    return 1e-3 + (tf.exp(params) if link is Link.EXP else tf.nn.softplus(params))


class Scripted(ProbModelMixin, tfk.Model):
    """A model defined in a script."""

    def __init__(self, settings: Settings, pair: Any, function: Any = None) -> None:
        super().__init__()
        self.hidden = Layer(settings.units, "tanh")
        self.params = tfk.layers.Dense(2)
        self.link, self.pair, self.function = settings.links[0], pair, function

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        state = self.params(self.hidden(inputs) * self.pair.left + self.pair.right)
        state = state if self.function is None else self.function(state)
        make = lambda t: tfd.Normal(t[..., :1], scale_of(t[..., 1:], self.link))  # noqa: E731 - a lambda is the case
        return tfpl.DistributionLambda(make)(state)


class Layer(tfk.layers.Layer):
    """A layer that describes itself, defined after what uses it."""

    def __init__(self, units: int, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.activation = units, tfk.activations.get(activation)

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.kernel = self.add_weight("kernel", (input_shape[-1], self.units))

    def call(self, inputs: Any) -> Any:
        """Compute."""
        return self.activation(inputs @ self.kernel)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments."""
        return {**super().get_config(), "units": self.units, "activation": self.activation.__name__}


@tfk.saving.register_keras_serializable("script")
class RegisteredLayer(Layer):
    """A layer that is registered under a name in this process alone."""


class Recorded(tfk.layers.Layer):
    """A layer whose arguments Keras records."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        """Compute."""
        return inputs * self.factor


@CASES.add("script's mixin model")
def _scripted() -> Made:
    return Scripted(Settings(2, [Link.EXP]), Pair(0.5, right=0.25))


@CASES.add("script's mixin model with a function of the script")
def _scripted_with_function() -> Made:
    return Scripted(
        Settings(),
        Pair(1.0, 0.0),
        function=functools.partial(tf.clip_by_value, clip_value_min=-1.0, clip_value_max=1.0),
    )


@CASES.add("script's layers in a Sequential model")
def _scripted_layers() -> Made:
    own = [Layer(3, "relu"), RegisteredLayer(3), Recorded(0.5)]
    return compiled(tfk.Sequential([tfk.Input((2,)), *own, tfk.layers.Dense(2), tfpl.IndependentNormal(1)]))


def scripted_distribution(params: Any) -> Any:
    """Make a distribution, by a function of the script."""
    return tfd.Normal(params[..., :1], scale_of(params[..., 1:], Link.EXP))


def scripted_loss(y: Any, distribution: Any) -> Any:
    """Score a distribution, likewise."""
    return -distribution.log_prob(y)


@CASES.add("script's functions in a DistributionLambda and as a loss")
def _scripted_functions() -> Made:
    head = tfpl.DistributionLambda(scripted_distribution, lambda d: d.mean())
    model = tfk.Sequential([tfk.layers.Dense(2, activation=lambda t: 0.5 * t), head])
    return compiled(model, loss=scripted_loss)


def scripted_prior(kernel_size: int, bias_size: int, dtype: Any) -> tfk.Model:
    """Build a prior, in the script."""
    make = lambda t: tfd.Independent(tfd.Normal(t, 2.0), 1)  # noqa: E731 - a lambda is the case
    return tfk.Sequential([tfpl.VariableLayer(kernel_size + bias_size, dtype=dtype), tfpl.DistributionLambda(make)])


def scripted_posterior(kernel_size: int, bias_size: int, dtype: Any) -> tfk.Model:
    """Build a posterior, in the script."""
    size = kernel_size + bias_size
    make = lambda t: tfd.Independent(tfd.Normal(t[:size], scale_of(t[size:], Link.EXP)), 1)  # noqa: E731 - a lambda is the case
    return tfk.Sequential([tfpl.VariableLayer(2 * size, dtype=dtype), tfpl.DistributionLambda(make)])


@CASES.add("script's prior and posterior in a DenseVariational")
def _scripted_variational() -> Made:
    layer = tfpl.DenseVariational(2, scripted_posterior, scripted_prior, kl_weight=0.25)
    return compiled(tfk.Sequential([layer, tfpl.IndependentNormal(1)]))


class Family:
    """A plain object of the script that makes distributions."""

    def __init__(self, floor: float) -> None:
        self.floor = floor

    def make(self, params: Any) -> Any:
        """Make one."""
        return tfd.Normal(params[..., :1], self.floor + tf.nn.softplus(params[..., 1:]))


class OfFamily(ProbModelMixin, tfk.Model):
    """A model that is given such an object."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.params, self.likelihood = Layer(2), tfpl.DistributionLambda(family.make)

    def call(self, inputs: Any) -> Any:
        """Give a distribution."""
        return self.likelihood(self.params(inputs))


@CASES.add("script's plain object as an argument")
def _scripted_object() -> Made:
    return OfFamily(Family(0.25))


KL_WEIGHT = tf.Variable(0.0, trainable=False, name="kl_weight")


def annealed_divergence(q: Any, p: Any, _ignore: Any) -> Any:
    """Weigh the divergence by a global variable of the script."""
    return KL_WEIGHT * tfd.kl_divergence(q, p)


@CASES.add("script's global weight of the divergence, annealed")
def _scripted_annealing() -> Made:
    layer = tfpl.DenseFlipout(2, kernel_divergence_fn=annealed_divergence)
    return compiled(tfk.Sequential([tfk.Input((2,)), layer, tfpl.IndependentNormal(1)])), anneal(KL_WEIGHT)


class ScriptedAutoencoder(ProbModelMixin, tfk.Model):
    """A model of the script that has no `call`."""

    def __init__(self, encoder: tfk.Model, decoder: tfk.Model) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.temperature = tf.Variable(1.0, trainable=False)

    def train_step(self, data: Any) -> Any:
        """Reconstruct."""
        x, _ = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(-self.decoder(self.encoder(x) * self.temperature).log_prob(x))
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        self.temperature.assign(self.temperature * 0.5)
        return {"loss": loss}


@CASES.add("script's VAE", parts=("encoder", "decoder"))
def _scripted_autoencoder() -> Made:
    encoder = tfk.Sequential([Layer(4), tfpl.IndependentNormal(2)])
    decoder = tfk.Sequential([Layer(4), tfpl.IndependentNormal(2)])
    return compiled(ScriptedAutoencoder(encoder, decoder), loss=None)


class OwnCompile(Scripted):
    """A model of the script with a `compile` that makes the loss."""

    def compile(self, *, factor: float, **options: Any) -> None:
        """Scale the loss."""
        super().compile(**options, loss=lambda y, distribution: -factor * distribution.log_prob(y))


@CASES.add("script's compile of its own")
def _scripted_compile() -> Made:
    model = OwnCompile(Settings(), Pair(1.0, 0.0))
    model.compile(factor=0.5, optimizer=tfk.optimizers.Adam(0.05), run_eagerly=True)
    return model


@keras_probckpt.builder
def scripted_build(units: int) -> tfk.Model:
    """Build a model, in the script."""
    return compiled(tfk.Sequential([tfk.Input((2,)), Layer(units), tfk.layers.Dense(2), tfpl.IndependentNormal(1)]))


@CASES.add("script's builder")
def _scripted_builder() -> Made:
    return scripted_build(units=4)


def collections_of_cases() -> list[Cases]:
    """Give the cases of each module, and those of this script."""
    of_layers = [tfp_layer_models, bayesian_models, keras_models]
    of_users = [user_models, user_objects, training_models, outside_models, attribute_models, drawn_models]
    public = [public_models, public_autoencoders, public_flows, public_policies, public_series]
    return [*[module.CASES for module in (*of_layers, *of_users, *public)], CASES]


def all_cases() -> dict[str, Case]:
    """Give every model of the zoo by name."""
    return {name: case for cases in collections_of_cases() for name, case in cases.items()}


def chosen_cases() -> dict[str, Case]:
    """Give the models to try, by name."""
    return {name: case for _, name, case in numbered_cases()}


def numbered_cases() -> list[tuple[int, str, Case]]:
    """Give the models to try: all but the pending. What is left out takes no other its number.

    Where the environment says `ZOO_EVERY=n`, every n-th; where it says `ZOO_ONLY=text`, those of which the text is a
    part of the name, pending ones too.
    """
    every, only = int(os.environ.get("ZOO_EVERY", "1")), os.environ.get("ZOO_ONLY")
    left_out = set() if only else {name for name, _ in PENDING}
    named = [(name, case) for name, case in all_cases().items() if not only or only in name][::every]
    return [(number, name, case) for number, (name, case) in enumerate(named) if name not in left_out]


def _made(case: Case) -> tuple[tfk.Model, list[Any]]:
    made = case.make()
    model, callbacks = made if isinstance(made, tuple) else (made, [])
    return model if model._is_compiled else compiled(model), callbacks


def _save(case: Case, directory: pathlib.Path, *, rehearses: bool) -> dict[str, Any]:
    tfk.utils.set_random_seed(1)
    model, callbacks = _made(case)
    x, y = batch(case.inputs, case.targets)
    said: dict[str, Any] = {}

    class Observer(tfk.callbacks.Callback):
        """Looks at the model right after it was saved: at its end, `fit` may change the weights once more."""

        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            if epoch == case.epochs - 1:
                kept = _values(model)
                said["observed"] = observe(model, x, y, parts=case.parts)
                said["control"] = _control(case, model, kept, x, y)

    saving = [ProbCheckpoint(directory, "loss", rehearse=None if rehearses else False), Observer()]
    model.fit(x, y, batch_size=2, epochs=case.epochs, shuffle=False, verbose=0, callbacks=[*callbacks, *saving])
    return said


def _values(model: tfk.Model) -> dict[str, Any]:
    found = find_variables(model)
    return {path: variable.numpy() for path, variable in [*found.model.items(), *found.optimizers.items()]}


def _control(case: Case, model: tfk.Model, kept: dict[str, Any], x: Any, y: Any) -> Any:
    """Look at a model that is not the saved one, though it is like it."""
    if case.control == "a step further":
        return {"outputs": observe_outputs(model, x, parts=case.parts)}
    if case.control == "made anew":
        tfk.utils.set_random_seed(2)
        return observe(_given(_made(case)[0], kept, x), x, y, parts=case.parts)
    return None


def _given(model: tfk.Model, values: dict[str, Any], x: Any) -> tfk.Model:
    """Give a new model all variables of another; what else that one has is lost."""
    model(x)
    model.optimizer.build(model.trainable_variables)
    found = find_variables(model)
    for path, variable in [*found.model.items(), *found.optimizers.items()]:
        if path in values and values[path].shape == variable.shape:
            variable.assign(values[path])
    return model


def _saved(case: Case, directory: pathlib.Path, *, rehearses: bool) -> dict[str, Any]:
    about = {"directory": directory.name, "inputs": case.inputs, "targets": case.targets, "parts": case.parts}
    try:
        return {**about, **_save(case, directory, rehearses=rehearses)}
    except Exception:  # noqa: BLE001 - the others are to be seen too; the test of this one fails
        return {**about, "observed": {"failed": traceback.format_exc()}}


def main(place: pathlib.Path, shard: int, shards: int) -> None:
    """Save every one of a shard, and write down what is to come back, or what went wrong."""
    numbered = [item for item in numbered_cases() if item[0] % shards == shard]
    # To rehearse is to trace the model once more: with every second one it is.
    said = {
        name: _saved(case, place / str(number), rehearses=number // shards % 2 == 0) for number, name, case in numbered
    }
    (place / f"saved-{shard}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
