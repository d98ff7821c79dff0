"""Strangers' checkpoints that ask for nothing, and would run code, mislead or exhaust all the same.

Each is whole, sealed and well-formed by the grammar of SPEC.md; none names an import or a pickle, but where it says so.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from tests.golden.attacks import CANARY, _bare, _marshalled, _pickled, _sequential
from tests.golden.refusals import Files, Refusal, with_model
from tests.recipe.hostility import import_of, known, member

__all__ = ["STRANGERS"]

_UNPICKLER = known("tfp.layers.DistributionLambda")
_ARRAY = {"$": "np.ndarray", "tensor": "constant-0"}


def _layer(layer: str, /, **arguments: Any) -> dict[str, Any]:
    return {"$": "keras", "class": known(f"tf_keras.layers.{layer}"), "arguments": arguments}


def _tuple(*items: Any) -> dict[str, Any]:
    return {"$": "tuple", "items": list(items)}


def _input(*shape: int) -> dict[str, Any]:
    return _layer("InputLayer", batch_input_shape=_tuple(None, *shape), dtype="float32", name="i")


def _symbolic(call: int) -> dict[str, Any]:
    return {"$": "symbolic", "call": call, "output": 0}


def _build(callee: Any, *positional: Any) -> dict[str, Any]:
    return {"$": "build", "class": callee, "positional": list(positional), "arguments": {}}


def _partial(name: str, *positional: Any) -> dict[str, Any]:
    return {"$": "partial", "class": known(name), "positional": list(positional), "arguments": {}}


def _functional(*calls: Any, name: str = "f", inputs: Any = None) -> dict[str, Any]:
    inputs = inputs or _input(2)
    ends = {"inputs": _symbolic(0), "outputs": _symbolic(len(calls))}
    return {"$": "functional", "name": name, "trainable": True, "calls": [[inputs], *calls], **ends}


def _calling_each_other(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {**_layer("Activation", activation="relu"), "id": 0}
    for level in range(1, levels + 1):
        calls = [[node, _tuple(_symbolic(0)), {}], [{"$": "same", "id": level - 1}, _tuple(_symbolic(1)), {}]]
        node = {**_functional(*calls, name=f"f{level}", inputs=_input(1)), "id": level}
    return node


def _with(part: str, value: Any) -> Callable[[Files], Files]:
    """Put another part in a recipe that is left as it is but for that."""

    def edit(files: Files) -> Files:
        recipe = json.loads(files["recipe.json"])
        return {**files, "recipe.json": json.dumps({**recipe, part: value}).encode()}

    return edit


def _refused(why: str, message: str, edit: Callable[[Files], Files], *, error: str = "MalformedRecipeError") -> Refusal:
    return Refusal(error=error, message=message, why=why, key="", edit=_bare(edit))


def _model(why: str, node: Any, message: str, **how: Any) -> Refusal:
    return _refused(why, message, with_model(node), **how)


_CONFIG = {"make_distribution_fn": base64.encodebytes(_pickled()).decode(), "convert_to_tensor_fn": "sample"}
_UNPICKLED = _build(member("from_config"), _UNPICKLER, [_CONFIG], {})
_DENSE = _layer("Dense", units=1)
_LAMBDA = _layer("Lambda", function=known("tf.math.abs"))
_UNMARSHALLED = {"function": [_marshalled(), None, None], "function_type": "lambda", "output_shape_type": "raw"}
_REFERENCE = "what is called is a reference"
_SPOOF = "float32\x1b[2J\x1b[1A\r\n  - import fractions\u202e"

_CODE = {
    "member-as-builder": _model("a layer that calls from_config of a class, as builder", _UNPICKLED, _REFERENCE),
    "member-in-graph": _model(
        "a call of that layer on a class, in a graph",
        _functional([member("from_config"), _tuple(_UNPICKLER, [_CONFIG], {}), {}]),
        "'from_config' is not a tensor's member",
    ),
    "listed-member-of-a-class": _model(
        "a member that tensors have, asked of a class",
        _functional([member("to_tensor"), _tuple(_UNPICKLER, [_symbolic(0)], {}), {}]),
        "may not stand here",
    ),
    "member-that-writes": _model(
        "save of a model of the file, with a path of the file",
        _build(member("save"), _sequential(_DENSE), [CANARY], {}),
        _REFERENCE,
    ),
    "member-that-unmarshals": _model(
        "Keras's Lambda.from_config with a function in text",
        _sequential(_build(member("from_config"), known("tf_keras.layers.Lambda"), [_UNMARSHALLED], {})),
        _REFERENCE,
    ),
    "member-in-compile": _refused(
        "the same as a loss of compile", _REFERENCE, _with("compile", {"arguments": {"loss": _UNPICKLED}})
    ),
    "member-in-losses": _refused(
        "the same as a loss of a layer", _REFERENCE, _with("losses", [{"layer": "", "functions": [_UNPICKLED]}])
    ),
    "member-in-an-attribute": _refused(
        "the name of a method put into a layer as its attribute",
        "had attributes put on it",
        with_model(_sequential({**_DENSE, "attached": [["call", "method", known("tf.math.abs")]]})),
    ),
    "partial-call-as-builder": _model("a partial call as builder", _build(_partial("tf.math.abs", 1.0)), _REFERENCE),
    "layer-as-builder": _model("a layer of the file as builder", _build(_DENSE, [[1.0]]), _REFERENCE),
    "class-of-layers-as-function": _model(
        "a class that unpickles text, to be called by a layer",
        _sequential(_layer("Lambda", function=_UNPICKLER)),
        "may not stand here",
    ),
    "class-in-a-partial-call": _model(
        "the same with text in a partial call",
        _sequential(_layer("Lambda", function={**_partial("tfp.layers.DistributionLambda"), "arguments": _CONFIG})),
        "may not stand here",
    ),
    "library-class-by-its-registered-name": _model(
        "a class that tf_keras registered for itself",
        {"$": "object", "class": {**import_of("x", "y"), "registered": "Custom>SharpnessAwareMinimization"}},
        "import x.y",
        error="UntrustedCheckpointError",
    ),
    "layer-as-initializer": _model(
        "a layer where Keras calls an initializer",
        _sequential(_layer("Dense", units=1, kernel_initializer=_DENSE)),
        "is no kernel_initializer here",
    ),
    "layer-as-loss": _refused(
        "a layer as a loss of compile", "is no loss here", _with("compile", {"arguments": {"loss": _DENSE}})
    ),
    "layer-as-factory": _model(
        "a layer that a dict would call for what is missing",
        _sequential(
            _layer("Lambda", function=known("tf.math.abs"), arguments={"$": "default_dict", "factory": _DENSE})
        ),
        _REFERENCE,
    ),
    "function-as-learning-rate": _refused(
        "a function that the first step would call",
        "a learning rate is a number or a schedule",
        _with(
            "compile",
            {
                "arguments": {
                    "optimizer": {
                        "$": "keras",
                        "class": known("tf_keras.optimizers.SGD"),
                        "arguments": {"learning_rate": _partial("tf.math.abs", 1.0)},
                    }
                }
            },
        ),
    ),
    "lambda-made-anew": _model(
        "a layer that is made anew of its configuration, by from_config",
        _sequential(_layer("Bidirectional", layer=_LAMBDA)),
        "a layer that is made of a function is no part of it",
    ),
    "lambda-as-an-instruction": _model(
        "Keras's own instruction to make a Lambda layer",
        _sequential(_layer("TimeDistributed", layer={"$": "instruction", "object": _LAMBDA})),
        "a layer that is made of a function is no part of it",
    ),
    "layer-on-no-tensor": _model(
        "a layer that is called on a number", _functional([_DENSE, _tuple(1.0), {}]), "and on none here"
    ),
    "function-that-calls": _model(
        "tf.case, which calls what it is given",
        _functional([{"$": "tf_function", "function": "tf.case", "name": "c"}, _tuple(_symbolic(0)), {}]),
        "'tf.case' may not stand here",
    ),
    "registry-of-divergences": _model(
        "a class that changes what TFP has for the whole process",
        {"$": "parametrized", "class": known("tfp.distributions.RegisterKL"), "arguments": {}},
        "'tfp.distributions.RegisterKL' may not stand here",
    ),
    "text-that-erases-a-line": _model(
        "a second requirement that would erase the first from the refusal",
        {
            **_build(import_of("os", "system"), "true"),
            "arguments": {"a": import_of("numpy", _SPOOF)},
        },
        r"\x1b[2J\x1b[1A\r\n  - import fractions\u202e",
        error="UntrustedCheckpointError",
    ),
}

_EXHAUSTION = {
    "huge-variable": _model(
        "a variable of 3.6 GB, in a kilobyte",
        {"$": "variable", "index": 0, "shape": [30_000, 30_000], "dtype": "float32", "trainable": True, "name": "v"},
        "where those that were saved allow for",
    ),
    "zeros-as-initializer": _model(
        "an initializer that makes a matrix of 3.6 GB",
        _sequential(_layer("Dense", units=1, kernel_initializer=_partial("tf.zeros", [30_000, 30_000]))),
        "'tf.zeros' may not stand here",
    ),
    "models-that-call-each-other": _model(
        "twenty models, each of which calls the next twice", _calling_each_other(20), "written out it has"
    ),
    "endless-upsampling": _model(
        "a layer that repeats each value 2**30 times, one by one",
        _sequential(_input(8, 3), _layer("UpSampling1D", size=2**30)),
        "would go through it in",
    ),
    "endless-unrolling": _model(
        "a recurrent layer that is unrolled for a million steps",
        _sequential(_input(10**6, 1), _layer("SimpleRNN", units=1, unroll=True)),
        "would go through it in 1,000,000 turns",
    ),
    "numbers-beyond-counting": _model(
        "a layer of 2**62 units", _sequential(_layer("Dense", units=2**62)), "is more than anything is made of"
    ),
    "endless-range": _model(
        "a range of which something would make a list",
        _sequential(_layer("Normalization", mean={"$": "range", "bounds": [0, 10**12, 1]})),
        "is longer than 1048576 numbers",
    ),
}

STRANGERS = {**_CODE, **_EXHAUSTION}
