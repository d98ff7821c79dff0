"""Recipes by which somebody tries to run code where nobody trusts it."""

from __future__ import annotations

import base64
import marshal
import os
import pathlib
import pickle
from collections.abc import Callable
from typing import Any

import tensorflow_probability as tfp
import tf_keras as tfk


def import_of(module: str, name: str) -> dict[str, Any]:
    """Write the node of an importable function."""
    return {"$": "import", "module": module, "name": name}


def known(name: str) -> dict[str, Any]:
    """Write the node of an entry of the closed tables."""
    return {"$": "known", "name": name}


def hostile_pickle(canary: pathlib.Path) -> bytes:
    """Make a pickle that creates the canary when it is read."""
    return pickle.dumps(_Hostile(canary))


class _Hostile:
    def __init__(self, canary: pathlib.Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self._canary),)


class UserLambda(tfk.layers.Lambda):
    """A user's class that inherits Keras's way of making functions of text."""

    def make(self, path: str) -> str:
        """Do what only its own program is to have done."""
        os.mkdir(path)  # noqa: PTH102 - as an attack would
        return path


class UserDistribution(tfp.layers.DistributionLambda):
    """A user's class that inherits TFP's way of unpickling text, and describes itself."""

    def get_config(self) -> dict[str, Any]:
        """Say nothing of the function."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> UserDistribution:
        """Make one from whatever the configuration has."""
        return cls(**config)


for user_class in (UserLambda, UserDistribution):
    tfk.saving.register_keras_serializable("hostile")(user_class)


def member(attribute: str) -> dict[str, Any]:
    """Write the node of a layer that calls a method by its name."""
    return {"$": "tf_member", "kind": "InstanceMethod", "attribute": attribute, "name": "m"}


def _members(text: str, marshalled: dict[str, Any], place: str) -> dict[str, Any]:
    """Write recipes that call a method by its name on something that is no tensor."""
    lambda_layer, distribution = known("tf_keras.layers.Lambda"), known("tfp.layers.DistributionLambda")
    config = {"make_distribution_fn": text, "convert_to_tensor_fn": "sample"}
    dense = {"$": "keras", "class": known("tf_keras.layers.Dense"), "arguments": {"units": 1}}
    model = {"$": "sequential", "name": "m", "layers": [dense]}

    def called(attribute: str, of: Any, *given: Any) -> dict[str, Any]:
        return {"$": "build", "class": member(attribute), "positional": [of, list(given), {}], "arguments": {}}

    arguments = {"$": "tuple", "items": [distribution, [config], {}]}
    inputs = {"$": "keras", "class": known("tf_keras.layers.InputLayer"), "arguments": {"input_shape": [2]}}
    unpickled = called("from_config", distribution, config)
    return {
        "a member as builder": unpickled,
        "a member that unmarshals": called("from_config", lambda_layer, marshalled),
        "a member that writes": called("save", model, place),
        "a member that is called in a graph": {
            "$": "functional",
            "name": "m",
            "calls": [[inputs], [member("from_config"), arguments, {}]],
            "inputs": {"$": "symbolic", "call": 0, "output": 0},
            "outputs": {"$": "symbolic", "call": 1, "output": 0},
        },
        "a member of a class that is listed, in a graph beside a tensor": {
            "$": "functional",
            "name": "m",
            "calls": [
                [inputs],
                [
                    member("to_tensor"),
                    {"$": "tuple", "items": [distribution, [{"$": "symbolic", "call": 0, "output": 0}], {}]},
                    {},
                ],
            ],
            "inputs": {"$": "symbolic", "call": 0, "output": 0},
            "outputs": {"$": "symbolic", "call": 1, "output": 0},
        },
        "a member as initializer": {
            **dense,
            "arguments": {"units": 1, "kernel_initializer": member("from_config")},
        },
        "a member in a partial call": {
            "$": "keras",
            "class": lambda_layer,
            "arguments": {
                "function": {"$": "partial", "class": member("from_config"), "positional": [], "arguments": {}}
            },
        },
        "what a member makes as a layer": {"$": "sequential", "name": "m", "layers": [unpickled]},
        "a partial call as builder": {
            "$": "build",
            "class": {"$": "partial", "class": known("tf.zeros"), "positional": [[1]], "arguments": {}},
            "positional": [],
            "arguments": {},
        },
        "a layer as builder": {"$": "build", "class": dense, "positional": [[[1.0]]], "arguments": {}},
        "a factory of a dict": {"$": "default_dict", "factory": dense, "items": []},
        "a class of layers to be called later": {
            "$": "keras",
            "class": lambda_layer,
            "arguments": {"function": distribution},
        },
        "a registered class of a library": {
            "$": "object",
            "class": {**import_of("x", "y"), "registered": "Custom>SharpnessAwareMinimization"},
            "arguments": {"model": model},
        },
    }


def hostile_documents(canary: pathlib.Path) -> dict[str, Any]:
    """Write recipes by which somebody tries to run code, by what they try."""
    text = base64.encodebytes(hostile_pickle(canary)).decode()
    place = str(canary)
    lambda_layer, distribution = known("tf_keras.layers.Lambda"), known("tfp.layers.DistributionLambda")
    instruction = {"module": "os", "class_name": "mkdir", "config": {"path": place}, "registered_name": "mkdir"}
    code = base64.encodebytes(marshal.dumps((lambda x: x).__code__)).decode("ascii")
    marshalled = {
        "function": [code, None, None],
        "function_type": "lambda",
        "module": "tests.recipe.hostility",
        "output_shape": None,
        "output_shape_type": "raw",
        "output_shape_module": None,
    }
    user = {"$": "import", "module": "tests.recipe.hostility", "name": "UserLambda", "registered": "hostile>UserLambda"}
    user_distribution = {**user, "name": "UserDistribution", "registered": "hostile>UserDistribution"}
    maker = {"$": "object", "class": user, "arguments": {"function": known("tf.math.abs")}}
    method = {"$": "method", "module": "tests.recipe.hostility", "name": "UserLambda.make", "object": maker}
    return {
        "a method of a registered class": {"$": "build", "class": method, "positional": [place], "arguments": {}},
        "a method of Keras": {
            "$": "build",
            "class": {**method, "module": "tf_keras.src.engine.base_layer", "name": "Layer.save_own_variables"},
            "positional": [place],
            "arguments": {},
        },
        "a registered distribution of text": {
            "$": "object",
            "class": user_distribution,
            "positional": [text],
            "arguments": {},
        },
        "a registered distribution of named text": {
            "$": "object",
            "class": user_distribution,
            "arguments": {"make_distribution_fn": text},
        },
        "a registered distribution by its configuration": {
            "$": "configured",
            "class": user_distribution,
            "arguments": {"make_distribution_fn": text},
        },
        "a function as builder": {
            "$": "build",
            "class": import_of("os", "mkdir"),
            "positional": [place],
            "arguments": {},
        },
        "a class as user object": {
            "$": "object",
            "class": import_of("subprocess", "Popen"),
            "arguments": {"args": ["mkdir", place]},
        },
        "a class by its configuration": {
            "$": "configured",
            "class": import_of("subprocess", "Popen"),
            "arguments": {"args": ["mkdir", place]},
        },
        "a pickle": {"$": "pickle", "index": 0, "module": "__main__", "name": "Net", "source": ""},
        "a pickle in text": {"$": "tfp", "class": distribution, "arguments": {"make_distribution_fn": text}},
        "a pickle in text by position": {"$": "tfp", "class": distribution, "positional": [text], "arguments": {}},
        "a pickle in text as bytes": {
            "$": "tfp",
            "class": distribution,
            "arguments": {"make_distribution_fn": {"$": "bytes", "base64": base64.b64encode(text.encode()).decode()}},
        },
        "a known class as builder": {"$": "build", "class": distribution, "positional": [text], "arguments": {}},
        "a known class as Keras object": {
            "$": "keras",
            "class": distribution,
            "arguments": {"make_distribution_fn": text},
        },
        "a known class as user object": {"$": "object", "class": distribution, "positional": [text], "arguments": {}},
        "a known class by its configuration": {"$": "configured", "class": lambda_layer, "arguments": marshalled},
        "a registered Lambda by its configuration": {"$": "configured", "class": user, "arguments": marshalled},
        "a registered Lambda of text": {"$": "object", "class": user, "positional": [text], "arguments": {}},
        "marshalled text": {"$": "keras", "class": lambda_layer, "arguments": {"function": text}},
        "an instruction": {
            "$": "keras",
            "class": known("tf_keras.layers.Dense"),
            "arguments": {"activation": instruction},
        },
        "an instruction in pairs": {
            "$": "keras",
            "class": known("tf_keras.layers.TimeDistributed"),
            "arguments": {"layer": {"$": "dict", "items": [[key, item] for key, item in instruction.items()]}},
        },
        "an instruction in an instruction": {"$": "instruction", "object": instruction},
        "a configuration read by name": {"$": "build", "class": known("tf_keras.layers.deserialize"), "arguments": {}},
        "a file read by a known function": {
            "$": "build",
            "class": known("tf.nn.fixed_unigram_candidate_sampler"),
            "arguments": {"vocab_file": place},
        },
        "the policy of the process": {
            "$": "build",
            "class": known("tf_keras.mixed_precision.set_global_policy"),
            "arguments": {"policy": "float16"},
        },
        "a file as vocabulary": {
            "$": "lookup",
            "class": "StringLookup",
            "arguments": {"vocabulary": __file__},
            "learned": {},
        },
        "a file as learned vocabulary": {
            "$": "lookup",
            "class": "StringLookup",
            "arguments": {},
            "learned": {"vocabulary": __file__},
        },
        "a file as vocabulary in a list's place": {
            "$": "lookup",
            "class": "TextVectorization",
            "arguments": {"vocabulary": {"$": "tuple", "items": [__file__]}},
            "learned": {},
        },
        "a file as vocabulary of a known class": {
            "$": "keras",
            "class": known("tf_keras.layers.StringLookup"),
            "arguments": {"vocabulary": __file__},
        },
        "a known class in a partial call": {
            "$": "keras",
            "class": lambda_layer,
            "arguments": {"function": {"$": "partial", "class": distribution, "positional": [text], "arguments": {}}},
        },
        **_members(text, marshalled, place),
        "a call in a graph": {
            "$": "functional",
            "name": "m",
            "calls": [[import_of("os", "mkdir"), {"$": "tuple", "items": [place]}, {}]],
            "inputs": [],
            "outputs": [],
        },
    }
