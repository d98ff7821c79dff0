from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from keras_probckpt.format.tensors import (
    LIMIT_HEADER_BYTES,
    PART_BYTES,
    decode_tensors,
    encode_tensors,
    read_header,
    read_tensors,
)
from tests.format.tensor_files import Array, decoded, encoded, facts

NUMPY_DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
]
ML_DTYPES = ["bfloat16", "float8_e4m3fn", "float8_e5m2"]
# What the library's NumPy front end writes and reads as well.
SHARED_DTYPES = [name for name in NUMPY_DTYPES if name != "complex128"]


def dtype_named(name: str) -> np.dtype[Any]:
    """Give a dtype, of ml_dtypes where NumPy has none of that name."""
    return np.dtype(getattr(ml_dtypes, name) if name in ML_DTYPES else name)


@st.composite
def arrays(draw: st.DrawFn, names: list[str]) -> Array:
    """Any bytes as an array of one of the dtypes: every NaN, every negative zero."""
    dtype = dtype_named(draw(st.sampled_from(names)))
    shape = draw(st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    count = math.prod(shape) * dtype.itemsize
    data = draw(st.binary(min_size=count, max_size=count))
    if dtype == np.dtype("bool"):
        data = bytes(byte & 1 for byte in data)
    return np.frombuffer(data or b"\0" * dtype.itemsize, dtype=dtype)[: math.prod(shape)].reshape(shape)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["__metadata__", "__metadata___"]
)
PLAIN_NAMES = NAMES.filter(lambda name: name != "__metadata__")


@given(st.dictionaries(NAMES, arrays(NUMPY_DTYPES + ML_DTYPES), max_size=5))
def test_arrays_read_back_to_the_bit(given_arrays: dict[str, Array]) -> None:
    """Every dtype, shape and name, NaN payloads included."""
    assert facts(decoded(encoded(given_arrays))) == facts(given_arrays)


@given(st.dictionaries(PLAIN_NAMES, arrays(SHARED_DTYPES), max_size=5))
def test_the_safetensors_library_reads_what_is_written(given_arrays: dict[str, Array]) -> None:
    """A checkpoint's weights open in every tool of that ecosystem."""
    assert facts(safetensors.numpy.load(encoded(given_arrays, metadata={"é": "ü"}))) == facts(given_arrays)


@given(st.dictionaries(PLAIN_NAMES, arrays(SHARED_DTYPES), max_size=5))
def test_what_the_safetensors_library_writes_is_read(given_arrays: dict[str, Array]) -> None:
    """Weights from elsewhere open here."""
    # The library takes the memory of an array by its address, and an empty one has none of its own.
    data = safetensors.numpy.save({name: array.copy() for name, array in given_arrays.items()}, metadata={"k": "v"})

    assert facts(decoded(data)) == facts(given_arrays)


