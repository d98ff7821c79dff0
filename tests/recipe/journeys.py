"""The way of a value through a checkpoint's files and back, as a restore in another process takes it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tf_keras as tfk

from keras_probckpt.format import strict_json
from keras_probckpt.format.tensors import decode_tensors, encode_tensors
from keras_probckpt.recipe.codec import Decoder, Node
from keras_probckpt.recipe.document import Recipe, describe
from keras_probckpt.recipe.functions import pack
from keras_probckpt.recipe.kinds import ALL_KINDS, new_encoder
from keras_probckpt.recipe.trust import Trust
from keras_probckpt.records import CheckpointInfo, SignatureState
from keras_probckpt.training.variables import find_layers

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


def info_of(signature: SignatureState = "own") -> CheckpointInfo:
    """Describe a checkpoint of which only the signature matters."""
    return CheckpointInfo(
        run="00000001",
        run_number=1,
        step=1,
        epoch=1,
        batch=None,
        logs={},
        objective=None,
        is_weights_only=False,
        created_at="2026-11-23T12:00:00+00:00",
        versions={},
        custom_metadata={},
        files={},
        path=pathlib.Path("run/step-0000000001"),
        signature=signature,
    )


def trust_of(
    signature: SignatureState = "own",
    *,
    trusted: bool | Iterable[str] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    code: bytes | Callable[[], bytes] = b"",
) -> Trust:
    """Say what may run: of one's own checkpoint all, of others nothing but what is named."""
    read_code = code if callable(code) else lambda: code
    return Trust(info_of(signature), trusted=trusted, custom_objects=custom_objects, read_code=read_code)


@dataclasses.dataclass(frozen=True)
class Written:
    """What the files of a checkpoint hold of one value.

    Attributes:
        document: `{"value": ..., "externals": ...}`, as read from `recipe.json`.
        arrays: As read from `recipe.safetensors`.
        code: Content of `code.pickle`.
    """

    document: dict[str, Node]
    arrays: Arrays
    code: bytes | None

    @property
    def node(self) -> Node:
        """What stands for the value itself."""
        return self.document["value"]

    def read(self, trust: Trust | None = None) -> Any:
        """Decode it, by default with the trust that one's own checkpoints have."""
        trust = trust or trust_of(code=self.code or b"")
        how = {"document": self.document, "is_trusted": trust.trusts_all}
        decoder = Decoder(ALL_KINDS, arrays=self.arrays, resolve=trust.resolve, **how)
        return decoder.decode(self.node, "value")


def written(value: Any) -> Written:
    """Encode a value and pass it through the bytes of `recipe.json` and `recipe.safetensors`."""
    encoder = new_encoder()
    document = {"value": encoder.encode(value, "value"), "externals": encoder.externals}
    data = strict_json.dumps(document)
    arrays = decode_tensors(b"".join(encode_tensors(encoder.arrays)), where="recipe.safetensors")
    return Written(
        document=strict_json.loads(data, where="recipe.json", limit_bytes=len(data)),
        arrays=arrays,
        code=pack(encoder.code),
    )


def described(model: tfk.Model, **how: Any) -> Recipe:
    """Describe a model as a manager does."""
    return describe(model, find_layers(model), **how)


def read(node: Node, *, arrays: Arrays | None = None, trust: Trust | None = None) -> Any:
    """Decode a node that somebody wrote by hand."""
    return Written({"value": node}, arrays or {}, None).read(trust or trust_of())


def round_trip(value: Any) -> Any:
    """Encode a value, write it, read it, decode it."""
    return written(value).read()
