from __future__ import annotations

import dataclasses
import functools
import operator
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from keras_probckpt.errors import MalformedRecipeError, UnrecordableError, UntrustedCheckpointError
from tests.recipe.journeys import described, read, round_trip, trust_of, written


def double(x: Any) -> Any:
    """Stand for a function that can be imported."""
    return 2 * x


class Scale:
    """Stand for a class that can be imported."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def apply(self, x: float) -> float:
        """Stand for a method."""
        return self.factor * x

    @staticmethod
    def halve(x: float) -> float:
        """Stand for a function inside of a class."""
        return x / 2


def rebound(x: Any) -> Any:
    """Stand for a function whose name is later given to another."""
    return x + 1


FIRST_OF_THE_NAME = rebound


def rebound(x: Any) -> Any:  # type: ignore[no-redef]
    """Stand for the other."""
    return x + 2


@pytest.mark.parametrize(
    ("value", "name"),
    [(double, "double"), (Scale, "Scale"), (Scale.halve, "Scale.halve"), (Scale.apply, "Scale.apply")],
)
def test_what_can_be_imported_is_written_by_its_name(value: Any, name: str) -> None:
    """No code travels with the checkpoint."""
    stored = written(value)

    assert stored.node == {"$": "import", "module": "tests.recipe.test_functions", "name": name}
    assert stored.code is None
    assert stored.read() is value


@pytest.mark.parametrize(
    ("value", "module", "name"),
    [
        (tf.broadcast_dynamic_shape, "tensorflow", "broadcast_dynamic_shape"),
        (tf.constant_initializer, "tensorflow", "constant_initializer"),
        (tf.map_fn, "tensorflow", "map_fn"),
        (tf.compat.v1.where, "tensorflow", "compat.v1.where"),
        (tf.raw_ops.Add, "tensorflow", "raw_ops.Add"),
        (tfk.backend.mean, "tf_keras", "backend.mean"),
        (tfp.math.fill_triangular, "tensorflow_probability", "math.fill_triangular"),
        (np.add, "numpy", "add"),
        (np.mean, "numpy", "mean"),
        (np.linalg.norm, "numpy.linalg", "norm"),
        (np.random.permutation, "numpy.random", "permutation"),
        (len, "builtins", "len"),
        (str.upper, "builtins", "str.upper"),
    ],
)
def test_what_a_library_defines_is_written_by_its_public_name(value: Any, module: str, name: str) -> None:
    """The module that defines it is private, and another in the next release."""
    stored = written(value)

    assert stored.node == {"$": "import", "module": module, "name": name}
    assert stored.read() is value


@pytest.mark.parametrize(
    ("value", "use", "expected"),
    [
        (functools.partial(np.add, 1), lambda function: function(2), 3),
        (operator.itemgetter(1), lambda function: function([5, 7]), 7),
        (tf.constant_initializer(0.5), lambda initializer: initializer([1], tf.float32).numpy(), [0.5]),
        (np.random.RandomState(1), lambda state: state.randint(1000), 37),
    ],
)
def test_an_object_of_a_library_that_its_state_makes_comes_back(
    value: Any, use: Callable[[Any], Any], expected: Any
) -> None:
    """No table knows its arguments, and none need to: what it holds is all that it is."""
    found = round_trip(value)

    assert use(found) == expected


def test_a_layer_keeps_an_initializer_of_tensorflows() -> None:
    """Not only those of Keras: a script imports what it finds."""
    layer = round_trip(tfk.layers.Dense(2, kernel_initializer=tf.constant_initializer(3.0)))

    assert layer(tf.ones([1, 1])).numpy().tolist() == [[3.0, 3.0]]


def test_a_lambda_travels_with_its_source() -> None:
    """People who decide on trust can read what it does."""
    offset = 3

    stored = written(lambda x: x + offset)

    assert stored.node["$"] == "pickle"
    assert stored.node["index"] == 0
    assert "lambda x: x + offset" in stored.node["source"]
    assert stored.code is not None
    assert stored.read()(1) == 4


def test_a_function_of_a_script_travels_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it has a name there: the process that restores runs another script."""

    def lower(x: Any) -> Any:
        return x - 1

    lower.__module__, lower.__qualname__ = "__main__", "lower"
    monkeypatch.setattr(sys.modules["__main__"], "lower", lower, raising=False)

    stored = written(lower)

    assert (stored.node["$"], stored.node["module"], stored.node["name"]) == ("pickle", "__main__", "lower")
    monkeypatch.undo()
    assert stored.read()(1) == 0


def test_a_function_whose_name_now_means_another_travels_by_value() -> None:
    """Its name would find the wrong one."""
    stored = written([FIRST_OF_THE_NAME, rebound])

    assert [node["$"] for node in stored.node] == ["pickle", "import"]
    assert [function(0) for function in stored.read()] == [1, 2]


@pytest.mark.parametrize(
    ("value", "expected"), [(functools.partial(double, x=4), 8), (functools.partial(Scale(3.0).apply, 2.0), 6.0)]
)
def test_a_partial_function_travels_by_value(value: Callable[[], Any], expected: float) -> None:
    """It has no name of its own."""
    assert round_trip(value)() == expected


def test_a_method_of_an_object_travels_with_it() -> None:
    """The object is part of what it does."""
    assert round_trip(Scale(3.0).apply)(2.0) == 6.0


