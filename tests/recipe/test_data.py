from __future__ import annotations

import copy
import math
import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.format import strict_json
from keras_probckpt.format.tensors import decode_tensors, encode_tensors
from keras_probckpt.recipe.data import copy_data, decode_data, encode_data


def through_the_files(values: dict[str, Any]) -> dict[str, Any]:
    """Write values as a checkpoint does, and read them."""
    nodes, arrays = encode_data(values, where="training")
    data = strict_json.dumps(nodes)
    read = strict_json.loads(data, where="training.json", limit_bytes=len(data))
    return decode_data(read, decode_tensors(b"".join(encode_tensors(arrays)), where="arrays"), where="training")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        2**80,
        0.1,
        -math.inf,
        1 - 2j,
        "text \N{SNOWMAN}",
        b"\x00\xff",
        [],
        [1, [2.5, None]],
        (1, (2, "a")),
        {"a": {"b": [1]}},
        {1: "one", (2, 3): "two"},
        {"class_name": "Lambda", "config": {"module": "os"}},
        {1, 2},
        range(3),
        random.Random(1).getstate(),  # noqa: S311 - no secret
    ],
)
def test_values_of_python_come_back_as_they_were(value: Any) -> None:
    """Types included: a tuple is no list, and a number is a key where it was one."""
    read = through_the_files({"value": value})["value"]

    assert read == value
    assert type(read) is type(value)


def test_a_value_that_is_no_number_comes_back_as_that() -> None:
    """It is written as text."""
    assert math.isnan(through_the_files({"loss": [math.nan]})["loss"][0])


@pytest.mark.parametrize("dtype", ["bool", "uint32", "int64", "float16", "float32", "float64", "complex64"])
def test_arrays_come_back_bit_by_bit(dtype: str) -> None:
    """Of any shape, those without elements among them; numbers of numpy's too."""
    values = {
        "many": np.arange(6).reshape(2, 3).astype(dtype),
        "none": np.zeros((0, 3), dtype),
        "one": np.ones((), dtype),
    }

    read = through_the_files(values)

    for name, value in values.items():
        assert read[name].dtype == value.dtype
        assert np.array_equal(read[name], value)


def test_what_logs_and_callbacks_hold_of_numpy_and_tensorflow_is_data() -> None:
    """A history may hold numpy's numbers; a state of numpy's generator, words and text."""
    state = np.random.RandomState(1).get_state()
    values = {"history": {"loss": [np.float32(0.5)]}, "state": state, "tensor": tf.constant([1.0, 2.0])}

    read = through_the_files(values)

    assert read["history"] == {"loss": [np.float32(0.5)]}
    assert type(read["history"]["loss"][0]) is np.float32
    assert np.array_equal(read["tensor"], [1.0, 2.0])
    other = np.random.RandomState(2)
    other.set_state(read["state"])
    assert other.rand() == np.random.RandomState(1).rand()


def test_an_empty_state_is_one() -> None:
    """Nothing is made of nothing."""
    assert through_the_files({}) == {}


@pytest.mark.parametrize("value", [lambda: None, test_an_empty_state_is_one, int, object(), open, math])
def test_what_is_not_data_is_refused_with_its_place(value: Any) -> None:
    """A function, a class or an object would need code to be read."""
    with pytest.raises(UnrecordableError, match=r"training\['callbacks'\]"):
        encode_data({"callbacks": {"Own": [value]}}, where="training")


@pytest.mark.parametrize(
    "node",
    [
        {"$": "global", "module": "os", "name": "system"},
        {"$": "external", "id": 0},
        {"$": "function", "name": "system"},
        {"$": "partial", "function": {"$": "global", "module": "os", "name": "system"}},
        {"$": "nothing that is known"},
    ],
)
def test_a_file_that_names_code_is_refused(node: Any) -> None:
    """Whoever wrote it: this is a place for data only, and nothing is looked up."""
    with pytest.raises(MalformedRecipeError):
        decode_data({"state": node}, {}, where="training")


@pytest.mark.parametrize(
    "value",
    [{"wait": [1, 2.5, None, True], "name": "a", "nan": float("inf")}, {"pair": (1, [2])}, {3: "not a word of JSON"}],
    ids=["words", "tuple", "keys"],
)
def test_a_copy_is_what_the_value_was(value: Any) -> None:
    """In every container of it, whatever its owner does to his own afterwards."""
    copied, expected = copy_data(value, where="the state"), copy.deepcopy(value)

    for container in [value, *value.values()]:
        if isinstance(container, (dict, list)):
            container.clear()

    assert copied == expected


def test_a_copy_has_arrays_of_its_own() -> None:
    """Which a callback may go on adding to in place."""
    array = np.arange(3.0)

    copied = copy_data({"sum": array}, where="the state")
    array += 1.0

    assert copied["sum"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("value", [{"lock": object()}, [object()], {object(): 1}], ids=["dict", "list", "key"])
def test_what_cannot_be_written_is_not_copied_either(value: Any) -> None:
    """It is refused where it is given, with its place."""
    with pytest.raises(UnrecordableError, match="the state of the callback Own"):
        copy_data(value, where="the state of the callback Own")


def test_what_contains_itself_is_not_copied_forever() -> None:
    """It has no end that could be written."""
    value: list[Any] = []
    value.append(value)

    with pytest.raises(UnrecordableError, match="contains itself"):
        copy_data(value, where="the state")
