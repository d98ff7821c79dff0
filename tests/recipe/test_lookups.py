from __future__ import annotations

import functools
import pathlib
from typing import Any

import numpy as np
import pytest
import tf_keras as tfk

from keras_probckpt import CheckpointManager, restore_latest
from keras_probckpt.errors import MalformedRecipeError
from tests.recipe.journeys import read

# Keras's own, where it makes a lookup table of an array.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

layers = tfk.layers

WORDS = np.array([["a"], ["b"], ["b"], ["c"]])
TEXTS = np.array([["a b"], ["b, C"], ["a"]])
NUMBERS = np.array([[1], [5], [5], [7]])
REALS = np.array([[1.0], [2.0], [7.0], [9.0]], "float32")


@pytest.mark.parametrize(
    ("make", "data", "learns"),
    [
        (functools.partial(layers.StringLookup), WORDS, True),
        (functools.partial(layers.StringLookup, num_oov_indices=2), WORDS, True),
        (functools.partial(layers.StringLookup, output_mode="multi_hot", max_tokens=3), WORDS, True),
        (functools.partial(layers.StringLookup, output_mode="tf_idf"), WORDS, True),
        (
            functools.partial(layers.StringLookup, output_mode="tf_idf", max_tokens=9, pad_to_max_tokens=True),
            WORDS,
            True,
        ),
        (functools.partial(layers.StringLookup, vocabulary=["a", "b"], invert=True), np.array([[1], [0]]), False),
        (functools.partial(layers.IntegerLookup), NUMBERS, True),
        (functools.partial(layers.IntegerLookup, output_mode="count", mask_token=5), NUMBERS, True),
        (functools.partial(layers.TextVectorization), TEXTS, True),
        (functools.partial(layers.TextVectorization, output_mode="tf_idf", ngrams=2), TEXTS, True),
        (
            functools.partial(layers.TextVectorization, vocabulary=["a", "b"], standardize=None, split="character"),
            TEXTS,
            False,
        ),
        (functools.partial(layers.Normalization), REALS, True),
        (functools.partial(layers.Discretization, num_bins=3), REALS, True),
        (functools.partial(layers.CategoryEncoding, num_tokens=8), NUMBERS, False),
        (functools.partial(layers.Hashing, 5), WORDS, False),
    ],
)
def test_a_layer_comes_back_with_what_it_learned(make: Any, data: Any, *, learns: bool, tmp_path: pathlib.Path) -> None:
    """Words, numbers, weights of words, boundaries: the same outputs, to the bit, and without any code."""
    layer = make()
    if learns:
        layer.adapt(data)
    inputs = tfk.Input(data.shape[1:], dtype="string" if data.dtype.kind == "U" else data.dtype)
    model = tfk.Model(inputs, layer(inputs))
    expected = np.asarray(model(data))
    with CheckpointManager(model, tmp_path) as manager:
        manager.save(1)

    again = restore_latest(tmp_path)

    assert np.array_equal(np.asarray(again(data)), expected)
    assert np.unique(expected).size > 1
    assert manager.latest is not None
    assert "code.pickle" not in manager.latest.files
    assert "import" not in (manager.latest.path / "recipe.json").read_text()


@pytest.mark.parametrize("name", ["StringLookup", "IntegerLookup", "TextVectorization"])
@pytest.mark.parametrize("vocabulary", ["/etc/hostname", b"/etc/hostname", ("a",), {"a": 1}, [["a"]], [None]])
def test_a_vocabulary_that_is_no_list_of_words_is_not_looked_for(name: str, vocabulary: Any) -> None:
    """Keras would read the file of that path."""
    items = {"$": "tuple", "items": list(vocabulary)} if isinstance(vocabulary, tuple) else vocabulary
    items = {"$": "bytes", "base64": "YQ=="} if isinstance(vocabulary, bytes) else items

    with pytest.raises(MalformedRecipeError, match="a list is needed here"):
        read({"$": "lookup", "class": name, "arguments": {"vocabulary": items}, "learned": {}})
    with pytest.raises(MalformedRecipeError, match="a list is needed here"):
        read({"$": "lookup", "class": name, "arguments": {}, "learned": {"vocabulary": items}})


@pytest.mark.parametrize("name", ["Dense", "tf_keras.layers.StringLookup", ""])
def test_no_other_layer_has_a_vocabulary(name: str) -> None:
    """The classes are three."""
    with pytest.raises(MalformedRecipeError, match="no layer with a vocabulary"):
        read({"$": "lookup", "class": name, "arguments": {}, "learned": {}})
