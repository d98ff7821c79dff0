"""Whole tensor files, right ones and any others, and what of their arrays must survive."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from keras_probckpt.format.tensors import decode_tensors, encode_tensors

Array = npt.NDArray[Any]


def encoded(given_arrays: Mapping[str, Array], **options: Any) -> bytes:
    """Give the whole tensor file."""
    return b"".join(encode_tensors(given_arrays, **options))


def decoded(data: bytes) -> dict[str, Array]:
    """Read a tensor file under the name the expected messages begin with."""
    return decode_tensors(data, where="model.safetensors")


def facts(found: Mapping[str, Array]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Give what must survive: dtypes, shapes and bytes, so that NaNs compare."""
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in found.items()}


def container(header: object, data: bytes = b"") -> bytes:
    """Make a tensor file of any header, however wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, object]:
    """Make the entry of one array in a header; as it is, a right one."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}
