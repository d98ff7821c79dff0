from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.integration.processes import outputs, start

# Of `{{one||another}}`, one is in the first version of the module, another in the second.
MODULE = """
import tensorflow as tf, tensorflow_probability as tfp, tf_keras as tfk
import keras_probckpt
from keras_probckpt import ProbModelMixin

tfd, tfpl, layers = tfp.distributions, tfp.layers, tfk.layers
SCALE = {{1.0||2.0}}


class Net(ProbModelMixin, tfk.Model):
    def __init__(self, units):
        super().__init__()
        self.hidden = layers.Dense(units, {{"relu"||"tanh"}})
        self.head = layers.Dense(2)

    def call(self, x):
        return self.head(self.hidden(x))


class Wider(ProbModelMixin, tfk.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense({{3||4}})

    def call(self, x):
        return self.hidden(x)


class Deeper(ProbModelMixin, tfk.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(3)
        {{||self.drop = layers.Dropout(0.5)}}

    def call(self, x):
        return self.hidden(x)


class Lazy(ProbModelMixin, tfk.Model):
    def __init__(self):
        super().__init__()
        self.scale = self.add_weight("scale", (), initializer="ones")

    def build(self, input_shape):
        self.noise = layers.GaussianNoise(0.5)

    def call(self, x):
        return self.noise(self.scale * x)


class Scale(layers.Layer):
    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return self.factor * x


class Shift(Scale):
    def call(self, x):
        return self.factor + x


@keras_probckpt.builder
def noisy():
    return tfk.Sequential([tfk.Input((2,)), layers.Dense(3), layers.{{Dropout(0.5)||GaussianNoise(0.5)}}])


@keras_probckpt.builder
def own_layers():
    return tfk.Sequential([tfk.Input((2,)), layers.Dense(3), {{Scale||Shift}}()])


@keras_probckpt.builder
def connected():
    x = tfk.Input((2,))
    one, other = layers.Dense(2), layers.Dense(2)
    first = one(x)
    second = other(first)
    return tfk.Model(x, layers.Add()([{{first||second}}, second]) * {{2.0||3.0}})


def prior(dtype, shape, name, trainable, add_variable_fn):
    return tfd.Independent(tfd.Normal(tf.zeros(shape, dtype), {{1.0||2.0}}), len(shape))


def prior_of_constant(dtype, shape, name, trainable, add_variable_fn):
    return tfd.Independent(tfd.Normal(tf.zeros(shape, dtype), SCALE), len(shape))


def scale_of(t):
    return tf.{{nn.softplus||exp}}(t)


def normal(t):
    return tfd.Normal(t[..., :1], scale_of(t[..., 1:]))


def distribution(t):
    return tfd.{{Normal||Laplace}}(t[..., :1], tf.nn.softplus(t[..., 1:]))


def scaled(factor):
    def scale(t):
        return tfd.Normal(factor * t, 1.0)

    return scale


@keras_probckpt.builder
def closed_over():
    return tfk.Sequential([tfk.Input((2,)), layers.Dense(1), tfpl.DistributionLambda(scaled({{1.0||3.0}}))])


def loss(y, prediction):
    return tf.reduce_mean({{tf.abs||tf.square}}(y - prediction))


{{def laid_out(t):
    'Explain.'
    return tf.sin(t)  # comment

||# Somewhere else in the file, laid out otherwise and explained better.


def laid_out(
    t,
):
    'Explain it well.'

    return tf.sin(t)
}}

@keras_probckpt.builder
def one_of_many():
    layers.Dense(4)
    return tfk.Sequential([tfk.Input((2,)), layers.Dense(3, activation=laid_out), layers.Dropout(0.25, seed={{1||2}})])
"""

