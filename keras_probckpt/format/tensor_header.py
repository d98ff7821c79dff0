"""The header of a tensor file, read as if its author wished us harm: every number is checked before it is used."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_probckpt.format import strict_json, tensor_dtypes

__all__ = [
    "COMPLEX128_KEY",
    "LENGTH_BYTES",
    "LIMIT_AXES",
    "LIMIT_HEADER_BYTES",
    "METADATA_ARRAY_KEY",
    "METADATA_NAME",
    "OWN_PREFIX",
    "TensorEntry",
    "TensorFormatError",
    "read_header",
]

LENGTH_BYTES = 8
# Room for some 200,000 variables. Parsed JSON takes up to thirty times its own size in memory, which is why this stays
# below the 100 MB that safetensors reads.
LIMIT_HEADER_BYTES = 32 * 1024 * 1024
# NumPy before 2.0 has no arrays of more.
LIMIT_AXES = 32

METADATA_NAME = "__metadata__"
OWN_PREFIX = "keras_probckpt."
COMPLEX128_KEY = OWN_PREFIX + "complex128"
METADATA_ARRAY_KEY = OWN_PREFIX + "metadata_array"

_LARGEST_ARRAY_BYTES = 2**63 - 1
_COMPLEX128 = np.dtype("<c16")


class TensorFormatError(ValueError):
    """Some bytes are not a tensor file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """One array of a tensor file.

    Attributes:
        dtype: Its dtype, little-endian.
        shape: Its shape.
        start: Where its bytes begin, counted from the first byte of the file.
        stop: Where they end.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(read: Callable[[int, int], bytes], *, size_bytes: int, where: str) -> Mapping[str, TensorEntry]:
    """Read what a tensor file holds, without reading the arrays.

    Asks `read` for no more than the file has and the header may have, so a hostile file costs little memory.

    Args:
        read: Gives the bytes of the file at `(offset, count)`.
        size_bytes: Size of the file.
        where: What the file is called in errors, as the subject of a sentence: `"model.safetensors"`.

    Returns:
        Entries by the arrays' own names, in the header's order.

    Raises:
        TensorFormatError: If the file is not a tensor file, or one whose arrays do not cover its data exactly. The
            message is a sentence that begins with `where`.

    Source: safetensors README, "Format".

    Example:
        >>> from keras_probckpt.format.tensors import encode_tensors
        >>> data = b"".join(encode_tensors({"bias": np.zeros(2, np.float32)}))
        >>> entry = read_header(lambda at, count: data[at : at + count], size_bytes=len(data), where="x")["bias"]
        >>> entry.shape, entry.stop - entry.start
        ((2,), 8)
    """
    try:
        raw = _raw_header(read, size_bytes=size_bytes)
        fields = strict_json.loads(raw, where="a header that", limit_bytes=LIMIT_HEADER_BYTES)
        return _entries(raw, fields=fields, size_bytes=size_bytes)
    except (TensorFormatError, strict_json.StrictJsonError) as error:
        raise TensorFormatError(f"{where} has {error}") from None


def _raw_header(read: Callable[[int, int], bytes], *, size_bytes: int) -> bytes:
    if size_bytes < LENGTH_BYTES:
        raise TensorFormatError(f"{size_bytes} bytes, fewer than the {LENGTH_BYTES} that give the length of its header")
    length = int.from_bytes(_read_exactly(read, offset=0, count=LENGTH_BYTES), "little")
    if length > size_bytes - LENGTH_BYTES:
        raise TensorFormatError(
            f"a header of {length} bytes by its own account, and {size_bytes - LENGTH_BYTES} bytes to hold it"
        )
    if length > LIMIT_HEADER_BYTES:
        raise TensorFormatError(f"a header of {length} bytes, more than the {LIMIT_HEADER_BYTES} that are read")
    return _read_exactly(read, offset=LENGTH_BYTES, count=length)


def _read_exactly(read: Callable[[int, int], bytes], *, offset: int, count: int) -> bytes:
    found = bytes(read(offset, count))
    if len(found) != count:
        raise TensorFormatError(f"{len(found)} bytes at byte {offset}, where {count} were to be read")
    return found


def _entries(raw: bytes, *, fields: Any, size_bytes: int) -> dict[str, TensorEntry]:
    if not raw.startswith(b"{"):
        raise TensorFormatError(f"a header that begins with {raw[:1]!r}, not with the brace of an object")
    data_start = LENGTH_BYTES + len(raw)
    metadata = _metadata(fields.pop(METADATA_NAME, {}))
    entries = {name: _entry(name, fields=fields[name], data_start=data_start) for name in fields}
    _require_full_cover(entries, data_start=data_start, size_bytes=size_bytes)
    for name in _complex128_names(metadata):
        entries[name] = _as_complex128(entries.get(name), name=name)
    if METADATA_ARRAY_KEY in metadata:
        entries[METADATA_NAME] = _pop(entries, name=metadata[METADATA_ARRAY_KEY])
    return entries


def _metadata(found: object) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise TensorFormatError(
            f"a header whose {METADATA_NAME} is not an object of strings: {strict_json.preview(found)}"
        )
    return found


def _entry(name: str, *, fields: object, data_start: int) -> TensorEntry:
    if not isinstance(fields, dict):
        raise _wrong(name, problem=f"an entry that is not an object: {strict_json.preview(fields)}")
    dtype = _dtype(name, code=fields.get("dtype"))
    shape = _whole_numbers(name, field="shape", found=fields.get("shape"))
    offsets = _whole_numbers(name, field="data_offsets", found=fields.get("data_offsets"))
    size_bytes = _array_bytes(name, dtype=dtype, shape=shape)
    if len(offsets) != len(("start", "stop")) or offsets[1] - offsets[0] != size_bytes:
        problem = (
            f"the data_offsets {strict_json.preview(offsets)}, where {shape} of {dtype.name} takes {size_bytes} bytes"
        )
        raise _wrong(name, problem=problem)
    return TensorEntry(dtype=dtype, shape=shape, start=data_start + offsets[0], stop=data_start + offsets[1])


def _dtype(name: str, *, code: object) -> np.dtype[Any]:
    if not isinstance(code, str) or code not in tensor_dtypes.BY_CODE:
        raise _wrong(name, problem=f"the dtype {strict_json.preview(code)}, which this release does not read")
    return tensor_dtypes.BY_CODE[code]


def _whole_numbers(name: str, *, field: str, found: object) -> tuple[int, ...]:
    if not isinstance(found, list) or not all(type(number) is int and number >= 0 for number in found):
        raise _wrong(name, problem=f"the {field} {strict_json.preview(found)}, not a list of whole numbers from 0 up")
    return tuple(found)


def _array_bytes(name: str, *, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    if len(shape) > LIMIT_AXES:
        raise _wrong(name, problem=f"{len(shape)} axes, more than the {LIMIT_AXES} that are read")
    # NumPy refuses an array whose other axes are too long even where one of them is 0.
    if math.prod(length or 1 for length in shape) * dtype.itemsize > _LARGEST_ARRAY_BYTES:
        raise _wrong(name, problem=f"the shape {strict_json.preview(shape)}, larger than any array")
    return math.prod(shape) * dtype.itemsize


def _wrong(name: str, *, problem: str) -> TensorFormatError:
    return TensorFormatError(f"a header that gives the array {strict_json.preview(name)} {problem}")


def _require_full_cover(entries: Mapping[str, TensorEntry], *, data_start: int, size_bytes: int) -> None:
    covered = data_start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != covered:
            how = "over the array before it" if entry.start < covered else "leaving a hole before it"
            problem = f"the bytes from {entry.start - data_start} on, not from {covered - data_start}: {how}"
            raise _wrong(name, problem=problem)
        covered = entry.stop
    if covered != size_bytes:
        raise TensorFormatError(f"a header that accounts for {covered} bytes of a file of {size_bytes}")


def _complex128_names(metadata: Mapping[str, str]) -> list[str]:
    text = metadata.get(COMPLEX128_KEY, "[]").encode("utf-8", "backslashreplace")
    names = strict_json.loads(text, where=f"a {COMPLEX128_KEY} that", limit_bytes=LIMIT_HEADER_BYTES)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TensorFormatError(f"a {COMPLEX128_KEY} that is not a list of names: {strict_json.preview(names)}")
    return names


def _as_complex128(entry: TensorEntry | None, *, name: str) -> TensorEntry:
    if entry is None or entry.dtype != np.dtype("<f8") or entry.shape[-1:] != (2,):
        raise TensorFormatError(
            f"a {COMPLEX128_KEY} that names {strict_json.preview(name)}, which is no array of F64 pairs"
        )
    return dataclasses.replace(entry, dtype=_COMPLEX128, shape=entry.shape[:-1])


def _pop(entries: dict[str, TensorEntry], *, name: str) -> TensorEntry:
    if name not in entries:
        raise TensorFormatError(
            f"a {METADATA_ARRAY_KEY} that names {strict_json.preview(name)}, which is no array of the file"
        )
    return entries.pop(name)
