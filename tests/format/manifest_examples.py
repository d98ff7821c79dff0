"""One manifest, its body as it is on disk, and envelopes for bodies of any other kind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from keras_probckpt.errors import DamagedCheckpointError
from keras_probckpt.format.digest import digest_hex
from keras_probckpt.format.manifest import decode_manifest
from keras_probckpt.format.signature import KeyRing, SigningKey
from keras_probckpt.records import FileRecord, Manifest, Objective

MINE = SigningKey(bytes(range(32)))
THEIRS = SigningKey(bytes(32))

MANIFEST = Manifest(
    run="5f3a9c01",
    run_number=2,
    step=1200,
    epoch=3,
    batch=None,
    logs={"val_loss": 0.25, "loss": math.inf},
    objective=Objective(monitor="val_loss", mode="min", min_delta=0.5, start_from_epoch=1),
    is_weights_only=False,
    created_at="2026-11-23T03:19:00Z",
    versions={"python": "3.11.7"},
    custom_metadata={"note": "Zoë", "tags": [1, None]},
    files={"model.safetensors": FileRecord(size_bytes=7, blake3="ab" * 32)},
)

BODY = """\
{
 "format_version": 1,
 "run": {
  "id": "5f3a9c01",
  "number": 2
 },
 "step": 1200,
 "epoch": 3,
 "batch": null,
 "logs": {
  "val_loss": 0.25,
  "loss": "inf"
 },
 "objective": {
  "monitor": "val_loss",
  "mode": "min",
  "min_delta": 0.5,
  "start_from_epoch": 1
 },
 "is_weights_only": false,
 "created_at": "2026-11-23T03:19:00Z",
 "versions": {
  "python": "3.11.7"
 },
 "custom_metadata": {
  "note": "Zoë",
  "tags": [
   1,
   null
  ]
 },
 "files": {
  "model.safetensors": {
   "size_bytes": 7,
   "blake3": "abababababababababababababababababababababababababababababababab"
  }
 }
}"""


def decode(data: bytes, keys: KeyRing = KeyRing()) -> tuple[Manifest, str]:  # noqa: B008 - frozen
    """Read a manifest of the checkpoint whose path the expected errors name."""
    return decode_manifest(data, path="runs/a/step-0000001200", keys=keys)


def seal(sealed: bytes) -> bytes:
    """Add the right seal to anything."""
    return sealed + f'"seal":"blake3:{digest_hex(sealed)}"}}\n'.encode()


def envelope(body: str, signature: str = "none") -> bytes:
    """Put any body and signature in a right envelope."""
    return seal(f'{{"manifest":\n{body},\n"signature":"{signature}",\n'.encode())


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    """Give the body with something in it changed."""
    body = json.loads(BODY)
    change(body)
    return json.dumps(body)


def problem_of(data: bytes) -> str:
    """Give the problem for which a manifest is refused as damaged."""
    with pytest.raises(DamagedCheckpointError) as caught:
        decode(data)
    assert (caught.value.path, caught.value.file) == ("runs/a/step-0000001200", "manifest.json")
    return caught.value.problem
