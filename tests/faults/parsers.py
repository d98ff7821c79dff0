"""Everything that reads bytes which somebody else may have written, and what changes such bytes."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Mapping

import blake3
import numpy as np

from keras_probckpt.errors import CheckpointError, InvalidKeyError
from keras_probckpt.format import strict_json
from keras_probckpt.format.manifest import decode_manifest, encode_manifest
from keras_probckpt.format.requirements import requirements_of, variables_of
from keras_probckpt.format.signature import KeyRing, parse_keys
from keras_probckpt.format.tensors import TensorFormatError, decode_tensors, encode_tensors
from keras_probckpt.storage.names import is_checkpoint_name, is_file_of_ours, parse_hidden_name
from tests.conftest import CHECKOUT
from tests.storage.samples import OWN_KEYS, manifest_of

_SEQUENTIAL = CHECKOUT / "tests/golden/v1/must_load/newest/sequential/step-0000000002"
_SEAL_BYTES = len(b'"seal":"blake3:"}\n') + 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parser:
    """One of them.

    Attributes:
        parse: Reads bytes.
        refusals: What it may raise: any other error is a bug.
        seeds: Bytes that it reads without one.
        mend: Makes changed bytes consistent again, as an attacker does.
    """

    parse: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    mend: Callable[[bytes], bytes] = lambda data: data

    def survives(self, data: bytes) -> bool:
        """Read bytes; tell whether they were read. What it may not raise goes through."""
        try:
            self.parse(data)
        except self.refusals:
            return False
        return True


def _json(data: bytes) -> object:
    return strict_json.loads(data, where="the document", limit_bytes=1 << 24)


def _recipe(data: bytes) -> object:
    document = _json(data)
    return requirements_of(document), variables_of(document)


def _names(data: bytes) -> object:
    text = data.decode("utf-8", "surrogateescape")
    hidden = parse_hidden_name(text)
    assert hidden is None or str(hidden) == text
    return is_checkpoint_name(text), is_file_of_ours(text)


def _tensors(data: bytes) -> object:
    arrays = decode_tensors(data, where="the file")
    assert sum(array.nbytes for array in arrays.values()) <= len(data)
    return arrays


def _sealed(data: bytes) -> bytes:
    """Put the right seal under whatever there is."""
    body = data[:-_SEAL_BYTES]
    return body + b'"seal":"blake3:' + blake3.blake3(body).hexdigest().encode() + b'"}\n'


def _with_right_length(data: bytes) -> bytes:
    """Let the header be as long as the bytes up to the end of the object, and the spaces after it."""
    end = data.find(b"}}", 8) + 2
    while data[end : end + 1] == b" ":
        end += 1
    return (end - 8).to_bytes(8, "little") + data[8:] if end > 8 else data


_ARRAYS = {"kernel": np.ones((2, 3), "float32"), "bias": np.zeros(3, "complex128"), "__metadata__": np.ones((), "bool")}

PARSERS: Mapping[str, Parser] = {
    "strict JSON": Parser(
        parse=_json,
        refusals=(strict_json.StrictJsonError,),
        seeds=((_SEQUENTIAL / "recipe.json").read_bytes(), (_SEQUENTIAL / "training.json").read_bytes()),
    ),
    "recipe": Parser(parse=_recipe, refusals=(ValueError,), seeds=((_SEQUENTIAL / "recipe.json").read_bytes(),)),
    "manifest": Parser(
        parse=lambda data: decode_manifest(data, path="step-1", keys=OWN_KEYS),
        refusals=(CheckpointError,),
        seeds=(
            (_SEQUENTIAL / "manifest.json").read_bytes(),
            encode_manifest(manifest_of(3), key=None),
            encode_manifest(manifest_of(3), key=OWN_KEYS.signing_key),
        ),
        mend=_sealed,
    ),
    "manifest without a key": Parser(
        parse=lambda data: decode_manifest(data, path="step-1", keys=KeyRing()),
        refusals=(CheckpointError,),
        seeds=((_SEQUENTIAL / "manifest.json").read_bytes(),),
        mend=_sealed,
    ),
    "tensors": Parser(
        parse=_tensors,
        refusals=(TensorFormatError,),
        seeds=((_SEQUENTIAL / "model.safetensors").read_bytes(), b"".join(encode_tensors(_ARRAYS))),
        mend=_with_right_length,
    ),
    "keys": Parser(
        parse=lambda data: parse_keys(data.decode("utf-8", "surrogateescape"), source="the test"),
        refusals=(InvalidKeyError,),
        seeds=(b"ab" * 32, b"ab" * 32 + b", " + b"01" * 32),
    ),
    "names": Parser(
        parse=_names,
        refusals=(),
        seeds=(b".step-1.partial-123-0123456789abcdef", b"step-0000000001", b"data-position.index"),
    ),
}

_WORDS = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"null", b"true", b"-", b"\xff", b"\0", b"\\u0000", b"\\ud800"),
    *(b"1e999", b"-0", b"NaN", b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"1" * 401),
    *(json.dumps(text).encode() for text in ("$", "class_name", "../x", "/etc/passwd", "MANIFEST.JSON", "e\u0301", "")),
    *(b'{"$":"import","module":"os","name":"system"}', b"[" * 300, b'{"a":' * 300, b'"shape":[0,9223372036854775807]'),
)


def mutant(data: bytes, dice: random.Random) -> bytes:
    """Change bytes in one to five places: a bit, a cut, a word of these formats, a part of itself again or gone."""
    for _ in range(dice.randint(1, 5)):
        start = dice.randrange(len(data) + 1)
        stop = min(len(data), start + dice.choice((0, 1, 2, 8, 40)))
        part = data[start:stop]
        change = dice.choice(("flip", "word", "again", "gone", "elsewhere"))
        if change == "flip" and part:
            part = bytes([part[0] ^ (1 << dice.randrange(8))]) + part[1:]
        elif change == "word":
            part = dice.choice(_WORDS)
        elif change == "again":
            part *= 2
        elif change == "elsewhere":
            other = dice.randrange(len(data) + 1)
            part = data[other : other + 40]
        elif change == "gone":
            part = b""
        data = data[:start] + part + data[stop:]
    return data
