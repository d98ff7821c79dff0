from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import VariableMismatchError
from keras_probckpt.training.assignment import build_optimizers, finish_preprocessing, put_back
from keras_probckpt.training.snapshot import snapshot_of
from keras_probckpt.training.variables import find_variables


def variables() -> dict[str, tf.Variable]:
    """Make three variables that hold zeros."""
    return {"a": tf.Variable([0.0, 0.0]), "b": tf.Variable(0), "c": tf.Variable([[0.0]])}


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    """Make values for them."""
    return {"c": np.array([[3.0]], np.float32), "a": np.array([1.0, 2.0], np.float32), "b": np.array(7, np.int32)}


def values_of(found: dict[str, tf.Variable]) -> dict[str, Any]:
    """Give what variables hold."""
    return {path: variable.numpy().tolist() for path, variable in found.items()}


ZEROS = {"a": [0.0, 0.0], "b": 0, "c": [[0.0]]}


def test_values_go_to_the_variables_of_their_paths() -> None:
    """In whatever order they come."""
    found = variables()

    put_back(found, arrays(), path="run/step-1")

    assert values_of(found) == {"a": [1.0, 2.0], "b": 7, "c": [[3.0]]}


@pytest.mark.parametrize(
    "dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, np.complex128, np.bool_]
)
@pytest.mark.parametrize("shape", [(), (0, 2), (3,)], ids=str)
def test_a_snapshot_put_back_is_the_same_bits(dtype: Any, shape: tuple[int, ...]) -> None:
    """Of rare dtypes too."""
    first = tf.Variable(np.ones(shape).astype(dtype))
    second = tf.Variable(np.zeros(shape).astype(dtype))

    put_back({"v": second}, snapshot_of({"v": first}), path="run/step-1")

    assert second.numpy().tobytes() == first.numpy().tobytes()


MISMATCHES: list[tuple[dict[str, Any], str, str]] = [
    ({"d": np.zeros((2, 1))}, "missing", "d (2, 1) float64"),
    ({"a": None}, "unexpected", "a (2,) float32"),
    ({"a": np.zeros(3, np.float32)}, "different", "a: saved (3,) float32, built (2,) float32"),
    ({"a": np.zeros(2, np.float64)}, "different", "a: saved (2,) float64, built (2,) float32"),
    ({"b": np.zeros(1, np.int32)}, "different", "b: saved (1,) int32, built () int32"),
]


@pytest.mark.parametrize(("change", "group", "line"), MISMATCHES, ids=str)
def test_a_mismatch_is_listed_and_nothing_is_assigned(change: dict[str, Any], group: str, line: str) -> None:
    """Not even what would fit."""
    found = variables()
    saved = {path: array for path, array in {**arrays(), **change}.items() if array is not None}

    with pytest.raises(VariableMismatchError) as caught:
        put_back(found, saved, path="run/step-1")

    groups = {"missing": (), "unexpected": (), "different": (), group: (line,)}
    assert {name: tuple(getattr(caught.value, name)) for name in groups} == groups
    assert "run/step-1" in str(caught.value)
    assert values_of(found) == ZEROS


def test_all_that_does_not_fit_is_listed_at_once() -> None:
    """One restore shows the whole difference."""
    saved = {"d": np.zeros(1), "a": np.zeros(3, np.float32), "b": np.array(7, np.int32)}

    with pytest.raises(VariableMismatchError) as caught:
        put_back(variables(), saved, path="run/step-1")

    assert [len(group) for group in (caught.value.missing, caught.value.unexpected, caught.value.different)] == [
        1,
        1,
        1,
    ]


def test_with_skip_mismatch_what_fits_is_assigned_and_the_rest_named() -> None:
    """In a warning."""
    found = variables()
    saved = {**arrays(), "a": np.zeros(3, np.float32), "d": np.zeros(1)}

    with pytest.warns(UserWarning, match="what fits was loaded") as caught:
        put_back(found, saved, path="run/step-1", skip_mismatch=True)

    assert values_of(found) == {"a": [0.0, 0.0], "b": 7, "c": [[3.0]]}
    assert "d (1,) float64" in str(caught[0].message)


def test_a_variable_of_any_shape_takes_any() -> None:
    """As one that was made with an unknown shape does."""
    found = {"v": tf.Variable([0.0], shape=tf.TensorShape(None)), "w": tf.Variable([[0.0]], shape=[None, 1])}

    put_back(found, {"v": np.ones((2, 2), np.float32), "w": np.ones((3, 1), np.float32)}, path="run/step-1")

    assert values_of(found) == {"v": [[1.0, 1.0], [1.0, 1.0]], "w": [[1.0], [1.0], [1.0]]}


