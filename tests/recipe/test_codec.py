from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.recipe.kinds import new_encoder
from tests.parameter_ids import without_address
from tests.recipe.journeys import read, round_trip, written


def itself_in_a_list() -> Any:
    """Make a list that contains itself."""
    values: list[Any] = [1]
    values.append(values)
    return values


def itself_in_a_dict() -> Any:
    """Make a dict that contains itself two levels down."""
    values: dict[Any, Any] = {}
    values[3] = (values,)
    return values


@pytest.mark.parametrize("value", [itself_in_a_list(), itself_in_a_dict(), {"plain": itself_in_a_list()}], ids=str)
def test_what_contains_itself_is_an_error(value: Any) -> None:
    """Not a hang, and not Python's recursion limit."""
    with pytest.raises(UnrecordableError, match="it contains itself"):
        round_trip(value)


def test_a_plain_dict_that_contains_itself_is_an_error() -> None:
    """As any other."""
    values: dict[str, Any] = {}
    values["self"] = values

    with pytest.raises(UnrecordableError, match="it contains itself"):
        round_trip(values)


def test_a_value_in_two_places_does_not_contain_itself() -> None:
    """Only what is inside of itself does."""
    twice = [1]

    assert round_trip([twice, twice, {"a": twice}]) == [[1], [1], {"a": [1]}]


def test_what_is_nested_too_deeply_is_an_error_of_ours() -> None:
    """Whatever Python's recursion limit is."""
    value: Any = ()
    for _ in range(5_000):
        value = (value,)

    with pytest.raises(UnrecordableError, match="it is nested too deeply"):
        written(value)


class Opaque:
    """An object that nobody knows how to rebuild."""


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (object(), "a builtins.object is of no kind that can be rebuilt"),
        (np.array(["text"], "<U9999"), "takes 39996 bytes for a fraction of text"),
        (np.array([threading.Lock()]), "a numpy.ndarray is of no kind that can be rebuilt, but by its state"),
        (threading.Lock(), "a _thread.lock is of no kind that can be rebuilt, but by its state"),
        (np.dtype("datetime64[s]"), "TensorFlow has no dtype like"),
        (iter([]), "is of no kind that can be rebuilt"),
        (memoryview(b"ab"), "is of no kind that can be rebuilt"),
    ],
    ids=without_address,
)
def test_what_cannot_be_rebuilt_is_named_with_its_place(value: Any, problem: str) -> None:
    """And a way out is shown."""
    with pytest.raises(UnrecordableError) as caught:
        new_encoder().encode({"units": [1, value]}, "Net(config=...)")

    assert caught.value.where == "Net(config=...)['units'][1]"
    assert problem in caught.value.problem
    assert "builder=" in caught.value.advice