@given(st.dictionaries(NAMES, arrays(ML_DTYPES), max_size=5))
def test_the_safetensors_library_agrees_on_the_dtypes_that_numpy_lacks(given_arrays: dict[str, Array]) -> None:
    """Its NumPy front end cannot make such arrays, but its core reads the entries, and writes the same codes."""
    data = encoded({f"{name}.": array for name, array in given_arrays.items()})

    found = {name: (fields["dtype"], tuple(fields["shape"])) for name, fields in safetensors.deserialize(data)}

    codes = {"bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}
    assert found == {f"{name}.": (codes[array.dtype.name], array.shape) for name, array in given_arrays.items()}
    written = safetensors.numpy.save({f"{name}.": array.copy() for name, array in given_arrays.items()})
    assert facts(decoded(written)) == facts({f"{name}.": array for name, array in given_arrays.items()})


def test_complex128_is_pairs_of_f64_to_the_safetensors_library() -> None:
    """The extension stays readable: real and imaginary parts on a last axis."""
    array = np.array([[1 + 2j, 3 - 4j]])

    found = safetensors.numpy.load(encoded({"z": array}))["z"]

    assert (found.dtype, found.tolist()) == (np.dtype("float64"), [[[1.0, 2.0], [3.0, -4.0]]])


def test_a_file_has_these_bytes() -> None:
    """Later releases must read it, and equal arrays give equal files: order, padding, offsets and metadata."""
    data = encoded(
        {"b": np.array([True, False]), "__metadata__": np.array(7, "<u2"), "z": np.array([1j]), "e": np.zeros((0, 2))},
        metadata={"by": "a test"},
    )

    header = (
        b'{"__metadata__":{"by":"a test","keras_probckpt.metadata_array":"__metadata___",'
        b'"keras_probckpt.complex128":"[\\"z\\"]"},'
        b'"e":{"dtype":"F64","shape":[0,2],"data_offsets":[0,0]},'
        b'"z":{"dtype":"F64","shape":[1,2],"data_offsets":[0,16]},'
        b'"__metadata___":{"dtype":"U16","shape":[],"data_offsets":[16,18]},'
        b'"b":{"dtype":"BOOL","shape":[2],"data_offsets":[18,20]}}'
    )
    padded = header.ljust(376)
    assert data == b"\x78\x01\0\0\0\0\0\0" + padded + b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xf0\x3f" + b"\x07\0" + b"\1\0"


def test_no_arrays_are_a_file_too() -> None:
    """A model without variables has a checkpoint."""
    assert encoded({}) == b"\x38\0\0\0\0\0\0\0" + b"{}".ljust(56)
    assert decoded(encoded({})) == {}


def test_the_order_of_the_arrays_makes_no_difference() -> None:
    """One state of a model is one file."""
    first, second = np.ones(3, np.float32), np.ones(3, np.float32)

    assert encoded({"a": first, "b": second}) == encoded({"b": second, "a": first})


@given(st.dictionaries(NAMES, arrays(NUMPY_DTYPES + ML_DTYPES), max_size=6))
def test_arrays_are_aligned_in_an_aligned_buffer(given_arrays: dict[str, Array]) -> None:
    """For their dtype, and to 64 bytes if their size is divisible by 64: TensorFlow adopts those without a copy."""
    given_arrays["bulk"] = np.zeros((8, 8), np.float32)
    data = encoded(given_arrays)

    entries = read_header(lambda at, count: data[at : at + count], size_bytes=len(data), where="it")

    for found in entries.values():
        assert found.start % found.dtype.alignment == 0
        assert found.start % 64 == 0 or (found.stop - found.start) % 64 != 0


def test_arrays_are_not_copied_on_their_way_out() -> None:
    """The chunks are the arrays' own memory: a save needs no second copy of the model."""
    array = np.zeros((4, 2), np.float32)
    half = np.zeros(4, ml_dtypes.bfloat16)

    _, first, second = encode_tensors({"a": array, "b": half})

    assert np.shares_memory(np.asarray(first), array)
    assert np.shares_memory(np.asarray(second), half.view(np.uint16))


def test_arrays_are_not_copied_on_their_way_in() -> None:
    """They are views of the caller's buffer, and as writable as it is."""
    data = encoded({"a": np.zeros(2, np.float32), "z": np.zeros(1, np.complex128)})
    buffer = bytearray(data)

    views = decode_tensors(buffer, where="it")
    views["a"][:] = 1.0
    views["z"][:] = 2j

    assert decoded(bytes(buffer))["a"].tolist() == [1.0, 1.0]
    assert decoded(bytes(buffer))["z"].tolist() == [2j]
    assert not decoded(data)["a"].flags.writeable


@given(st.dictionaries(NAMES, arrays(NUMPY_DTYPES + ML_DTYPES), max_size=5))
def test_a_file_is_read_from_its_first_byte_to_its_last(given_arrays: dict[str, Array]) -> None:
    """Each byte once and in order, so that it can be digested on the way."""
    data = encoded(given_arrays)
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return data[start:stop]

    found = read_tensors(read, size_bytes=len(data), where="it")

    assert facts(found) == facts(given_arrays)
    assert [start for start, _ in asked] == [0, *(stop for _, stop in asked[:-1])]
    assert asked[-1][1] == len(data)


def test_a_large_array_has_a_part_of_its_own_and_small_ones_share_one() -> None:
    """Whoever keeps a small array keeps no large one alive, and a thousand small ones are not a thousand reads."""
    large = np.zeros(PART_BYTES + 64, np.uint8)
    small = np.zeros(64, np.uint8)
    data = encoded({"a": small, "b": small, "c": large, "d": small, "e": small[:2]})
    asked: list[int] = []

    def read(start: int, stop: int) -> bytes:
        asked.append(stop - start)
        return data[start:stop]

    found = read_tensors(read, size_bytes=len(data), where="it")

    assert asked[2:] == [128, PART_BYTES + 64, 66]
    assert found["a"].base is found["b"].base
    assert found["d"].base is not found["c"].base


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.arange(12, dtype="<f4").reshape(2, 6)[:, ::2] / 2,
        np.arange(12, dtype=">c16").reshape(2, 6)[:, ::2],
        np.arange(6, dtype="<i8").reshape(3, 2).T,
        np.arange(6, dtype=np.longlong).reshape(3, 2)[::-1],
        np.float32(2.5),
    ],
)
def test_arrays_of_other_layouts_are_stored_by_their_values(array: Array) -> None:
    """Byte order and strides are no part of an array on disk."""
    found = decoded(encoded({"a": array}))["a"]

    assert found.tolist() == array.tolist()
    assert found.dtype == array.dtype.newbyteorder("<")


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.zeros(2, ml_dtypes.int4), "int4"),
        (np.zeros(2, ml_dtypes.uint4), "uint4"),
        (np.zeros(2, object), "object"),
        (np.zeros(2, "U3"), "<U3"),
        (np.zeros(2, "m8[s]"), "timedelta64[s]"),
        (np.zeros(2, [("x", "f4")]), "[('x', '<f4')]"),
        (np.zeros(2, ml_dtypes.float8_e4m3fnuz), "float8_e4m3fnuz"),
    ],
)
def test_an_array_of_another_dtype_is_refused_by_name(array: Array, dtype: str) -> None:
    """The error names the array, what it has, and what there is."""
    with pytest.raises(ValueError, match="has no form on disk") as caught:
        encode_tensors({"good": np.zeros(1), "layer/kernel": array})

    assert str(caught.value).startswith(f"the array 'layer/kernel' has the dtype {dtype}, which has no form on disk; ")
    assert "bfloat16, bool, complex128, complex64, float16" in str(caught.value)