def test_a_variable_of_any_shape_that_does_not_fit_is_listed() -> None:
    """Its shape is written as unknown."""
    with pytest.raises(VariableMismatchError) as caught:
        put_back({"v": tf.Variable(0.0, shape=tf.TensorShape(None))}, {"v": np.zeros(2)}, path="run/step-1")

    assert "v: saved (2,) float64, built <unknown> float32" in str(caught.value)


def test_a_variable_of_mixed_precision_takes_what_it_keeps() -> None:
    """It shows the dtype it is cast to, and keeps another."""
    layer = tfk.layers.Dense(1, dtype="mixed_float16")
    layer.build((None, 2))

    put_back({"kernel": layer.kernel}, {"kernel": np.full((2, 1), 0.1, np.float32)}, path="run/step-1")

    assert layer.get_weights()[0].tolist() == [[np.float32(0.1)], [np.float32(0.1)]]


LARGE = (128, 128)
DTYPES = ["bool", "int8", "uint16", "int64", "float16", "float32", "complex64", "complex128"]
RARE_DTYPES = [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]


def aligned(dtype: Any = np.float32, *, offset_bytes: int = 0) -> np.ndarray[Any, Any]:
    """Make a large array of ones as a reader gives it, or one that begins somewhat later in memory."""
    size_bytes = int(np.prod(LARGE)) * np.dtype(dtype).itemsize
    memory = np.zeros(size_bytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset_bytes
    array = memory[start : start + size_bytes].view(dtype).reshape(LARGE)
    array[...] = np.ones((), dtype)
    return array


def address_of(variable: tf.Variable) -> int:
    """Say where the memory of a variable begins."""
    value = variable.read_value()
    exported = tf.bitcast(value, tf.uint16) if value.dtype == tf.bfloat16 else value
    return int(np.asarray(memoryview(exported)).ctypes.data)


@pytest.mark.parametrize("dtype", [*DTYPES, *RARE_DTYPES], ids=str)
def test_a_large_value_of_any_dtype_is_the_same_bits(dtype: Any) -> None:
    """Whichever way it takes into the variable."""
    array = aligned(dtype)
    expected = array.tobytes()
    variable = tf.Variable(np.zeros(LARGE).astype(dtype))

    put_back({"v": variable}, {"v": array}, path="run/step-1")

    assert variable.dtype == tf.as_dtype(dtype)
    assert variable.numpy().tobytes() == expected


@pytest.mark.parametrize("dtype", ["bool", "float32", "complex128", ml_dtypes.bfloat16], ids=str)
def test_a_large_value_is_not_copied(dtype: Any) -> None:
    """A restore of gigabytes takes no second copy of them, nor the time to make it."""
    array = aligned(dtype)
    variable = tf.Variable(np.zeros(LARGE).astype(dtype))

    put_back({"v": variable}, {"v": array}, path="run/step-1")

    assert address_of(variable) == array.ctypes.data


def read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Forbid to write to an array."""
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "array",
    [aligned(offset_bytes=4), read_only(aligned()), aligned().T.copy().T, np.broadcast_to(np.float32(1), LARGE)],
    ids=["misaligned", "read-only", "transposed", "broadcast"],
)
def test_memory_that_tensorflow_must_not_use_is_copied(array: np.ndarray[Any, Any]) -> None:
    """TensorFlow takes what is misaligned, and crashes on it later; what is read-only is somebody else's."""
    variable = tf.Variable(tf.zeros(LARGE))

    put_back({"v": variable}, {"v": array}, path="run/step-1")

    assert address_of(variable) % 64 == 0
    assert address_of(variable) != array.__array_interface__["data"][0]
    assert np.array_equal(variable.numpy(), np.ones(LARGE))


def filled(variable: tf.Variable) -> weakref.ref[np.ndarray[Any, Any]]:
    """Put a large value into a variable, and give a way to tell whether its memory is still there."""
    array = aligned()
    put_back({"v": variable}, {"v": array}, path="run/step-1")
    return weakref.ref(array)


def test_a_value_outlives_what_it_was_read_into() -> None:
    """The variable is all that keeps it."""
    variable = tf.Variable(tf.zeros(LARGE))
    reference = filled(variable)

    gc.collect()
    others = [aligned() * 2 for _ in range(8)]

    assert reference() is not None
    assert len(others) == 8
    assert np.array_equal(variable.numpy(), np.ones(LARGE))


def by_optimizer(make: Callable[[], Any], *, jit_compile: bool | None = None) -> Callable[[tf.Variable], None]:
    """Make a function that updates a variable as training does."""

    def update(variable: tf.Variable) -> None:
        optimizer = make()

        def step() -> None:
            optimizer.apply_gradients([(tf.ones(LARGE), variable)])

        tf.function(step, jit_compile=jit_compile)()

    return update


UPDATES: dict[str, Callable[[tf.Variable], object]] = {
    "assign_add": lambda variable: variable.assign_add(tf.ones(LARGE)),
    "scatter": lambda variable: variable.scatter_nd_update([[0, 0]], [9.0]),
    "sgd": by_optimizer(lambda: tfk.optimizers.SGD(0.1)),
    "adam": by_optimizer(lambda: tfk.optimizers.Adam(0.1)),
    "fused adam": by_optimizer(lambda: tfk.optimizers.legacy.Adam(0.1)),
    "xla": by_optimizer(lambda: tfk.optimizers.SGD(0.1, jit_compile=False), jit_compile=True),
}


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_moves_a_variable_out_of_the_memory_it_was_given(name: str) -> None:
    """It computes the same, and writes nothing there."""
    array = aligned()
    given, ordinary = tf.Variable(tf.zeros(LARGE)), tf.Variable(tf.ones(LARGE))
    put_back({"v": given}, {"v": array}, path="run/step-1")

    UPDATES[name](given)
    UPDATES[name](ordinary)

    assert given.numpy().tobytes() == ordinary.numpy().tobytes()
    assert not np.array_equal(given.numpy(), np.ones(LARGE))
    assert np.array_equal(array, np.ones(LARGE))


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_lets_go_of_the_memory_a_variable_was_given(name: str) -> None:
    """A restored model takes no more memory than another once training goes on."""
    variable = tf.Variable(tf.zeros(LARGE))
    reference = filled(variable)

    UPDATES[name](variable)
    gc.collect()

    assert reference() is None


def test_large_slots_begin_as_zeros_that_are_their_own() -> None:
    """Until the saved values replace them, and where they do not: a fresh optimizer is what Keras makes it."""
    model = tfk.Sequential([tfk.layers.Dense(128, input_shape=(128,))])
    model.compile(tfk.optimizers.Adam(0.1), loss="mse")
    bias, kernel = sorted(find_variables(model).model)

    build_optimizers(model, [f"optimizer/_momentums/{path}" for path in (kernel, bias)])

    slots = find_variables(model).optimizers
    assert [slots[f"optimizer/{kind}/{kernel}"].numpy().any() for kind in ("_momentums", "_velocities")] == [False] * 2
    slots[f"optimizer/_momentums/{kernel}"].assign_add(tf.ones(LARGE))
    assert not slots[f"optimizer/_velocities/{kernel}"].numpy().any()
    assert "add_variable_from_reference" not in vars(model.optimizer)


@pytest.mark.parametrize("optimizer", [tfk.optimizers.Adam, tfk.optimizers.legacy.Adam], ids=["new", "legacy"])
def test_a_fresh_optimizer_is_made_ready_for_saved_slots(optimizer: Any) -> None:
    """So that a restored one goes on as if it had never stopped."""
    trained, fresh = (tfk.Sequential([tfk.layers.Dense(1, input_shape=(2,))]) for _ in range(2))
    for model in (trained, fresh):
        model.compile(optimizer(0.1), loss="mse")
    gradients = [tf.ones_like(variable) for variable in trained.trainable_variables]
    trained.optimizer.apply_gradients(zip(gradients, trained.trainable_variables, strict=True))
    saved = snapshot_of(find_variables(trained).optimizers)

    build_optimizers(fresh, saved)

    assert sorted(find_variables(fresh).optimizers) == sorted(saved)


def test_an_optimizer_without_saved_slots_is_left_alone() -> None:
    """A checkpoint from before the first step has none."""
    model = tfk.Sequential([tfk.layers.Dense(1, input_shape=(2,))])
    model.compile(tfk.optimizers.Adam(0.1), loss="mse")
    before = list(find_variables(model).optimizers)

    build_optimizers(model, before)

    assert list(find_variables(model).optimizers) == before


def test_normalization_works_with_what_was_put_back() -> None:
    """It computes with constants that it derives from its variables."""
    data = np.array([[1.0], [3.0], [5.0]], np.float32)
    adapted, fresh = (tfk.Sequential([tfk.layers.Normalization(axis=-1, input_shape=(1,))]) for _ in range(2))
    adapted.layers[0].adapt(data)

    put_back(find_variables(fresh).model, snapshot_of(find_variables(adapted).model), path="run/step-1")
    finish_preprocessing(fresh)

    assert fresh(data).numpy().tobytes() == adapted(data).numpy().tobytes()
