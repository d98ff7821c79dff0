from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow_probability as tfp
import tf_keras as tfk
from tf_keras.src.layers.core import tf_op_layer

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe import strangers
from keras_probckpt.recipe.document import RecipeReader
from keras_probckpt.recipe.known import known_names
from keras_probckpt.recipe.lookups import _CLASSES
from keras_probckpt.recipe.standard import _BY_NAME, _FACTORIES, _NAMESPACES
from keras_probckpt.recipe.strangers import MEMBERS, Use, for_strangers
from tests.recipe.hostility import import_of, known, member
from tests.recipe.journeys import Arrays, read, trust_of

REVIEWED = pathlib.Path(__file__).parent / "reviewed_callables.txt"
USES: tuple[Use, ...] = ("made", "operation", "value")


def reachable() -> set[str]:
    """Name every callable that a recipe of data alone can have called, with the use that it can make of it."""
    tables = {f"{use} {name}" for use in USES for name in known_names() if for_strangers(name, use) is not None}
    members = {f"{kind} {name}" for kind, names in MEMBERS.items() for name in names}
    of_python = {f"standard {name}" for name in (*_BY_NAME, *_NAMESPACES, *_FACTORIES)}
    return tables | members | of_python | {f"lookup {name}" for name in _CLASSES}


def test_every_callable_that_data_can_reach_was_reviewed() -> None:
    """What a release of TensorFlow, TFP or this package adds is looked at before a stranger's file may use it.

    For each: it opens no file or address, imports nothing, evaluates no text, calls nothing that it was not given as a
    function of tensors, and changes nothing of the process. Then its line goes into `reviewed_callables.txt`.
    """
    reviewed = set(REVIEWED.read_text().splitlines())

    assert reachable() - reviewed == set()


@pytest.mark.parametrize(
    "line",
    [
        "value tf.zeros",
        "value tf.eye",
        "value tf.one_hot",
        "operation tf.case",
        "made tf_keras.layers.TFSMLayer",
        "made tf_keras.layers.StringLookup",
        "value tf_keras.layers.Lambda",
        "value tfp.layers.DistributionLambda",
        "made tfp.distributions.RegisterKL",
        "value tfp.distributions.RegisterKL",
        "InstanceMethod from_config",
        "InstanceMethod save",
    ],
)
def test_what_loads_registers_or_makes_much_of_little_is_out_of_reach(line: str) -> None:
    """Nor was it ever reviewed."""
    assert line not in reachable()
    assert line not in REVIEWED.read_text().splitlines()


def test_the_members_are_those_that_keras_hands_on() -> None:
    """One that a release adds comes here only after a look at it."""
    delegated = {name for cls in _symbolic_classes() for name in vars(cls) if not name.startswith("_")}
    known_members = set().union(*MEMBERS.values())

    assert known_members <= delegated


def _symbolic_classes() -> list[type]:
    module = tf_op_layer.keras_tensor
    return [module.KerasTensor, module.RaggedKerasTensor, module.SparseKerasTensor]


def keras(name: str, /, **arguments: Any) -> dict[str, Any]:
    """Write the node of an object of Keras."""
    return {"$": "keras", "class": known(f"tf_keras.{name}"), "arguments": arguments}


def partial(name: str, *positional: Any) -> dict[str, Any]:
    """Write the node of a partial call."""
    return {"$": "partial", "class": known(name), "positional": list(positional), "arguments": {}}