def test_a_name_that_no_tool_could_read_is_refused() -> None:
    """Lone surrogates have no UTF-8, and the safetensors library refuses a file that escapes them."""
    with pytest.raises(ValueError, match=r"the array 'a\\ud800' has a lone surrogate in its name"):
        encode_tensors({"a\ud800": np.zeros(1)})


def test_more_axes_than_numpy_has_everywhere_are_refused() -> None:
    """NumPy before 2.0 could not read the file; complex128 takes an axis more."""
    with pytest.raises(ValueError, match="the array 'a' takes 33 axes on disk, not at most 32"):
        encode_tensors({"a": np.zeros((1,) * 32, np.complex128)})


def test_as_many_axes_as_numpy_has_are_stored() -> None:
    """The limit is where it is said to be."""
    real, pairs = np.zeros((1,) * 31 + (2,), np.float32), np.zeros((1,) * 30 + (2,), np.complex128)

    found = decoded(encoded({"real": real, "pairs": pairs}))

    assert (found["real"].shape, found["pairs"].shape) == (real.shape, pairs.shape)


@pytest.mark.parametrize("metadata", [{"keras_probckpt.x": "y"}, {"\ud800": "y"}, {"x": "\udfff"}])
def test_metadata_that_would_mislead_a_reader_is_refused(metadata: dict[str, str]) -> None:
    """Neither our own keys nor text without UTF-8."""
    with pytest.raises(ValueError, match="cannot be stored"):
        encode_tensors({}, metadata=metadata)


def test_a_header_above_the_limit_is_not_written() -> None:
    """What could not be read is not called saved."""
    with pytest.raises(ValueError, match="the names and shapes of the arrays take 33554488 bytes, where there may be"):
        encode_tensors({"x" * LIMIT_HEADER_BYTES: np.zeros(1)})
