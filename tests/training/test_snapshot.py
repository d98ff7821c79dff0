from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import UnrecordableError
from keras_probckpt.training.snapshot import VariableReader, snapshot_of
from keras_probckpt.training.variables import find_variables
from tests.conftest import FreshPython

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float16", "float32", "float64", "complex64", "complex128"]
ML_DTYPES = [
    (tf.bfloat16, ml_dtypes.bfloat16),
    (tf.dtypes.experimental.float8_e4m3fn, ml_dtypes.float8_e4m3fn),
    (tf.dtypes.experimental.float8_e5m2, ml_dtypes.float8_e5m2),
]


def address_of(variable: tf.Variable) -> int:
    """Tell where in memory the value of a variable is now."""
    return int(np.asarray(memoryview(variable.read_value())).ctypes.data)


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)], ids=str)
def test_a_snapshot_holds_what_the_variable_held(name: str, shape: tuple[int, ...]) -> None:
    """Of every dtype of TensorFlow that has numbers, and every shape."""
    value = np.arange(6)[: int(np.prod(shape))].reshape(shape).astype(name)
    variable = tf.Variable(value)

    taken = snapshot_of({"v": variable})["v"]

    assert (taken.dtype, taken.shape, taken.tobytes()) == (value.dtype, shape, value.tobytes())
    assert not taken.flags.writeable


@pytest.mark.parametrize(("dtype", "expected"), ML_DTYPES, ids=lambda dtype: getattr(dtype, "name", ""))
@pytest.mark.parametrize("shape", [(), (0,), (3,)], ids=str)
def test_a_snapshot_holds_the_floats_that_numpy_has_not(
    dtype: tf.DType, expected: Any, *, shape: tuple[int, ...]
) -> None:
    """Bit for bit, in the dtypes of ml_dtypes."""
    value = np.array([0.5, -1.0, 2.0])[: int(np.prod(shape))].reshape(shape).astype(expected)
    variable = tf.Variable(value, dtype=dtype)

    taken = snapshot_of({"v": variable})["v"]

    assert (taken.dtype, taken.shape, taken.tobytes()) == (np.dtype(expected), shape, value.tobytes())


@pytest.mark.parametrize("name", ["float32", "int64", "complex64"])
def test_a_snapshot_copies_nothing(name: str) -> None:
    """It is where the value is: the time it takes does not depend on the number of bytes."""
    variable = tf.Variable(np.ones(100_000, name))

    taken = snapshot_of({"v": variable})["v"]

    assert taken.ctypes.data == address_of(variable)


def test_a_variable_of_text_is_named() -> None:
    """It has no place among the arrays."""
    with pytest.raises(UnrecordableError) as caught:
        snapshot_of({"layer-0/words": tf.Variable(["a"])})

    assert caught.value.where == "the variable 'layer-0/words'"
    assert "its dtype string is none of those that are stored: bfloat16, bool, " in caught.value.problem


@pytest.mark.parametrize("dtype", [tf.dtypes.experimental.int4, tf.dtypes.experimental.uint4])
def test_a_variable_of_four_bits_is_named(dtype: tf.DType) -> None:
    """The format has no place for half a byte, and numpy no buffer."""
    variable = tf.Variable(tf.cast([1, 2], dtype))

    with pytest.raises(UnrecordableError, match=f"the variable 'q' .*its dtype {dtype.name} is none of those"):
        snapshot_of({"q": variable})


def sparse_gradient() -> tf.IndexedSlices:
    """Make the gradient of an embedding, of which one row was used."""
    return tf.IndexedSlices(tf.constant([1.0]), tf.constant([1]), tf.constant([4]))


@tf.function(jit_compile=True)
def double_in_one_kernel(variable: tf.Variable) -> None:
    """Assign in a compiled function."""
    variable.assign(variable * 2.0)


@tf.function
def double_in_a_graph(variable: tf.Variable) -> None:
    """Assign in a function."""
    variable.assign(variable * 2.0)