ARRAYS: Arrays = {"row": np.zeros((1, 3), np.float32), "column": np.zeros((3, 1), np.float32)}
ROW, COLUMN = ({"$": "np.ndarray", "tensor": name} for name in ARRAYS)
LAYER = keras("layers.Dense", units=1)


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ({"$": "build", "class": LAYER, "arguments": {}}, "is a reference, not 'keras' of the file"),
        ({"$": "build", "class": partial("tf.math.abs", 1.0), "arguments": {}}, "is a reference, not 'partial'"),
        ({"$": "build", "class": {"a": 1}, "arguments": {}}, "is a reference, not an object of the file"),
        (partial("tf.zeros", [3]), "'tf.zeros' may not stand here"),
        (partial("tf_keras.layers.Dense", 3), "'tf_keras.layers.Dense' may not stand here"),
        (partial("tf.math.add", ROW, COLUMN), "is given one array at most"),
        (partial("tf.math.abs", known("tf.math.abs")), "a partial call is given data, not a function"),
        (known("tf_keras.layers.Dense"), "'tf_keras.layers.Dense' may not stand here"),
        (keras("layers.Dense", units=1, kernel_initializer=LAYER), "a Dense is no kernel_initializer here"),
        (keras("layers.Dense", units=1, kernel_regularizer=LAYER), "a Dense is no kernel_regularizer here"),
        (keras("layers.Dense", units=1, bias_constraint=LAYER), "a Dense is no bias_constraint here"),
        (keras("metrics.MeanMetricWrapper", fn=LAYER), "a Dense is no fn here"),
        (keras("optimizers.SGD", learning_rate=known("tf.math.abs")), "a learning rate is a number or a schedule"),
        (
            keras("layers.Dense", units=1, activation=keras("losses.MeanSquaredError")),
            "a MeanSquaredError is no activation here",
        ),
        (
            keras("layers.Bidirectional", layer=keras("layers.Lambda", function=known("tf.math.abs"))),
            "a layer that is made of a function is no part of it",
        ),
        (
            {"$": "instruction", "object": keras("layers.Lambda", function=known("tf.math.abs"))},
            "a layer that is made of a function is no part of it",
        ),
        ({"$": "tf_function", "function": "tf.case", "name": "c"}, "'tf.case' may not stand here"),
        (member("numpy"), "'numpy' is not a tensor's member"),
        ({"$": "default_dict", "factory": LAYER, "items": []}, "is a reference, not 'keras'"),
        (
            {"$": "deferred_tensor", "arguments": {"pretransformed_input": ROW, "transform_fn": LAYER}},
            "a Dense is no transform_fn here",
        ),
    ],
    ids=str,
)
def test_an_object_of_the_file_is_called_by_nobody(node: dict[str, Any], problem: str) -> None:
    """Nor does a name of the tables serve another use than that which was reviewed."""
    with pytest.raises(MalformedRecipeError) as caught:
        read(node, arrays=ARRAYS, trust=trust_of("unsigned"))

    assert problem in str(caught.value)
    assert "pass trusted=True" in str(caught.value) or "member" in problem


@pytest.mark.parametrize(
    "node",
    [
        partial("tf.zeros", [3]),
        partial("tf.math.add", ROW, COLUMN),
        known("tf_keras.layers.Dense"),
        {"$": "tf_function", "function": "tf.case", "name": "c"},
        keras("layers.Dense", units=1, kernel_initializer=partial("tf.zeros")),
        member("numpy"),
    ],
    ids=str,
)
def test_ones_own_checkpoint_is_not_bound_by_it(node: dict[str, Any]) -> None:
    """It may ask for everything that its author's own program could do."""
    assert read(node, arrays=ARRAYS, trust=trust_of("own")) is not None


@pytest.mark.parametrize("args", [[LAYER], [known("tf.math.abs")], ["a/path"], [ROW]], ids=str)
def test_a_recorded_call_is_made_of_placeholders_and_settings(args: list[Any]) -> None:
    """The caller's own model may be called with them, where he gave its builder."""
    model = tfk.Sequential([tfk.layers.Dense(1, input_shape=(2,))])
    document = {"model": {}, "calls": [{"layer": "", "args": args, "kwargs": {}}]}
    reader = RecipeReader(document, arrays=ARRAYS, trust=trust_of("unsigned"))

    with pytest.raises(MalformedRecipeError, match="is no argument of a recorded call"):
        reader.call_symbolically(lambda: {"": model}, is_complete=lambda: False)


@pytest.mark.parametrize("part", ["loss", "metrics", "optimizer"])
def test_a_layer_is_none_of_the_arguments_of_compile(part: str) -> None:
    """A training would call it on what it is trained with."""
    model = tfk.Sequential([tfk.layers.Dense(1, input_shape=(2,))])
    document = {"model": {}, "compile": {"arguments": {part: [LAYER]}}}
    reader = RecipeReader(document, arrays={}, trust=trust_of("unsigned"))

    with pytest.raises(MalformedRecipeError, match=f"a Dense is no {part} here"):
        reader.compile(model)


