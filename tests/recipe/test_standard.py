from __future__ import annotations

import argparse
import collections
import datetime as dt
import decimal
import fractions
import pathlib
import random
import types
import uuid
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.data import decode_data, encode_data
from tests.parameter_ids import without_address
from tests.recipe.journeys import read, round_trip

DATA: list[Any] = [
    types.SimpleNamespace(units=3, act="tanh", inner=types.SimpleNamespace(k=[1.0])),
    argparse.Namespace(units=3, rate=None),
    collections.deque([1, 2, 3], maxlen=4),
    collections.defaultdict(list, {"a": [1]}),
    collections.defaultdict(None, {1: "one"}),
    collections.Counter("abca"),
    collections.UserDict({"k": 3.0}),
    dt.datetime(2026, 11, 28, 3, 4, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    dt.date(2026, 11, 28),
    dt.time(3, 4, 5),
    dt.timedelta(days=-1, microseconds=7),
    decimal.Decimal("0.10"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=7),
    pathlib.Path("data") / "train.csv",
    pathlib.PureWindowsPath("c:/data"),
]


@pytest.mark.parametrize("value", DATA, ids=lambda value: type(value).__name__)
def test_data_of_the_standard_library_comes_back_equal_and_runs_no_code(value: Any) -> None:
    """It is written where data alone may stand: no class of it is imported."""
    nodes, arrays = encode_data({"value": value}, where="data")

    again = decode_data(nodes, arrays, where="data")["value"]

    assert type(again) is type(value)
    assert again == value
    assert repr(again) == repr(value)


def test_a_namespace_in_two_places_is_one_again() -> None:
    """What one part of a model changes in its settings, another sees."""
    settings = argparse.Namespace(k=1)

    first, second = round_trip([settings, {"settings": settings}])

    assert second["settings"] is first


@pytest.mark.parametrize(
    "value",
    [
        np.array([["a", "longer"], ["", "\N{SNOWMAN}"]]),
        np.array([b"a", b"bc"]),
        np.array([], dtype="<U5"),
        np.str_("text"),
        tf.constant([["a"], ["bc"]]),
        tf.constant("alone"),
    ],
    ids=without_address,
)
def test_an_array_of_text_comes_back(value: Any) -> None:
    """With its dtype and shape."""
    again = round_trip(value)

    assert type(again) is type(value)
    assert again.dtype == value.dtype
    assert again.shape == value.shape
    assert np.asarray(again).tolist() == np.asarray(value).tolist()


def test_sparse_and_ragged_tensors_come_back() -> None:
    """Of two ragged dimensions too."""
    sparse = tf.sparse.from_dense([[0.0, 3.0], [4.0, 0.0]])
    ragged = tf.ragged.constant([[[1], [2, 3]], [], [[4, 5, 6]]])

    again, other = round_trip([sparse, ragged])

    assert tf.sparse.to_dense(again).numpy().tolist() == [[0.0, 3.0], [4.0, 0.0]]
    assert other.to_list() == [[[1], [2, 3]], [], [[4, 5, 6]]]


def test_generators_of_random_numbers_go_on_where_they_were() -> None:
    """Numpy's and Python's are pickled as a user's objects are."""
    numpys, pythons = np.random.default_rng(3), random.Random(3)  # noqa: S311 - no secret
    numpys.uniform()
    pythons.random()

    again, other = round_trip([numpys, pythons])

    assert again.uniform() == numpys.uniform()
    assert other.random() == pythons.random()


def test_an_array_of_no_stored_dtype_is_pickled() -> None:
    """Such as one of dates, which numpy reads back itself."""
    dates = np.array(["2026-11-28"], "datetime64[D]")

    assert round_trip(dates).tolist() == [dt.date(2026, 11, 28)]


class AttrDict(dict):  # type: ignore[type-arg]
    """A mapping that raises KeyError for an attribute that it has not."""

    __getattr__ = dict.__getitem__


def test_a_mapping_that_raises_key_error_for_attributes_comes_back() -> None:
    """None of its attributes is asked for as if it could only raise AttributeError."""
    again = round_trip({"config": AttrDict(k=3.0)})["config"]

    assert type(again) is AttrDict
    assert again.k == 3.0


INDICES = {"$": "tf.Tensor", "tensor": "indices"}


@pytest.mark.parametrize(
    "node",
    [
        {"$": "standard", "class": "os.system", "value": "true"},
        {"$": "standard", "class": "datetime.date", "value": "yesterday"},
        {"$": "standard", "class": "datetime.timedelta", "value": [10**12, 0, 0]},
        {"$": "standard", "class": "datetime.timedelta", "value": "1"},
        {"$": "standard", "class": "fractions.Fraction", "value": [1, 0]},
        {"$": "standard", "class": "decimal.Decimal", "value": None},
        {"$": "namespace", "class": "types.ModuleType", "items": []},
        {"$": "namespace", "class": "types.SimpleNamespace", "items": [[1, 2]]},
        {"$": "default_dict", "factory": "bytes", "items": []},
        {"$": "default_dict", "factory": 3, "items": []},
        {"$": "default_dict", "factory": "list", "items": [["class_name", "Dense"]]},
        {"$": "deque", "items": [], "limit": -1},
        {"$": "counter", "items": [["class_name", 1]]},
        {"$": "text", "of": "np.ndarray", "dtype": "<U999999999", "shape": [1], "items": ["a"]},
        {"$": "text", "of": "np.ndarray", "dtype": "<U3", "shape": [2**60], "items": ["a"]},
        {"$": "text", "of": "np.ndarray", "dtype": "<f4", "shape": [1], "items": ["1"]},
        {"$": "text", "of": "tf.Tensor", "dtype": "string", "shape": [1], "items": [1]},
        {"$": "tf.SparseTensor", "indices": INDICES, "values": INDICES, "dense_shape": INDICES},
        {"$": "tf.SparseTensor", "indices": 1},
        {"$": "tf.RaggedTensor", "values": INDICES, "row_splits": INDICES},
        {"$": "tf.RaggedTensor", "values": [1], "row_splits": None},
    ],
    ids=str,
)
def test_a_node_that_no_writer_writes_is_refused(node: Any) -> None:
    """By our own error, before memory is taken for it."""
    with pytest.raises(MalformedRecipeError):
        read(node, arrays={"indices": np.array([[0, 5]])})
