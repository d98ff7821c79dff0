"""The closed table of dtypes that arrays may have on disk."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

__all__ = ["BY_CODE", "code_of", "supported_names"]

# Source: the dtypes of safetensors 0.8. Its packed and scale-only formats (F4, F8_E8M0, ...) hold no variable of Keras.
BY_CODE: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
}

# By name: the byte order of an array in memory is no part of its dtype on disk.
_CODE_BY_NAME = {dtype.name: code for code, dtype in BY_CODE.items()}


def code_of(dtype: np.dtype[Any]) -> str | None:
    """Give the code of a dtype of any byte order, or `None` where it has none."""
    return _CODE_BY_NAME.get(dtype.name)


def supported_names() -> str:
    """List the dtypes an array may have, for messages."""
    return ", ".join(sorted([*_CODE_BY_NAME, "complex128"]))