def test_a_layer_is_no_loss_of_a_layer() -> None:
    """It would be called when somebody asks for the losses."""
    model = tfk.Sequential([tfk.layers.Dense(1, input_shape=(2,))])
    document = {"model": {}, "losses": [{"layer": "", "functions": [LAYER]}]}
    reader = RecipeReader(document, arrays={}, trust=trust_of("unsigned"))

    with pytest.raises(MalformedRecipeError, match="a Dense is no loss here"):
        reader.add_losses({"": model})


@pytest.mark.parametrize("entry", [[0, [LAYER], None], [0, [], LAYER]], ids=["regularizer", "constraint"])
def test_a_layer_is_no_penalty_of_a_weight(entry: list[Any]) -> None:
    """It would be called on the weight: when somebody asks for the losses, or in the first step of a training."""
    model = tfk.Sequential([tfk.layers.Dense(1, input_shape=(2,))])
    document = {"model": {}, "penalties": {"layer-0": [entry]}}
    reader = RecipeReader(document, arrays={}, trust=trust_of("unsigned"))

    with pytest.raises(MalformedRecipeError, match="a Dense is no penalty here"):
        reader.add_losses({"": model, "layer-0": model.layers[0]})


def test_a_table_of_words_is_made_for_nobody_else() -> None:
    """What it is made of goes to native code."""
    table = {"$": "static_table", "id": 0, "keys": ROW, "values": ROW, "key_dtype": None, "value_dtype": None}

    with pytest.raises(MalformedRecipeError, match="a static table is made for a trusted checkpoint alone"):
        read(table, arrays=ARRAYS, trust=trust_of("unsigned"))


@pytest.mark.parametrize("signature", ["own", "unsigned"])
def test_a_layer_is_called_on_symbolic_tensors_alone(signature: Any) -> None:
    """Keras itself records no other call."""
    inputs = keras("layers.InputLayer", batch_input_shape={"$": "tuple", "items": [None, 2]}, name="i")
    graph = {"$": "functional", "name": "m", "inputs": {"$": "symbolic", "call": 0, "output": 0}}
    calls = [[inputs], [LAYER, {"$": "tuple", "items": [ROW]}, {}]]

    with pytest.raises(MalformedRecipeError, match="a layer is called on the outputs of others, and on none here"):
        read({**graph, "calls": calls, "outputs": []}, arrays=ARRAYS, trust=trust_of(signature))


class Users(tfk.layers.Layer):
    """A user's layer."""

    def __init__(self) -> None:
        super().__init__()
        self._temperature, self.path = 1.0, "mine"


@pytest.mark.parametrize(
    ("item", "name", "may"),
    [
        (tfk.layers.Dropout(0.5), "rate", True),
        (tfk.layers.Dropout(0.5), "_name", False),
        (tf_op_layer.InstanceMethod("to_tensor"), "attr_name", False),
        (Users(), "_temperature", True),
        (Users(), "path", False),
        ({"rate": 0.5}, "rate", False),
        (tfk.activations.relu, "rate", False),
        (tfp.distributions.FULLY_REPARAMETERIZED, "_rep_type", False),
    ],
)
def test_a_stranger_puts_numbers_into_objects_that_the_file_made(item: Any, name: str, *, may: bool) -> None:
    """Not text, which may be a path or choose what is done, nor into functions and containers, which others share."""
    present = item[name] if isinstance(item, dict) else getattr(item, name, 0.5)

    assert strangers.may_put(item, name, present) is may


def test_a_registered_class_of_a_library_is_found_in_the_tables_alone() -> None:
    """tf_keras registers some of its own, which take models and functions."""
    node = {**import_of("x", "y"), "registered": "Custom>SharpnessAwareMinimization"}

    with pytest.raises(Exception, match="trusted") as caught:
        read(node, trust=trust_of("unsigned"))
    assert type(caught.value).__name__ == "UntrustedCheckpointError"
