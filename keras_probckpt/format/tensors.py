"""Arrays to the bytes of a tensor file and back, in both directions without copying the arrays.

A tensor file is a safetensors file with two additions that a reader of plain safetensors may ignore: see SPEC.md.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_probckpt.format import strict_json, tensor_dtypes
from keras_probckpt.format.digest import Buffer
from keras_probckpt.format.tensor_header import (
    COMPLEX128_KEY,
    LENGTH_BYTES,
    LIMIT_AXES,
    LIMIT_HEADER_BYTES,
    METADATA_ARRAY_KEY,
    METADATA_NAME,
    OWN_PREFIX,
    TensorEntry,
    TensorFormatError,
    read_header,
)

__all__ = [
    "ALIGNMENT_BYTES",
    "LIMIT_AXES",
    "LIMIT_HEADER_BYTES",
    "PART_BYTES",
    "TensorEntry",
    "TensorFormatError",
    "decode_tensors",
    "encode_tensors",
    "read_header",
    "read_tensors",
]

# What TensorFlow demands of memory that it is to adopt without a copy, and a cache line.
ALIGNMENT_BYTES = 64
# Memory that one small array may keep alive, and the least that is worth an allocation and a read of its own.
PART_BYTES = 16 * 1024 * 1024

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Stored:
    """An array as it goes to disk: its name there, its code, and memory that is C-contiguous and little-endian."""

    name: str
    code: str
    array: npt.NDArray[Any]
    is_complex128: bool

    @property
    def memory(self) -> memoryview:
        """Its bytes where they are, which it keeps alive."""
        return self.array.reshape(-1).view(np.uint8).data

    @property
    def alignment_bytes(self) -> int:
        """The largest power of two, up to ALIGNMENT_BYTES, that divides its size."""
        return ALIGNMENT_BYTES if self.array.nbytes % ALIGNMENT_BYTES == 0 else self.array.nbytes & -self.array.nbytes


def encode_tensors(
    arrays: Mapping[str, npt.NDArray[Any]], *, metadata: Mapping[str, str] | None = None
) -> list[Buffer]:
    """Lay arrays out as the chunks of a tensor file: its header, then the memory of each array.

    Arrays that are C-contiguous and little-endian are not copied: their chunks are their memory, which the caller
    leaves alone until the chunks are written. Equal arrays in any order give equal bytes.

    In the file, arrays follow each other by the power of two that divides their size, the largest first, then by name.
    So without any hole, which safetensors forbids, every array is aligned for its dtype, and every one of a size
    divisible by 64 bytes starts on such a boundary.

    Args:
        arrays: Arrays by name. Names are any text that UTF-8 can hold.
        metadata: Text to go with them, for other tools that show a file's metadata. It is not read back.

    Raises:
        ValueError: If an array or the header cannot be stored; the message names the array. Nothing was changed.

    Example:
        >>> [len(chunk) for chunk in encode_tensors({"kernel": np.zeros((4, 2), np.float32)})]
        [128, 32]
    """
    stand_in = _stand_in(arrays)
    stored = [_stored(stand_in if name == METADATA_NAME else name, array=array) for name, array in arrays.items()]
    stored.sort(key=lambda part: (-part.alignment_bytes, part.name))
    own_metadata = _own_metadata(stored, stand_in=stand_in)
    fields = _header_fields(stored, metadata={**_asked_metadata(metadata or {}), **own_metadata})
    return [_header_chunk(fields), *(part.memory for part in stored)]


def decode_tensors(data: Buffer, *, where: str) -> dict[str, npt.NDArray[Any]]:
    """View the arrays of a tensor file in the buffer that holds it, without copying them.

    The arrays are as writable and as aligned as the buffer is, and keep it alive.

    Args:
        data: The whole file.
        where: What the file is called in errors, as the subject of a sentence: `"model.safetensors"`.

    Raises:
        TensorFormatError: As `read_header` does.

    Example:
        >>> decode_tensors(b"".join(encode_tensors({"bias": np.ones(2, np.float32)})), where="the example")
        {'bias': array([1., 1.], dtype=float32)}
    """
    view = memoryview(data).cast("B")
    return read_tensors(lambda start, stop: view[start:stop], size_bytes=len(view), where=where)


def read_tensors(read: Callable[[int, int], Buffer], *, size_bytes: int, where: str) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of a tensor file part by part, each array without a copy of what `read` gives.

    A part is one large array, or several that follow each other in the file: whoever keeps an array keeps no more than
    its part alive. The arrays of a part are as writable and as aligned as the part, if that begins where it does in
    the file.

    Args:
        read: Gives the bytes from `start` up to `stop`. Called for every byte of a sound file once, in order.
        size_bytes: Size of the file.
        where: What the file is called in errors, as the subject of a sentence: `"model.safetensors"`.

    Raises:
        TensorFormatError: As `read_header` does.

    Example:
        >>> data = b"".join(encode_tensors({"bias": np.ones(2, np.float32)}))
        >>> read_tensors(lambda start, stop: data[start:stop], size_bytes=len(data), where="the example")
        {'bias': array([1., 1.], dtype=float32)}
    """
    entries = read_header(lambda at, count: bytes(read(at, at + count)), size_bytes=size_bytes, where=where)
    arrays = {}
    for part in _parts(sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop))):
        begin = part[0][1].start
        data = read(begin, part[-1][1].stop)
        for name, entry in part:
            arrays[name] = np.ndarray(entry.shape, entry.dtype, buffer=data, offset=entry.start - begin)
    return {name: arrays[name] for name in entries}


