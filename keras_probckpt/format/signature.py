"""Who vouches for a checkpoint: HMAC-SHA256 under a secret that the writer and the reader share."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re

from keras_probckpt.errors import InvalidKeyError

__all__ = ["SECRET_BYTES", "KeyRing", "SigningKey", "parse_keys"]

SECRET_BYTES = 32

_KEY_HEX = re.compile(r"[0-9a-fA-F]{64}")
_KEY_ID_DOMAIN = b"keras-probckpt key id\0"


@dataclasses.dataclass(frozen=True)
class SigningKey:
    """A secret that signs and verifies. Its `repr` does not show it.

    Attributes:
        secret: 32 bytes, random.
    """

    secret: bytes = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        """Refuse a secret of any other length."""
        if len(self.secret) != SECRET_BYTES:
            raise ValueError(f"the secret of a signing key has {SECRET_BYTES} bytes, this one has {len(self.secret)}")

    @property
    def key_id(self) -> str:
        """Public name of the key, 16 hexadecimal digits, from which the secret cannot be found."""
        return hashlib.sha256(_KEY_ID_DOMAIN + self.secret).hexdigest()[:16]

    def sign(self, data: bytes) -> str:
        """Sign the data.

        Returns:
            64 lower-case hexadecimal digits.

        Source: RFC 2104 with SHA-256.
        """
        return hmac.new(self.secret, data, hashlib.sha256).hexdigest()

    def verify(self, data: bytes, *, signature: str) -> bool:
        """Tell whether this key gave the signature, in a time that does not depend on where it differs."""
        return hmac.compare_digest(self.sign(data).encode(), signature.encode("utf-8", "backslashreplace"))


@dataclasses.dataclass(frozen=True)
class KeyRing:
    """The reader's own keys: the first signs, all of them verify, so that a key can be replaced without a break.

    Attributes:
        keys: The keys. None at all is a ring that signs nothing and vouches for nothing.
    """

    keys: tuple[SigningKey, ...] = ()

    @property
    def signing_key(self) -> SigningKey | None:
        """The key that signs."""
        return self.keys[0] if self.keys else None

    def find(self, key_id: str) -> SigningKey | None:
        """Give the key of that name, if it is in the ring."""
        return next((key for key in self.keys if key.key_id == key_id), None)


def parse_keys(text: str, *, source: str) -> KeyRing:
    """Read keys as users write them: 64 hexadecimal digits each, separated by commas.

    Args:
        text: The keys, the signing one first. Space around a key is not part of it.
        source: Where the text comes from, such as `"KERAS_PROBCKPT_KEY"`, for the error.

    Raises:
        InvalidKeyError: If any of them is not a key. No part of the text is in the error.

    Example:
        >>> parse_keys("00" * 32, source="the example").keys[0].key_id
        '377c731bfb0fef28'
    """
    parts = [part.strip() for part in text.split(",")]
    for position, part in enumerate(parts, start=1):
        if not _KEY_HEX.fullmatch(part):
            problem = f"key {position} of {len(parts)} {_problem_of(part)}"
            raise InvalidKeyError(source=source, problem=problem)
    return KeyRing(tuple(SigningKey(bytes.fromhex(part)) for part in parts))


def _problem_of(part: str) -> str:
    if not part:
        return "is empty"
    if len(part) != 2 * SECRET_BYTES:
        return f"has {len(part)} characters, not {2 * SECRET_BYTES}"
    return "holds a character that is not a hexadecimal digit"