CHANGES: dict[str, Callable[[tf.Variable], Any]] = {
    "assign": lambda v: v.assign(tf.zeros_like(v)),
    "assign_add": lambda v: v.assign_add(tf.ones_like(v)),
    "assign_sub": lambda v: v.assign_sub(tf.ones_like(v)),
    "item": lambda v: v[1:3].assign([7.0, 8.0]),
    "scatter_update": lambda v: v.scatter_update(tf.IndexedSlices([9.0], [0])),
    "scatter_nd_add": lambda v: v.scatter_nd_add([[0]], [9.0]),
    "scatter_add": lambda v: v.scatter_add(tf.IndexedSlices([9.0], [0])),
    "batch_scatter_update": lambda v: v.scatter_mul(tf.IndexedSlices([9.0], [1])),
    "graph": double_in_a_graph,
    "jit": double_in_one_kernel,
    "Adam": lambda v: tfk.optimizers.Adam(0.5, jit_compile=False).apply_gradients([(tf.ones_like(v), v)]),
    "SGD": lambda v: tfk.optimizers.SGD(0.5, jit_compile=False).apply_gradients([(tf.ones_like(v), v)]),
    "sparse SGD": lambda v: tfk.optimizers.legacy.SGD(0.5).apply_gradients([(sparse_gradient(), v)]),
    "legacy Adam": lambda v: tfk.optimizers.legacy.Adam(0.5).apply_gradients([(tf.ones_like(v), v)]),
    "legacy RMSprop": lambda v: tfk.optimizers.legacy.RMSprop(0.5).apply_gradients([(tf.ones_like(v), v)]),
    "sparse Adagrad": lambda v: tfk.optimizers.legacy.Adagrad(0.5).apply_gradients([(sparse_gradient(), v)]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_done_to_a_variable_later_does_not_change_its_snapshot(change: str) -> None:
    """In whatever way it is changed, many times over."""
    variable = tf.Variable([1.0, 2.0, 3.0, 4.0])

    taken = snapshot_of({"looked at": variable, "not looked at": variable})
    looked_at = taken["looked at"]
    for _ in range(3):
        CHANGES[change](variable)

    assert variable.numpy().tolist() != [1.0, 2.0, 3.0, 4.0]
    assert looked_at.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert taken["not looked at"].tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("change", CHANGES)
def test_neither_does_what_is_done_in_the_same_way_as_before(change: str) -> None:
    """TensorFlow changes a variable in place from its first sparse update on."""
    variable = tf.Variable([1.0, 2.0, 3.0, 4.0])
    reader = VariableReader({"v": variable})
    CHANGES[change](variable)
    before = variable.numpy().copy()

    (taken,) = reader.read()
    CHANGES[change](variable)

    assert taken["v"].tolist() == before.tolist()
    assert reader.read()[0]["v"].tolist() == variable.numpy().tolist()


def test_groups_of_variables_are_read_at_one_moment_by_one_operation() -> None:
    """What TensorFlow does around an operation takes longer than to take a reference."""
    variables = {str(number): tf.Variable(float(number)) for number in range(5)}
    reader = VariableReader(variables, {}, {"other": tf.Variable([True])})

    first, none, other = reader.read()

    assert [float(array) for array in first.values()] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert (dict(none), other["other"].tolist()) == ({}, [True])
    assert (first.size_bytes, none.size_bytes, other.size_bytes) == (20, 0, 1)
    assert len(reader._reads) == 1


def test_a_variable_that_may_have_values_of_several_shapes_is_read_as_it_is() -> None:
    """With the size that it has then."""
    variable = tf.Variable(tf.zeros((2, 3)), shape=tf.TensorShape(None))
    reader = VariableReader({"v": variable})
    variable.assign(tf.ones((4,)))

    (taken,) = reader.read()

    assert (taken["v"].tolist(), taken.size_bytes) == ([1.0] * 4, 16)


def test_variables_of_several_devices_are_read_by_one_operation_each(fresh_python: FreshPython) -> None:
    """An operation takes what is on its own device."""
    program = """
        import tensorflow as tf
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )
        from keras_probckpt.training.snapshot import VariableReader
        variables = {}
        for number in range(4):
            with tf.device(f"CPU:{number % 2}"):
                variables[str(number)] = tf.Variable(float(number))
        reader = VariableReader(variables)
        taken, = reader.read()
        for variable in variables.values():
            variable.assign_add(1.0)
        print(len(reader._reads), {path: float(array) for path, array in sorted(taken.items())})
    """

    printed = fresh_python("-c", textwrap.dedent(program)).stdout

    assert printed.splitlines()[-1] == "2 {'0': 0.0, '1': 1.0, '2': 2.0, '3': 3.0}"


@pytest.mark.parametrize(
    "options", [{}, {"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 2}], ids=str
)
def test_training_on_does_not_change_a_snapshot(options: dict[str, Any]) -> None:
    """Neither of the model nor of its optimizer, whichever way Keras runs the steps."""
    model = tfk.Sequential([tfk.layers.Embedding(5, 3, input_length=2), tfk.layers.Flatten(), tfk.layers.Dense(1)])
    model.compile(tfk.optimizers.Adam(0.1, use_ema=True), loss="mse", **options)
    x, y = np.array([[0, 1], [2, 3], [4, 0], [1, 2]]), np.ones((4, 1))
    model.fit(x, y, batch_size=1, verbose=0)
    found = find_variables(model)
    variables = {**found.model, **found.optimizers}
    copies = {path: variable.numpy().copy() for path, variable in variables.items()}

    taken = snapshot_of(variables)
    model.fit(x, y, batch_size=1, epochs=2, verbose=0)

    assert {path: array.tobytes() for path, array in taken.items()} == {p: a.tobytes() for p, a in copies.items()}
    assert float(np.abs(model.layers[0].get_weights()[0] - copies["layer-0/embeddings"]).max()) > 0.0


def test_a_snapshot_outlives_its_variables() -> None:
    """The buffer stays as long as somebody looks at it."""
    variable = tf.Variable(np.arange(1000.0))
    snapshot = snapshot_of({"v": variable})
    taken = snapshot["v"]

    del variable, snapshot
    others = [tf.Variable(np.zeros(1000)) for _ in range(20)]

    assert taken.tolist() == list(range(1000))
    assert len(others) == 20


def test_a_variable_of_mixed_precision_is_taken_as_it_is_kept() -> None:
    """Not as what it is cast to for the computation."""
    layer = tfk.layers.Dense(1, dtype="mixed_bfloat16")
    layer.build((None, 2))

    taken = snapshot_of({"kernel": layer.kernel})["kernel"]

    assert taken.dtype == np.float32


def test_an_array_is_made_by_whoever_asks_for_it_and_once() -> None:
    """The training thread only takes references: what lies on an accelerator is copied to the host by the writer."""
    snapshot = snapshot_of({"v": tf.Variable([1.0, 2.0]), "w": tf.Variable([3.0])})
    before = dict(snapshot._arrays)
    found: list[Any] = []

    thread = threading.Thread(target=lambda: found.append(snapshot["v"]))
    thread.start()
    thread.join()

    assert before == {}
    assert found[0].tolist() == [1.0, 2.0]
    assert snapshot["v"] is found[0]
    assert list(snapshot._arrays) == ["v"]


def test_the_size_of_a_snapshot_is_known_without_an_array() -> None:
    """In bytes, by shape and dtype: what a save that is pending keeps in memory."""
    snapshot = snapshot_of(
        {"v": tf.Variable([1.0, 2.0, 3.0]), "w": tf.Variable([True]), "x": tf.Variable(tf.zeros((0,), tf.int64))}
    )

    assert snapshot.size_bytes == 3 * 4 + 1
    assert dict(snapshot._arrays) == {}
