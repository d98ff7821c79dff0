from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.format.digest import Buffer, Digest, digest_hex, digest_of

# Source: test_vectors.json of BLAKE3: input of 0 and of 1 byte, the bytes counting from 0.
OF_NOTHING = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
OF_ZERO_BYTE = "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"


def test_digests_are_blake3() -> None:
    """The digest is the published one, not merely one that agrees with itself."""
    assert digest_hex(b"") == OF_NOTHING
    assert digest_hex(b"\0") == OF_ZERO_BYTE


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_how_the_bytes_are_cut_makes_no_difference(data: bytes, cuts: list[int]) -> None:
    """A file has one digest, in however many chunks it was written."""
    places = [0, *sorted(cuts), len(data)]
    chunks = [data[start:stop] for start, stop in itertools.pairwise(places)]

    assert digest_of(chunks) == digest_hex(data)


@pytest.mark.parametrize(
    "chunk",
    [
        b"\0\0\x80\x3f",
        bytearray(b"\0\0\x80\x3f"),
        memoryview(b"\0\0\x80\x3f"),
        np.array(1.0, "<f4").data,
        np.ones((1, 1), "<f4").data,
    ],
)
def test_a_buffer_counts_as_its_bytes(chunk: Buffer) -> None:
    """Item format and axes of a buffer make no difference."""
    assert digest_hex(chunk) == digest_hex(b"\0\0\x80\x3f")


def test_an_empty_array_adds_nothing() -> None:
    """Also where it has several axes."""
    assert digest_hex(np.zeros((0, 3)).data) == OF_NOTHING


def test_a_digest_may_be_asked_for_on_the_way() -> None:
    """Asking does not end the stream."""
    digest = Digest()

    before = digest.hexdigest()
    digest.update(b"\0")

    assert (before, digest.hexdigest()) == (OF_NOTHING, OF_ZERO_BYTE)


@given(st.lists(st.integers(0, 200_000), max_size=4))
def test_all_cores_find_the_same(sizes: list[int]) -> None:
    """However the work is shared out."""
    digest = Digest(on_all_cores=True)
    chunks = [bytes([number + 1]) * size for number, size in enumerate(sizes)]

    for chunk in chunks:
        digest.update(chunk)

    assert digest.hexdigest() == digest_of(chunks)


def test_a_buffer_with_gaps_is_refused() -> None:
    """Its bytes are not what is written."""
    with pytest.raises(TypeError):
        digest_hex(np.zeros(4)[::2].data)
