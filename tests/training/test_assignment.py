from __future__ import annotations

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