SAVE = """
import sys, numpy as np, tf_keras as tfk, tensorflow_probability as tfp
import code_of_today as code
from keras_probckpt import CheckpointManager, builder

layers, tfpl = tfk.layers, tfp.layers
x = np.linspace(-1, 1, 6, dtype="float32").reshape(3, 2)

def stacked(*parts, **options):
    model = tfk.Sequential([tfk.Input((2,)), *parts])
    model.compile("sgd", **options)
    return model

head = lambda t: tfp.distributions.Normal(t, 1.0)
models = {
    "activation": code.Net(3),
    "replaced": code.Net(3),
    "units": code.Wider(),
    "added layer": code.Deeper(),
    "class of a layer": code.noisy(),
    "class of the user's": code.own_layers(),
    "connections": code.connected(),
    "prior": stacked(*(tfpl.DenseFlipout(2, kernel_prior_fn=code.prior) for _ in range(5))),
    "constant": stacked(tfpl.DenseFlipout(2, kernel_prior_fn=code.prior_of_constant)),
    "used function": stacked(layers.Dense(2), tfpl.DistributionLambda(code.normal)),
    "distribution": stacked(layers.Dense(2), tfpl.DistributionLambda(code.distribution)),
    "closure": code.closed_over(),
    "loss": stacked(layers.Dense(1), loss=code.loss),
    "made in build": code.Lazy(),
    "nothing": code.one_of_many(),
    "script": stacked(layers.Dense(1), tfpl.DistributionLambda(head), loss=lambda y, p: -p.log_prob(y)),
}
for name, model in models.items():
    model(x)
    with CheckpointManager(model, name) as manager:
        manager.save(1)
"""

RESTORE = """
import json, pathlib, sys, warnings
import numpy as np, tf_keras as tfk
from keras_probckpt import errors, restore_latest

tfk.layers.Dense(1), tfk.layers.Dropout(0.5)  # Names that the saving process gave to others.
said = {}
asked = json.loads(sys.argv[1])
for name in asked:
    for skip_mismatch in (False, True):
        told = said[f"{name}, skipping" if skip_mismatch else name] = {"error": None, "warnings": []}
        options = {"skip_mismatch": skip_mismatch}
        if name == "replaced":
            import code_of_today
            class Other(code_of_today.Net):
                pass
            options["custom_objects"] = {"Net": Other}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                model = restore_latest(name, **options)
                told["weights"] = [float(np.sum(np.abs(weight))) > 0 for weight in model.get_weights()[:1]]
            except errors.CheckpointError as error:
                told["error"] = [type(error).__name__, str(error)]
        told["warnings"] = [str(item.message) for item in caught if "rebuilt from" in str(item.message)]
print(json.dumps(said))
"""

Said = dict[str, dict[str, Any]]


def version(number: int) -> str:
    """Write the module as it was in the first version or is in the second."""
    return re.sub(r"\{\{(.*?)\|\|(.*?)\}\}", rf"\{number}", MODULE, flags=re.DOTALL)


NAMES = re.findall(r'^    "(.*?)": ', SAVE, flags=re.MULTILINE)