class Maker(ProbModelMixin, tfk.layers.Layer):
    """A layer with methods that are used as functions."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def make(self, x: float) -> float:
        """Use the layer."""
        return self.factor * x

    @classmethod
    def halve(cls, x: float) -> float:
        """Use the class."""
        return x / 2


@dataclasses.dataclass(frozen=True)
class Factor:
    """Plain data with a method."""

    factor: float

    def apply(self, x: float) -> float:
        """Use the data."""
        return self.factor * x


def test_a_method_of_what_the_recipe_can_write_needs_no_pickle() -> None:
    """The object is the one that stands elsewhere in the recipe."""
    maker = Maker(3.0)

    stored = written([maker, maker.make, Maker.halve, Factor(4.0).apply])

    again, make, halve, apply = stored.read()
    assert stored.code is None
    assert [node["$"] for node in stored.node] == ["object", "method", "method", "method"]
    assert (make(2.0), halve(2.0), apply(2.0)) == (6.0, 1.0, 8.0)
    assert make.__self__ is again


METHOD = {"$": "method", "module": __name__, "name": "Maker.make"}
MAKER = {"$": "object", "class": {"$": "import", "module": __name__, "name": "Maker"}, "arguments": {"factor": 1.0}}


@pytest.mark.parametrize(
    "node",
    [
        METHOD,
        {**METHOD, "object": 3},
        {**METHOD, "object": MAKER, "name": "Maker.missing"},
        {**METHOD, "object": MAKER, "name": "Maker.factor"},
        {**METHOD, "object": MAKER, "name": "Maker.__class__"},
        {**METHOD, "object": MAKER, "name": "Other.make"},
        {**METHOD, "object": MAKER, "module": "os"},
        {**METHOD, "object": MAKER, "module": "tf_keras.src.engine.base_layer", "name": "Layer.build"},
        {**METHOD, "object": {"$": "import", "module": __name__, "name": "Maker"}},
        {**METHOD, "object": {"$": "known", "name": "tf_keras.layers.Dense"}, "name": "Dense.from_config"},
    ],
)
def test_only_what_a_users_class_defines_is_a_method(node: dict[str, Any]) -> None:
    """Of an attribute, of Keras's own methods, of another class's: nothing, even in one's own checkpoint."""
    with pytest.raises(MalformedRecipeError):
        read(node)


def test_a_method_of_a_registered_class_needs_trust() -> None:
    """Its arguments may come from the file; to register a class is to let it be made."""
    stored = written(Maker(3.0).make)

    with pytest.raises(UntrustedCheckpointError, match=r"import tests\.recipe\.test_functions\.Maker\.make"):
        stored.read(trust_of("unsigned"))
    assert stored.read(trust_of("unsigned", trusted=[__name__]))(2.0) == 6.0
    assert stored.read(trust_of("unsigned", custom_objects={"Maker.make": double})) is double


def test_a_function_in_two_places_is_kept_once() -> None:
    """And is one function again."""

    def local(x: Any) -> Any:
        return x

    stored = written([local, local])

    assert [node["index"] for node in stored.node] == [0, 0]
    first, second = stored.read()
    assert first is second


def test_a_function_that_holds_what_cannot_be_pickled_is_named() -> None:
    """With its place in the source, and the ways out."""
    lock = threading.Lock()

    def guarded(x: Any) -> Any:
        with lock:
            return x

    with pytest.raises(UnrecordableError) as caught:
        written(guarded)
    assert "guarded (" in caught.value.where
    assert "test_functions.py:" in caught.value.where
    assert "cannot pickle '_thread.lock' object" in caught.value.problem
    assert "builder=" in caught.value.advice


def compiled(loss: Callable[..., Any]) -> tfk.Model:
    """Compile a small model with a loss."""
    model = tfk.Sequential([tfk.layers.Dense(1, input_shape=(2,))])
    model.compile("sgd", loss=loss)
    return model


def test_a_loss_that_cannot_be_pickled_leaves_the_model_recordable() -> None:
    """It comes back uncompiled, and the recipe says why; nothing of the loss is kept."""
    lock = threading.Lock()

    recipe = described(compiled(lambda y, p: tf.reduce_mean((y - p) ** 2) if lock else 0.0))

    assert recipe.document["compile"]["arguments"] is None
    assert "_thread.lock" in recipe.document["compile"]["reason"]
    assert "<lambda> (" in recipe.document["compile"]["reason"]
    assert recipe.code is None


def test_a_loss_that_can_be_pickled_is_kept() -> None:
    """The usual negative log-likelihood."""
    recipe = described(compiled(lambda y, p: tf.reduce_mean((y - p) ** 2)))

    assert recipe.document["compile"]["arguments"]["loss"]["$"] == "pickle"
    assert recipe.code is not None


@pytest.mark.parametrize("value", [tf.nn.relu, tfk.losses.mse, tfp.distributions.Normal])
def test_what_the_libraries_define_is_neither_imported_nor_pickled(value: Any) -> None:
    """It is in the closed tables."""
    assert written(value).read(trust_of("unsigned")) is value


def test_what_was_restored_is_written_again_with_all_that_was_known_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its source, and the name under which the first process registered it: the script is gone, the model trains on."""
    named = {"package": "script", "name": "Layer"}
    local = tfk.saving.register_keras_serializable(**named)(type("Layer", (tfk.layers.Layer,), {}))
    monkeypatch.setattr(local, "__module__", "__main__")
    first = written({"class": local, "function": lambda x: x + 5})
    monkeypatch.delitem(tfk.saving.get_custom_objects(), "script>Layer")

    second = written(first.read())

    assert first.node["function"]["source"] == "lambda x: x + 5"
    assert first.node["class"]["registered"] == "script>Layer"
    assert second.node == first.node


def test_a_wrapper_with_the_defaults_of_what_it_wraps_is_pickled() -> None:
    """As TFP makes the constructor of a user's distribution: it takes `*args`, and has defaults for arguments."""

    def wrapper(*args: int) -> int:
        return sum(args)

    wrapper.__defaults__ = (1, 2)

    assert round_trip(wrapper)(3, 4) == 7
