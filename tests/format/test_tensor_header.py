from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.format.tensors import LIMIT_HEADER_BYTES, TensorEntry, TensorFormatError, read_header
from tests.format.tensor_files import container, decoded, encoded, entry


def test_a_header_is_read_without_the_data() -> None:
    """Two reads: the length, the header."""
    data = encoded({"a": np.zeros((2, 3), np.float32)})
    asked = []

    def read(at: int, count: int) -> bytes:
        asked.append((at, count))
        return data[at : at + count]

    found = read_header(read, size_bytes=len(data), where="it")

    assert found == {"a": TensorEntry(dtype=np.dtype("<f4"), shape=(2, 3), start=128, stop=152)}
    assert asked == [(0, 8), (8, 120)]


def test_a_header_above_the_limit_is_not_even_read() -> None:
    """Nothing of the size it claims is allocated."""
    asked = []

    def read(at: int, count: int) -> bytes:
        asked.append((at, count))
        return (LIMIT_HEADER_BYTES + 1).to_bytes(8, "little")

    with pytest.raises(TensorFormatError, match="it has a header of 33554433 bytes, more than the 33554432"):
        read_header(read, size_bytes=10**12, where="it")

    assert asked == [(0, 8)]


def test_a_file_that_shrinks_while_it_is_read_is_refused() -> None:
    """Fewer bytes than there were."""
    with pytest.raises(TensorFormatError, match="it has 3 bytes at byte 0, where 8 were to be read"):
        read_header(lambda _at, _count: b"abc", size_bytes=100, where="it")


HUGE = 2**62
GIVES = "model.safetensors has a header that gives the array 'a' "


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "model.safetensors has 0 bytes, fewer than the 8 that give the length of its header"),
        (b"\0" * 7, "model.safetensors has 7 bytes, fewer than the 8 that give the length of its header"),
        (b"\0" * 8, "model.safetensors has a header that is not JSON: Expecting value"),
        (
            b"\3" + b"\0" * 7 + b"{}",
            "model.safetensors has a header of 3 bytes by its own account, and 2 bytes to hold",
        ),
        (
            b"\xff" * 8 + b"{}",
            "model.safetensors has a header of 18446744073709551615 bytes by its own account, and 2 b",
        ),
        (container(b"[]"), "model.safetensors has a header that begins with b'[', not with the brace of an object"),
        (container(b" {}"), "model.safetensors has a header that begins with b' ', not with the brace of an object"),
        (container(b"{"), "model.safetensors has a header that is not JSON: Expecting property name"),
        (container(b'{"\xff":1}'), "model.safetensors has a header that is not UTF-8"),
        (container(b'{"a":{},"a":{}}'), "model.safetensors has a header that repeats the key 'a'"),
        (
            container(b'{"a":{"dtype":"F32","dtype":"F32"}}'),
            "model.safetensors has a header that repeats the key 'dtype'",
        ),
        (
            container({"__metadata__": []}),
            "model.safetensors has a header whose __metadata__ is not an object of strings",
        ),
        (container({"__metadata__": None}), "model.safetensors has a header whose __metadata__ is not an object of st"),
        (
            container({"__metadata__": {"a": 1}}),
            "model.safetensors has a header whose __metadata__ is not an object of",
        ),
        (
            container({"__metadata__": entry()}, b"1234"),
            "model.safetensors has a header whose __metadata__ is not an ob",
        ),
        (container({"a": 3}), GIVES + "an entry that is not an object: 3"),
        (container({"a": {}}), GIVES + "the dtype None, which this release does not read"),
        (container({"a": entry("F7")}, b"1234"), GIVES + "the dtype 'F7', which this release does not read"),
        (container({"a": entry(["F32"])}, b"1234"), GIVES + "the dtype ['F32'], which this release does not read"),
        (container({"a": entry(shape=None)}, b"1234"), GIVES + "the shape None, not a list of whole numbers from 0 up"),
        (container({"a": entry(shape=[-1])}, b"1234"), GIVES + "the shape [-1], not a list of whole numbers from 0 up"),
        (container({"a": entry(shape=[-1, -1])}, b"1234"), GIVES + "the shape [-1, -1], not a list of whole numbers"),
        (container({"a": entry(shape=[1.0])}, b"1234"), GIVES + "the shape [1.0], not a list of whole numbers from 0"),
        (
            container({"a": entry(shape=[True])}, b"1234"),
            GIVES + "the shape [True], not a list of whole numbers from 0",
        ),
        (container({"a": entry(shape=[1] * 33)}, b"1234"), GIVES + "33 axes, more than the 32 that are read"),
        (container({"a": entry(shape=[HUGE, 4])}, b"1234"), GIVES + f"the shape ({HUGE}, 4), larger than any array"),
        (container({"a": entry(shape=[HUGE, 0], offsets=[0, 0])}), GIVES + f"the shape ({HUGE}, 0), larger than any"),
        (container({"a": entry(shape=[2**61, 0], offsets=[0, 0])}), GIVES + f"the shape ({2**61}, 0), larger than any"),
        (container({"a": entry(shape=[10**399] * 32)}), GIVES + "the shape (1000"),
        (container({"a": entry(offsets={})}, b"1234"), GIVES + "the data_offsets {}, not a list of whole numbers"),
        (container({"a": entry(offsets=[4])}, b"1234"), GIVES + "the data_offsets (4,), where (1,) of float32 takes 4"),
        (
            container({"a": entry(offsets=[0, 4, 4])}, b"1234"),
            GIVES + "the data_offsets (0, 4, 4), where (1,) of float",
        ),
        (
            container({"a": entry(offsets=[-4, 0])}, b"1234"),
            GIVES + "the data_offsets [-4, 0], not a list of whole num",
        ),
        (container({"a": entry(offsets=[4, 0])}, b"1234"), GIVES + "the data_offsets (4, 0), where (1,) of float32 ta"),
        (container({"a": entry(offsets=[0, 3])}, b"123"), GIVES + "the data_offsets (0, 3), where (1,) of float32 tak"),
        (container({"a": entry(shape=[2])}, b"1234"), GIVES + "the data_offsets (0, 4), where (2,) of float32 takes 8"),
        (
            container({"a": entry(offsets=[1, 5])}, b"12345"),
            GIVES + "the bytes from 1 on, not from 0: leaving a hole be",
        ),
        (
            container({"b": entry(), "a": entry(offsets=[5, 9])}, b"123456789"),
            GIVES + "the bytes from 5 on, not from 4: leaving a hole before it",
        ),
        (
            container({"b": entry(), "a": entry(offsets=[3, 7])}, b"1234567"),
            GIVES + "the bytes from 3 on, not from 4: over the array before it",
        ),
        (
            container({"a": entry(), "b": entry()}, b"1234"),
            "model.safetensors has a header that gives the array 'b' the bytes from 0 on, not from 4: over the array",
        ),
        (
            container({"b": entry(shape=[2], offsets=[0, 8]), "a": entry(shape=[0], offsets=[4, 4])}, b"12345678"),
            GIVES + "the bytes from 4 on, not from 8: over the array before it",
        ),
        (container({"a": entry()}, b"123"), "model.safetensors has a header that accounts for "),
        (container({"a": entry()}, b"12345"), "model.safetensors has a header that accounts for "),
        (container({}, b"1"), "model.safetensors has a header that accounts for 10 bytes of a file of 11"),
        (
            container({"__metadata__": {"keras_probckpt.complex128": "["}}),
            "model.safetensors has a keras_probckpt.complex128 that is not JSON",
        ),
        (
            container({"__metadata__": {"keras_probckpt.complex128": "3"}}),
            "model.safetensors has a keras_probckpt.complex128 that is not a list of names: 3",
        ),
        (
            container({"__metadata__": {"keras_probckpt.complex128": "[3]"}}),
            "model.safetensors has a keras_probckpt.complex128 that is not a list of names: [3]",
        ),
        (
            container({"__metadata__": {"keras_probckpt.complex128": '["a"]'}}),
            "model.safetensors has a keras_probckpt.complex128 that names 'a', which is no array of F64 pairs",
        ),
        (
            container({"__metadata__": {"keras_probckpt.complex128": '["a"]'}, "a": entry()}, b"1234"),
            "model.safetensors has a keras_probckpt.complex128 that names 'a', which is no array of F64 pairs",
        ),
        (
            container(
                {"__metadata__": {"keras_probckpt.complex128": '["a"]'}, "a": entry("F64", [], [0, 8])}, b"1" * 8
            ),
            "model.safetensors has a keras_probckpt.complex128 that names 'a', which is no array of F64 pairs",
        ),
        (
            container(
                {"__metadata__": {"keras_probckpt.complex128": '["a"]'}, "a": entry("F32", [2], [0, 8])}, b"1" * 8
            ),
            "model.safetensors has a keras_probckpt.complex128 that names 'a', which is no array of F64 pairs",
        ),
        (
            container({"__metadata__": {"keras_probckpt.metadata_array": "a"}}),
            "model.safetensors has a keras_probckpt.metadata_array that names 'a', which is no array of the file",
        ),
    ],
)
def test_a_hostile_file_is_refused(data: bytes, problem: str) -> None:
    """Each with a sentence about itself, and before anything is allocated for it."""
    with pytest.raises(TensorFormatError) as caught:
        decoded(data)

    assert str(caught.value).startswith(problem)


