from __future__ import annotations

import dataclasses
import enum
import functools
import math
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.recipe.kinds import new_encoder
from tests.recipe.journeys import round_trip

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float16", "float32", "float64", "complex64", "complex128"]
ML_DTYPES = [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]

# A pair of surrogates in a row has no JSON of its own, and a lone one no UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["$", "class_name", "id", ""])
hashables = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | texts | st.binary(max_size=8),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
plain_values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.sets(hashables, max_size=3)
        | st.dictionaries(texts, inner, max_size=3)
        | st.dictionaries(hashables, inner, max_size=3)
    ),
    max_leaves=12,
)


def described(value: Any) -> Any:
    """Describe a value so that equal means alike: types, order, the sign of zero, and NaN equal to NaN."""
    if isinstance(value, (list, tuple)):
        return type(value), [described(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(repr(described(item)) for item in value)
    if isinstance(value, dict):
        return dict, [(described(key), described(item)) for key, item in value.items()]
    return type(value), repr(value)


def test_the_comparison_of_these_tests_tells_what_equality_does_not() -> None:
    """It can fail, and where it should not, it does not."""
    assert described([1]) != described([True])
    assert described(0.0) != described(-0.0)
    assert described([1]) != described((1,))
    assert described({"a": 1, "b": 2}) != described({"b": 2, "a": 1})
    assert described([math.nan]) == described([math.nan])


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(plain_values)
def test_a_plain_value_comes_back_alike(value: Any) -> None:
    """However nested, with keys of any kind, and with the words that mean something to us or to Keras."""
    hypothesis.assume(not has_instruction_key(value))

    again = round_trip(value)

    assert described(again) == described(value)


def has_instruction_key(value: Any) -> bool:
    """Whether a dict in it has the key that Keras takes as an instruction: such a one is refused."""
    if isinstance(value, dict):
        return "class_name" in value or any(has_instruction_key(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(has_instruction_key(item) for item in value)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        5e-324,
        2**300,
        complex(-0.0, math.nan),
        complex(math.inf, -math.inf),
        b"\x00\xff",
        "\ud800",
        "\U0001f600",
        {"$": "known", "name": "tf_keras.layers.Dense"},
        {"$": "import", "module": "os", "name": "system"},
        {1: "a", "1": "b", (1, 2): "c", None: "d"},
        {"id": 3},
        [[], (), set(), frozenset(), {}],
        {"a": {"b": {"$": {}}}},
    ],
)
def test_a_value_that_looks_like_something_else_comes_back_alike(value: Any) -> None:
    """A dict that looks like a node is a dict."""
    assert described(round_trip(value)) == described(value)


@pytest.mark.parametrize("value", [{"class_name": "os.system"}, [{"class_name": 1, 2: 3}], {"class_name": "A", "$": 0}])
def test_a_dict_that_keras_would_take_as_an_instruction_is_not_given_to_it(value: Any) -> None:
    """Neither as it is nor in the disguise of pairs."""
    with pytest.raises((UnrecordableError, MalformedRecipeError)):
        round_trip(value)


@pytest.mark.parametrize(
    "dtype", [*(np.dtype(name) for name in DTYPES), *(np.dtype(kind) for kind in ML_DTYPES)], ids=str
)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (2, 3)], ids=str)
def test_an_array_comes_back_bit_for_bit(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Of every dtype and shape, empty ones and scalars too."""
    array = np.arange(math.prod(shape) or 1)[: math.prod(shape)].reshape(shape).astype(dtype)

    again = round_trip(array)

    assert type(again) is np.ndarray
    assert (again.dtype, again.shape, again.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_an_array_of_any_layout_comes_back_equal_and_writable() -> None:
    """Transposed, strided, big-endian, read-only: the values count."""
    frozen = np.arange(6.0)
    frozen.flags.writeable = False
    arrays = [np.arange(6).reshape(2, 3).T, np.arange(10)[::-2], np.arange(3, dtype=">i4"), frozen]

    again = round_trip(arrays)

    assert [array.tolist() for array in again] == [array.tolist() for array in arrays]
    assert all(array.flags.writeable for array in again)


@pytest.mark.parametrize("scalar", [np.float32(0.1), np.int8(-3), np.bool_(1), np.complex64(1 + 2j), np.float64("nan")])
def test_a_numpy_scalar_comes_back_as_one(scalar: np.generic) -> None:
    """Not as a Python number, and not as an array."""
    again = round_trip(scalar)

    assert type(again) is type(scalar)
    assert again.tobytes() == scalar.tobytes()


@pytest.mark.parametrize(
    "value",
    [
        tf.float32,
        tf.bfloat16,
        tf.string,
        tf.TensorShape([2, None]),
        tf.TensorShape([]),
        tf.TensorSpec([None, 3], tf.int32, name="x"),
        tf.TensorSpec(None, tf.float32),
        np.dtype("float32"),
        np.dtype("complex128"),
        np.float16,
        np.int64,
    ],
    ids=repr,
)
def test_a_dtype_shape_or_spec_comes_back_as_it_was(value: Any) -> None:
    """Of the same type: numpy's class of a dtype is not the dtype."""
    again = round_trip(value)

    assert type(again) is type(value)
    assert again == value


class Place(NamedTuple):
    """A user's named tuple."""

    row: int
    column: Any


class Colour(enum.Enum):
    """A user's enumeration."""

    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Settings:
    """A user's dataclass, with a field that is computed."""

    rate: float
    parts: list[Any]
    twice: float = dataclasses.field(init=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "twice", 2 * self.rate)


@pytest.mark.parametrize(
    "value",
    [
        Place(1, [np.int8(2)]),
        Colour.BLUE,
        Settings(0.5, [Colour.RED, Place(1, None)]),
        slice(1, None, -2),
        range(3, 9, 2),
        ...,
        {"items": [(Colour.RED,), {Colour.BLUE: slice(3)}]},
    ],
    ids=str,
)
def test_a_value_of_a_users_own_type_comes_back_equal(value: Any) -> None:
    """Named tuples, enumerations, dataclasses, and what indexing is made of."""
    again = round_trip(value)

    assert type(again) is type(value)
    assert again == value


def test_a_partial_function_keeps_its_function_and_arguments() -> None:
    """As layers made by `functools.partial` have it."""
    made = functools.partial(tfk.layers.Dense, 3, activation=tf.nn.relu)

    again = round_trip([made, made])

    assert again[0] is again[1]
    assert (again[0].func, again[0].args, again[0].keywords) == (tfk.layers.Dense, (3,), {"activation": tf.nn.relu})


def test_an_unknown_shape_comes_back_unknown() -> None:
    """Two unknown shapes are never equal, so their ranks are compared."""
    assert round_trip(tf.TensorShape(None)).rank is None


@pytest.mark.parametrize(
    "dtype", [tf.float32, tf.bfloat16, tf.bool, tf.complex128, tf.uint16], ids=lambda dtype: dtype.name
)
def test_a_tensor_comes_back_as_one(dtype: tf.DType) -> None:
    """A constant that a model was made with."""
    tensor = tf.cast(tf.constant([[0, 1], [1, 0]]), dtype)

    again = round_trip(tensor)

    assert isinstance(again, tf.Tensor)
    assert again.dtype == dtype
    assert again.numpy().tobytes() == tensor.numpy().tobytes()


def test_an_array_in_two_places_is_one_again() -> None:
    """So that what is done to it in one place is seen in the other."""
    array = np.zeros(3)

    first, second, other = round_trip([array, array, np.zeros(3)])

    assert first is second
    assert other is not first


def test_an_array_that_is_changed_after_it_was_recorded_is_recorded_as_it_was() -> None:
    """The recipe is written later."""
    array = np.zeros(3)
    encoder = new_encoder()

    encoder.encode(array, "array")
    array[:] = 7.0

    assert [stored.tolist() for stored in encoder.arrays.values()] == [[0.0, 0.0, 0.0]]


def test_the_wrappers_of_tensorflow_are_taken_off() -> None:
    """What is assigned to an attribute of a layer becomes a wrapper of it; a recipe has the thing itself."""
    layer = tfk.layers.Layer()
    layer.values = {"list": [1, 2], "dict": {"a": 1}, "tuple": (1, [2])}

    again = round_trip(layer.values)

    assert type(layer.values) is not dict
    assert described(again) == described({"list": [1, 2], "dict": {"a": 1}, "tuple": (1, [2])})