def _parts(entries: Iterable[tuple[str, TensorEntry]]) -> Iterator[list[tuple[str, TensorEntry]]]:
    """Group arrays that follow each other, as many as fit into PART_BYTES together, at least one."""
    part: list[tuple[str, TensorEntry]] = []
    for name, entry in entries:
        if part and entry.stop - part[0][1].start > PART_BYTES:
            yield part
            part = []
        part.append((name, entry))
    if part:
        yield part


def _stored(name: str, *, array: npt.NDArray[Any]) -> _Stored:
    if not _has_utf8(name):
        raise _unstorable(name, problem="has a lone surrogate in its name, for which UTF-8 has no bytes")
    is_complex128 = array.dtype.name == "complex128"
    code = "F64" if is_complex128 else tensor_dtypes.code_of(array.dtype)
    if code is None:
        storable = tensor_dtypes.supported_names()
        raise _unstorable(
            name, problem=f"has the dtype {array.dtype}, which has no form on disk; these have: {storable}"
        )
    if array.ndim + is_complex128 > LIMIT_AXES:
        raise _unstorable(name, problem=f"takes {array.ndim + is_complex128} axes on disk, not at most {LIMIT_AXES}")
    plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if is_complex128:
        plain = plain.reshape(*plain.shape, 1).view("<f8")
    return _Stored(name=name, code=code, array=plain, is_complex128=is_complex128)


def _has_utf8(text: str) -> bool:
    return _SURROGATE.search(text) is None


def _unstorable(name: str, *, problem: str) -> ValueError:
    return ValueError(f"the array {name!r} {problem}. Nothing was written")


def _stand_in(names: Container[str]) -> str:
    # Safetensors has a use of its own for this one name: a free one stands in, and the metadata says so.
    name = METADATA_NAME
    while name in names:
        name += "_"
    return name


def _asked_metadata(asked: Mapping[str, str]) -> dict[str, str]:
    for key, text in asked.items():
        if key.startswith(OWN_PREFIX) or not (_has_utf8(key) and _has_utf8(text)):
            raise ValueError(
                f"metadata {key!r}: {text!r} cannot be stored: no key begins {OWN_PREFIX}, no text has surrogates"
            )
    return dict(asked)


def _own_metadata(stored: Iterable[_Stored], *, stand_in: str) -> dict[str, str]:
    own = {} if stand_in == METADATA_NAME else {METADATA_ARRAY_KEY: stand_in}
    complex128 = [part.name for part in stored if part.is_complex128]
    if complex128:
        own[COMPLEX128_KEY] = strict_json.dumps(complex128).decode()
    return own


def _header_fields(stored: Iterable[_Stored], *, metadata: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {METADATA_NAME: metadata} if metadata else {}
    start = 0
    for part in stored:
        stop = start + part.array.nbytes
        fields[part.name] = {"dtype": part.code, "shape": list(part.array.shape), "data_offsets": [start, stop]}
        start = stop
    return fields


def _header_chunk(fields: Mapping[str, Any]) -> bytes:
    text = strict_json.dumps(fields)
    text += b" " * (-(LENGTH_BYTES + len(text)) % ALIGNMENT_BYTES)
    if len(text) > LIMIT_HEADER_BYTES:
        raise ValueError(
            f"the names and shapes of the arrays take {len(text)} bytes, where there may be {LIMIT_HEADER_BYTES}"
        )
    return len(text).to_bytes(LENGTH_BYTES, "little") + text