def test_every_cut_of_a_file_is_refused() -> None:
    """A file of any shorter or greater length is not that file."""
    data = encoded({"a": np.ones(3, np.float32), "b": np.ones(2, np.complex128)})

    for length in range(len(data)):
        with pytest.raises(TensorFormatError):
            decoded(data[:length])
    with pytest.raises(TensorFormatError):
        decoded(data + b"\0")


@given(st.data())
def test_a_changed_header_gives_an_error_or_arrays_within_the_file(data: st.DataObject) -> None:
    """No header crashes the reader or leads it outside of the file."""
    original = bytearray(encoded({"a": np.ones(3, np.float32), "z": np.ones(2, np.complex128)}))
    header_end = original.index(b"}}") + 2
    for place in data.draw(st.lists(st.integers(8, header_end - 1), min_size=1, max_size=3)):
        original[place] = data.draw(st.sampled_from(b'0123456789-eE.,:[]{}" FINBO'))

    try:
        found = decoded(bytes(original))
    except TensorFormatError:
        return

    assert sum(array.nbytes for array in found.values()) == 44


def test_an_empty_array_may_stand_before_another_in_any_order_of_the_header() -> None:
    """Both begin at the same byte; the order of entries means nothing."""
    data = container({"a": entry(), "empty": entry(shape=[0], offsets=[0, 0])}, b"\0\0\x80\x3f")

    assert decoded(data)["a"].tolist() == [1.0]
    assert decoded(data)["empty"].shape == (0,)
    assert safetensors.numpy.load(data)["a"].tolist() == [1.0]


def test_fields_of_later_writers_are_passed_over() -> None:
    """As the safetensors library does."""
    data = container({"a": {**entry(), "later": 1}}, b"\0\0\x80\x3f")

    assert decoded(data)["a"].tolist() == [1.0]
    assert safetensors.numpy.load(data)["a"].tolist() == [1.0]
