from __future__ import annotations

import inspect
import types
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe import known
from tests.recipe.journeys import read, round_trip, trust_of, written

# Words in the names of arguments that say where something is read from or written to.
_PLACES = frozenset({"file", "filename", "path", "dir", "directory", "url", "uri", "vocab", "vocabulary"})


def parameters_of(value: Any) -> set[str]:
    """Name what a class or function takes, as far as Python knows."""
    try:
        return set(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return set()


def test_every_entry_has_a_name_that_leads_back_to_it() -> None:
    """An object with several names gets one of them, always the same, and comes back as itself."""
    lost = [
        name
        for name, value in known._objects().items()
        if known._objects()[known.known_name(value) or name] is not value
    ]

    assert lost == []


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (tfk.layers.Dense, "tf_keras.layers.Dense"),
        (tfk.layers.MaxPool2D, "tf_keras.layers.MaxPooling2D"),
        (tfk.activations.relu, "tf_keras.activations.relu"),
        (tfk.losses.mse, "tf_keras.losses.mean_squared_error"),
        (tfk.metrics.mean_squared_error, "tf_keras.losses.mean_squared_error"),
        (tf.nn.softplus, "tf.math.softplus"),
        (tf.image.resize, "tf.image.resize"),
        (tf.random.normal, "tf.random.normal"),
        (tf.random.uniform, "tf.random.uniform"),
        (tf.linspace, "tf.linspace"),
        (tf.__operators__.getitem, "tf.__operators__.getitem"),
        (tf.compat.v1.nn.conv1d, "tf.compat.v1.nn.conv1d"),
        (tfk.optimizers.legacy.SGD, "tf_keras.optimizers.legacy.SGD"),
        (tfp.distributions.Distribution.mean, "tfp.distributions.Distribution.mean"),
        (tfp.layers.IndependentNormal, "tfp.layers.IndependentNormal"),
    ],
)
def test_a_class_or_function_of_the_libraries_is_written_by_its_own_name(value: Any, name: str) -> None:
    """Of several aliases the one that is its `__name__`; no import is asked for."""
    stored = written(value)

    assert stored.node == {"$": "known", "name": name}
    assert stored.code is None
    assert stored.read(trust_of("own")) is value


def test_nothing_in_the_tables_takes_a_place_to_read_from() -> None:
    """A checkpoint that nobody vouches for must not make the reader open files or addresses."""
    readers = {
        name: parameter
        for name, value in known._objects().items()
        for parameter in parameters_of(value)
        if not _PLACES.isdisjoint(parameter.lower().split("_"))
    }

    assert readers == {}


@pytest.mark.parametrize(
    "word",
    [
        "deserialize",
        "serialize",
        "get",
        "from_config",
        "load",
        "save",
        "eval",
        "py_function",
        "TFSMLayer",
        "StringLookup",
        "IntegerLookup",
        "TextVectorization",
        "fixed_unigram_candidate_sampler",
        "set_global_policy",
    ],
)
def test_what_imports_loads_or_sets_for_all_is_not_in_the_tables(word: str) -> None:
    """Whatever namespace it stands in."""
    assert [name for name in known._objects() if name.rpartition(".")[2] == word] == []


def test_the_tables_hold_only_what_the_libraries_define() -> None:
    """No module of Python that a namespace happens to import is in them."""
    homes = ("tensorflow", "tf_keras", "keras", "abc")  # "abc": what TFP makes with a metaclass at run time.
    strangers = [name for name, value in known._objects().items() if not str(value.__module__).startswith(homes)]
    modules = [name for name, value in known._objects().items() if isinstance(value, types.ModuleType)]

    assert strangers == []
    assert modules == []


@pytest.mark.parametrize(
    "name",
    ["os.system", "tf_keras.layers", "tf_keras.layers.Dense.__init__", "builtins.eval", "tf.io.read_file", "", "Dense"],
)
def test_a_name_that_is_not_in_the_tables_is_malformed(name: str) -> None:
    """It is looked up and never imported, even where everything is trusted."""
    with pytest.raises(MalformedRecipeError, match="is in none of the tables"):
        read({"$": "known", "name": name})


@pytest.mark.parametrize("name", [None, 3, ["tf_keras.layers.Dense"], {"a": 1}, True])
def test_a_name_that_is_no_text_is_malformed(name: Any) -> None:
    """Nor is it an error of another kind."""
    with pytest.raises(MalformedRecipeError, match="'name' should be a str"):
        read({"$": "known", "name": name})


def test_a_users_function_of_the_same_name_is_not_the_known_one() -> None:
    """Objects are told by identity."""

    def relu(x: tf.Tensor) -> tf.Tensor:
        return x + 1

    again = round_trip(relu)

    assert again is not tfk.activations.relu
    assert again(1) == 2


@pytest.mark.parametrize("name", known._TENSOR_FUNCTIONS)
def test_each_function_of_tensorflow_that_is_listed_is_found_by_its_name(name: str) -> None:
    """In every supported release."""
    found = read({"$": "known", "name": f"tf.{name}"}, trust=trust_of("own"))

    assert callable(found)
    assert round_trip(found) is found