@pytest.mark.parametrize(
    "node",
    [
        {"$": "float"},
        {"$": "float", "value": "1e5"},
        {"$": "float", "value": "NaN"},
        {"$": "float", "value": 1},
        {"$": "complex", "real": 1},
        {"$": "complex", "real": True, "imaginary": 0},
        {"$": "complex", "real": "nan", "imaginary": 0},
        {"$": "bytes", "base64": "!!!!"},
        {"$": "bytes", "base64": "\u00e9"},
        {"$": "bytes", "base64": 3},
        {"$": "tuple"},
        {"$": "tuple", "items": {"a": 1}},
        {"$": "set", "items": [[1]]},
        {"$": "frozenset", "items": [{}]},
        {"$": "dict", "items": [[1]]},
        {"$": "dict", "items": [[[1], 2]]},
        {"$": "dict", "items": [["class_name", "Dense"]]},
        {"$": "dict", "items": "ab"},
        {"class_name": "Dense", "config": {}},
        {"a": [{"class_name": None}]},
        {"$": "np.ndarray"},
        {"$": "np.ndarray", "tensor": "absent"},
        {"$": "np.ndarray", "tensor": ["vector"]},
        {"$": "np.generic", "tensor": "vector"},
        {"$": "tf.Tensor", "tensor": None},
        {"$": "tf.DType", "name": "float33"},
        {"$": "tf.DType", "name": ""},
        {"$": "tf.DType"},
        {"$": "np.dtype", "name": "float33"},
        {"$": "np.dtype", "name": "resource"},
        {"$": "np.dtype", "name": "variant"},
        {"$": "np.dtype"},
        {"$": "tf.TensorShape", "dimensions": [-1]},
        {"$": "tf.TensorShape", "dimensions": [True]},
        {"$": "tf.TensorShape", "dimensions": [2**70]},
        {"$": "tf.TensorShape", "dimensions": "ab"},
        {"$": "tf.TensorSpec", "dimensions": [2], "dtype": "float33"},
        {"$": "tf.TensorSpec", "dimensions": [2], "dtype": None},
        {"$": "tf.TensorSpec", "dimensions": [2], "dtype": "int8", "name": 3},
        {"$": "named_tuple", "class": {"$": "known", "name": "tf_keras.layers.Dense"}, "arguments": {}},
        {"$": "enum", "class": {"$": "known", "name": "tf_keras.layers.Dense"}, "name": "RED"},
        {
            "$": "enum",
            "class": {"$": "import", "module": "tests.recipe.test_values", "name": "Colour"},
            "name": "GREEN",
        },
        {"$": "dataclass", "class": {"$": "known", "name": "tf_keras.layers.Dense"}, "arguments": {}},
        {
            "$": "dataclass",
            "class": {"$": "import", "module": "tests.recipe.test_values", "name": "Settings"},
            "arguments": {"rat": 1},
        },
        {"$": "partial", "class": {"$": "known", "name": "tfp.layers.DistributionLambda"}, "arguments": {}},
        {"$": "slice", "bounds": [1, 2, 3, 4]},
        {"$": "range", "bounds": [1, 2, 0]},
        {"$": "range", "bounds": ["a"]},
        {"$": "same"},
        {"$": "same", "id": 9},
        {"$": "same", "id": True},
        {"$": "same", "id": "0"},
        {"$": "unheard-of"},
        {"$": ""},
        {"$": None},
        {"$": ["tuple"]},
        {"$": {}},
        {"$": "tuple", "id": 0, "items": []},
    ],
    ids=without_address,
)
def test_a_node_that_nobody_writes_is_malformed(node: dict[str, Any]) -> None:
    """Of every tag: a missing field, a field of another type, a value out of its range."""
    with pytest.raises(MalformedRecipeError):
        read(node, arrays={"vector": np.zeros(3)})


ITSELF = {"$": "same", "id": 0}
WRAPPER = {"$": "known", "name": "tf_keras.layers.TimeDistributed"}


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (
            {"$": "keras", "id": 0, "class": WRAPPER, "arguments": {"layer": ITSELF}},
            "the object with the id 0 contains",
        ),
        ({"$": "sequential", "id": 0, "name": "loop", "layers": [ITSELF]}, "An empty Model cannot be used as a Layer"),
        ({"$": "functional", "id": 0, "name": "loop", "calls": [[ITSELF]]}, "was not called symbolically"),
    ],
)
def test_an_object_that_would_be_inside_itself_is_malformed(node: Any, problem: str) -> None:
    """A layer cannot wrap itself, nor a list of layers hold the model it belongs to."""
    with pytest.raises(MalformedRecipeError, match=problem):
        read(node)


def test_references_do_not_make_a_few_lines_into_billions_of_values() -> None:
    """Sixty tuples, each of the next one twice, are 2**60 empty tuples to whoever walks them."""
    nodes: list[Any] = [
        {"$": "tuple", "id": index, "items": [{"$": "same", "id": index + 1}] * 2} for index in range(60)
    ]
    nodes += [{"$": "tuple", "id": 60, "items": []}, {"$": "set", "items": [{"$": "same", "id": 0}]}]

    with pytest.raises(MalformedRecipeError, match="a tuple has no id"):
        read(nodes)


def test_a_chain_of_references_that_is_too_long_is_malformed() -> None:
    """The depth of a JSON document has a limit; references go around it."""
    wrapper = {"$": "known", "name": "tf_keras.layers.TimeDistributed"}
    nodes: list[Any] = [
        {"$": "keras", "id": index, "class": wrapper, "arguments": {"layer": {"$": "same", "id": index + 1}}}
        for index in range(5_000)
    ]

    with pytest.raises(MalformedRecipeError):
        read(nodes)
