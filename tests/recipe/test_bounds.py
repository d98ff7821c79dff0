from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.bounds import check_loops, check_size
from keras_probckpt.recipe.document import RecipeReader
from keras_probckpt.training.allowance import variables_within
from tests.golden.strangers import _calling_each_other, _layer, _sequential
from tests.recipe.journeys import read, trust_of


@pytest.mark.parametrize("levels", [12, 20, 60])
def test_models_that_call_each_other_are_refused_by_what_they_come_to(levels: int) -> None:
    """Before one is made: twice at each level is 2**levels calls, of a file of some kilobytes."""
    document = {"model": _calling_each_other(levels), "calls": []}

    with pytest.raises(MalformedRecipeError, match="written out it has") as caught:
        RecipeReader(document, arrays={}, trust=trust_of("unsigned"))
    assert "many for a file of its size" in str(caught.value)


def test_ones_own_recipe_is_not_counted() -> None:
    """Whoever signed it may share as he likes."""
    assert RecipeReader({"model": _calling_each_other(20)}, arrays={}, trust=trust_of("own")).trusts_all


@pytest.mark.parametrize(
    "node",
    [
        {"$": "sequential", "id": 0, "name": "m", "layers": [{"$": "same", "id": 0}]},
        [
            {"$": "partial", "id": 0, "arguments": {"a": {"$": "same", "id": 1}}},
            {"$": "partial", "id": 1, "arguments": {"a": {"$": "same", "id": 0}}},
        ],
    ],
    ids=["itself", "one another"],
)
def test_a_recipe_of_a_stranger_that_leads_back_to_itself_is_refused(node: Any) -> None:
    """To make such a one takes a function, which data cannot give."""
    with pytest.raises(MalformedRecipeError, match="an object in it contains itself"):
        check_size({"model": node})


def test_a_layer_that_is_used_often_is_none_too_many() -> None:
    """As in a network that looks at several inputs with the same layers."""
    layer = {**_layer("Dense", units=3), "id": 0}

    check_size({"model": [layer, *[{"$": "same", "id": 0}] * 300]})


@pytest.mark.parametrize(
    ("layer", "shape", "turns"),
    [
        (tfk.layers.UpSampling1D(2**30), (8, 3), "25,769,803,776 turns"),
        (tfk.layers.UpSampling3D(2**20), (2, 2, 2, 1), "turns"),
        (tfk.layers.SimpleRNN(1, unroll=True), (10**6, 1), "1,000,000 turns"),
        (tfk.layers.TimeDistributed(tfk.layers.UpSampling1D(2**30)), (2, 8, 3), "turns"),
        (tfk.layers.LocallyConnected1D(1, 1), (10**6, 1), "1,000,000 turns"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_layer_that_loops_in_python_is_not_called_on_a_long_input(layer: Any, shape: Any, turns: str) -> None:
    """It is told from the sizes, before the first turn."""
    given = tfk.Input(shape)

    with pytest.raises(MalformedRecipeError, match=turns):
        check_loops(layer, [given], "here")


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (tfk.layers.UpSampling1D(2), (8, 3)),
        (tfk.layers.SimpleRNN(1, unroll=True), (20, 3)),
        (tfk.layers.SimpleRNN(1), (10**6, 1)),
        (tfk.layers.Dense(1), (10**6,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_other_call_is_made(layer: Any, shape: Any) -> None:
    """Of what TensorFlow itself repeats, a long input is no more than it looks."""
    check_loops(layer, [tfk.Input(shape)], "here")


@pytest.mark.parametrize("signature", ["own", "unsigned"])
def test_an_array_belongs_to_one_node(signature: Any) -> None:
    """Of a stranger's: a thousand nodes of forty bytes would be a thousand copies of it."""
    node = {"$": "np.ndarray", "tensor": "constant-0"}
    arrays = {"constant-0": np.zeros(3, np.float32)}

    if signature == "own":
        assert len(read([node, dict(node)], arrays=arrays, trust=trust_of("own"))) == 2
        return
    with pytest.raises(MalformedRecipeError, match="the tensor 'constant-0' belongs to another node"):
        read([node, dict(node)], arrays=arrays, trust=trust_of("unsigned"))


def test_a_long_range_is_none_of_a_strangers_values() -> None:
    """What goes through it makes a list of it."""
    node = {"$": "range", "bounds": [0, 10**30, 1]}

    with pytest.raises(MalformedRecipeError, match="is longer than 1048576 numbers"):
        read(node, trust=trust_of("unsigned"))
    assert read(node, trust=trust_of("own")) == range(10**30)


def test_a_number_beyond_counting_is_refused_where_it_stands() -> None:
    """Keras and TensorFlow would try."""
    node = _sequential(_layer("Dense", units=2**62))

    with pytest.raises(MalformedRecipeError, match="4,611,686,018,427,387,904 is more than anything is made of"):
        read(node, trust=trust_of("unsigned"))


def test_a_variable_is_counted_before_it_has_a_value() -> None:
    """Nothing of its size is ever there."""
    shape = [2**20, 2**20]
    node = {"$": "variable", "index": 0, "shape": shape, "dtype": "float32", "trainable": True, "name": "v"}

    with variables_within(1000), pytest.raises(MalformedRecipeError, match="where those that were saved allow for"):
        read(node, trust=trust_of("unsigned"))
    small = read({**node, "shape": [2]}, trust=trust_of("unsigned"))
    assert isinstance(small, tf.Variable)
