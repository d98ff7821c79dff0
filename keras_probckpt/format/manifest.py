"""`manifest.json`: the one file that says what a checkpoint is, sealed against damage and signed against forgery.

Its envelope is fixed for all format versions; what is inside it, the body, is `manifest_body`'s for version 1.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from keras_probckpt.errors import DamagedCheckpointError, TamperedCheckpointError, UnsupportedFormatError
from keras_probckpt.format import strict_json
from keras_probckpt.format.digest import digest_hex
from keras_probckpt.format.manifest_body import MANIFEST_NAME, ManifestFormatError, body_of, manifest_of
from keras_probckpt.format.signature import KeyRing, SigningKey
from keras_probckpt.records import Manifest, SignatureState

__all__ = ["FORMAT_VERSION", "LIMIT_MANIFEST_BYTES", "MANIFEST_NAME", "decode_manifest", "encode_manifest"]

FORMAT_VERSION = 1
LIMIT_MANIFEST_BYTES = 16 * 1024 * 1024

_OPENING = b'{"manifest":\n'
_SIGNATURE_LINE = re.compile(rb',\n"signature":"([^"\\\x00-\x1f]*)",\n\Z')
_SEAL_LINE_BYTES = len(b'"seal":"blake3:"}\n') + 64
_UNSIGNED = "none"
_SIGNED = re.compile(r"hmac-sha256:([0-9a-f]{16}):([0-9a-f]{64})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Envelope:
    body: bytes
    signature: str


def encode_manifest(manifest: Manifest, *, key: SigningKey | None) -> bytes:
    """Write a manifest as the whole of `manifest.json`.

    Args:
        manifest: What to write; its `custom_metadata` holds JSON values only.
        key: The key to sign with; `None` leaves it unsigned.

    Raises:
        ValueError: If `decode_manifest` would refuse it. The message names the field.

    Example:
        SPEC.md has one under "manifest.json", which runs as a test.
    """
    if manifest.format_version != FORMAT_VERSION:
        raise ValueError(
            f"this release writes format version {FORMAT_VERSION}, the manifest says {manifest.format_version}"
        )
    body = strict_json.dumps(body_of(manifest), indent=1)
    signature = _UNSIGNED if key is None else f"hmac-sha256:{key.key_id}:{key.sign(body)}"
    sealed = _OPENING + body + f',\n"signature":"{signature}",\n'.encode()
    data = sealed + _seal_line(sealed)
    if len(data) > LIMIT_MANIFEST_BYTES:
        raise ValueError(f"the manifest has {len(data)} bytes, more than the {LIMIT_MANIFEST_BYTES} that are read")
    return data


def decode_manifest(data: bytes, *, path: str, keys: KeyRing) -> tuple[Manifest, SignatureState]:
    """Read the whole of `manifest.json`, and tell who vouches for it.

    Args:
        data: The bytes of the file.
        path: The checkpoint's directory, for errors.
        keys: The reader's own keys.

    Returns:
        The manifest; and `"own"` if one of `keys` signed it, `"foreign"` if some other key is said to have,
        `"unsigned"` if none is.

    Raises:
        DamagedCheckpointError: If the bytes are not exactly those that were written.
        UnsupportedFormatError: If they are in the format of a later release.
        TamperedCheckpointError: If one of `keys` is said to have signed them and did not.

    Example:
        SPEC.md has one under "manifest.json", which runs as a test.
    """
    try:
        envelope = _open(data)
        # Whoever lists a directory has all its manifests in memory: what they take is a small multiple of their bytes.
        limit_containers = 10_000 + len(envelope.body) // 16
        limits = {"limit_bytes": LIMIT_MANIFEST_BYTES, "limit_containers": limit_containers}
        body = strict_json.loads(envelope.body, where="its body", **limits)
        _require_known_version(body, path=path)
        state = _signature_state(envelope, path=path, keys=keys)
        return manifest_of(body), state
    except (ManifestFormatError, strict_json.StrictJsonError) as error:
        raise DamagedCheckpointError(path=path, file=MANIFEST_NAME, problem=str(error)) from None


def _open(data: bytes) -> _Envelope:
    if len(data) > LIMIT_MANIFEST_BYTES:
        raise ManifestFormatError(f"it has {len(data)} bytes, more than the {LIMIT_MANIFEST_BYTES} that are read")
    sealed, seal = data[:-_SEAL_LINE_BYTES], data[-_SEAL_LINE_BYTES:]
    expected = _seal_line(sealed)
    if seal != expected:
        raise ManifestFormatError(f"its {len(data)} bytes ought to end in the seal {expected!r}, and end in {seal!r}")
    line = _SIGNATURE_LINE.search(sealed)
    if line is None or not sealed.startswith(_OPENING):
        raise ManifestFormatError("it is not laid out in a manifest, a signature and a seal")
    return _Envelope(body=sealed[len(_OPENING) : line.start()], signature=line[1].decode("utf-8", "replace"))


def _seal_line(sealed: bytes) -> bytes:
    return f'"seal":"blake3:{digest_hex(sealed)}"}}\n'.encode()


def _require_known_version(body: Any, *, path: str) -> None:
    found = body.get("format_version") if isinstance(body, dict) else None
    if type(found) is not int or found < 1:
        raise ManifestFormatError(
            f"its field format_version is {strict_json.preview(found)}, expected a whole number from 1 up"
        )
    if found > FORMAT_VERSION:
        raise UnsupportedFormatError(path=path, found_version=found, supported_version=FORMAT_VERSION)


def _signature_state(envelope: _Envelope, *, path: str, keys: KeyRing) -> SignatureState:
    if envelope.signature == _UNSIGNED:
        return "unsigned"
    parts = _SIGNED.fullmatch(envelope.signature)
    if parts is None:
        found = strict_json.preview(envelope.signature)
        raise ManifestFormatError(f"its signature is {found}, expected 'none' or 'hmac-sha256:<key id>:<64 digits>'")
    key_id, signature = parts.groups()
    key = keys.find(key_id)
    if key is None:
        return "foreign"
    if not key.verify(envelope.body, signature=signature):
        raise TamperedCheckpointError(path=path, key_id=key_id)
    return "own"