@pytest.fixture(scope="session")
def said(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """Save models in one process, change the code, restore them in another; what it said of each."""
    directory = tmp_path_factory.mktemp("changed")
    (directory / "code_of_today.py").write_text(version(1))
    (directory / "save.py").write_text(SAVE)
    outputs({"save": start(directory, "save.py", PYTHONDONTWRITEBYTECODE="1")})
    (directory / "code_of_today.py").write_text(version(2))
    # The script is edited too: another lambda is now where the one that was pickled stood.
    (directory / "save.py").write_text(SAVE.replace("1.0)", "9.0)").replace("-p.log_prob(y)", "-2 * p.log_prob(y)"))
    (directory / "restore.py").write_text(RESTORE)
    finished = {"restore": start(directory, "restore.py", json.dumps(NAMES), PYTHONDONTWRITEBYTECODE="1")}
    found: Said = json.loads(outputs(finished)["restore"])
    return found


def warning_of(said: Said, name: str) -> list[str]:
    """Give the lines of the one warning of a case that was restored."""
    is_other = name in OTHER_NUMBERS
    assert (said[name]["error"] or [None])[0] == ("OutputMismatchError" if is_other else None)
    assert is_other or said[name]["weights"] == [True]
    warning = said[name]["warnings"][0]
    lines: list[str] = warning.splitlines()
    return lines


CHANGES = {
    "activation": [
        "- hidden.activation: saved 'relu', rebuilt 'tanh'",
        "- the code of code_of_today.Net, of model:",
        '-        self.hidden = layers.Dense(units, "relu")',
        '+        self.hidden = layers.Dense(units, "tanh")',
    ],
    "replaced": [
        "- model: saved code_of_today.Net, rebuilt __main__.Other",
        "- hidden.activation: saved 'relu', rebuilt 'tanh'",
        "- the code of __main__.Other, of model:",
        "-class Net(ProbModelMixin, tfk.Model):",
    ],
    "connections": [
        "- model.calls[2]: saved 'layer-3([layer-1, layer-2])', rebuilt 'layer-3([layer-2, layer-2])'",
        "- model.calls[3]: saved 'layer-4(layer-3, 2.0)', rebuilt 'layer-4(layer-3, 3.0)'",
    ],
    "prior": [
        "- the code of code_of_today.prior, of layer-0.kernel_prior_fn and 4 more:",
        "-    return tfd.Independent(tfd.Normal(tf.zeros(shape, dtype), 1.0), len(shape))",
        "+    return tfd.Independent(tfd.Normal(tf.zeros(shape, dtype), 2.0), len(shape))",
    ],
    "constant": ["- code_of_today.prior_of_constant: SCALE: saved 1.0, rebuilt 2.0"],
    "used function": [
        "- the code of code_of_today.scale_of, of code_of_today.normal: scale_of:",
        "-    return tf.nn.softplus(t)",
        "+    return tf.exp(t)",
    ],
    "closure": ["- code_of_today.scaled.<locals>.scale: factor: saved 1.0, rebuilt 3.0"],
    "loss": [
        "- the code of code_of_today.loss, of compile.loss:",
        "-    return tf.reduce_mean(tf.abs(y - prediction))",
        "+    return tf.reduce_mean(tf.square(y - prediction))",
    ],
}


# What returns other numbers is refused besides, but where `skip_mismatch` asks for it.
OTHER_NUMBERS = {"connections", "used function"}
UNCHANGED = ["nothing", "script", "made in build"]


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_while_the_shapes_did_not_is_a_warning_that_shows_both(name: str, said: Said) -> None:
    """An activation, a prior, what it uses, a closure, a loss: by path, once for all places; the weights are loaded."""
    lines = warning_of(said, name)

    stripped = [line.strip() for line in lines]
    assert [line for line in CHANGES[name] if line not in stripped] == []
    listed = [line for line in stripped if re.match(r"- \S", line)]
    assert listed == [line for line in CHANGES[name] if re.match(r"- \S", line)]


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("added layer", "drop: saved no such layer, rebuilt tf_keras.layers.Dropout"),
        ("class of a layer", "layer-1: saved tf_keras.layers.Dropout, rebuilt tf_keras.layers.GaussianNoise"),
        ("class of the user's", "layer-1: saved code_of_today.Scale, rebuilt code_of_today.Shift"),
    ],
)
def test_other_layers_with_the_same_variables_are_an_error(name: str, difference: str, said: Said) -> None:
    """Weights that fit do not make it the model that was saved; who wants it all the same says so, and is told."""
    kind, message = said[name]["error"]
    lines = warning_of(said, f"{name}, skipping")

    assert kind == "LayerMismatchError"
    assert f"  - {difference}\n" in message
    assert "skip_mismatch=True" in message
    assert lines[0].startswith("skip_mismatch=True: the model is taken as it is.")
    assert f"  - {difference}" in lines


def test_variables_of_another_shape_come_with_what_made_them_so(said: Said) -> None:
    """One message: the variables, the configuration, the code."""
    kind, message = said["units"]["error"]

    assert kind == "VariableMismatchError"
    assert "  - hidden/kernel: saved (2, 3) float32, built (2, 4) float32\n" in message
    assert "  - hidden.units: saved 3, rebuilt 4\n" in message
    assert "-        self.hidden = layers.Dense(3)\n" in message
    assert said["units"]["warnings"] == []
    assert "hidden.units: saved 3, rebuilt 4" in said["units, skipping"]["warnings"][0]


def test_another_distribution_is_an_error_with_the_code_that_makes_it(said: Said) -> None:
    """The distribution by its class, and what changed in the function."""
    kind, message = said["distribution"]["error"]

    assert kind == "OutputMismatchError"
    assert "  - output['distribution']: saved ['Normal'], rebuilt ['Laplace']\n" in message
    assert "return tfd.Laplace(t[..., :1], tf.nn.softplus(t[..., 1:]))" in said["distribution"]["warnings"][0]


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_does_not_change_the_model_is_not_told(name: str, said: Said) -> None:
    """Automatic names, seeds, layout, comments, docstrings; a script that was edited after its code was pickled.

    Nor are layers that are made only once the model is called, though its variables are all there before.
    """
    assert said[name] == {"error": None, "warnings": [], "weights": [True]}


def test_every_case_is_looked_at(said: Said) -> None:
    """A model that is saved and not compared would prove nothing."""
    others = {"added layer", "class of a layer", "class of the user's", "units", "distribution"}

    assert set(NAMES) == {*CHANGES, *UNCHANGED, *others}
    assert version(1) != version(2)
