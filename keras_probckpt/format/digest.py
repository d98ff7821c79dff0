"""Content digests: BLAKE3, fed buffer by buffer so that nothing is joined or copied to be digested."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import blake3

__all__ = ["Buffer", "Digest", "digest_hex", "digest_of"]

Buffer: TypeAlias = bytes | bytearray | memoryview


class Digest:
    """The digest of a stream of bytes, as far as it has been fed.

    Args:
        on_all_cores: Use every core for each chunk: for few large chunks that somebody waits for.

    Source: the BLAKE3 paper (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020); 32 bytes of output, no key.
    """

    def __init__(self, *, on_all_cores: bool = False) -> None:
        """Start with no bytes."""
        self._state = blake3.blake3(max_threads=blake3.blake3.AUTO if on_all_cores else 1)

    def update(self, chunk: Buffer) -> None:
        """Add the bytes of one C-contiguous buffer, of any item format, without copying them."""
        view = memoryview(chunk)
        # An empty view of several axes cannot be cast, and adds nothing.
        if view.nbytes:
            self._state.update(view.cast("B"))

    def hexdigest(self) -> str:
        """Give the digest of all bytes so far, 64 lower-case hexadecimal digits; more may be added after."""
        return str(self._state.hexdigest())


def digest_of(chunks: Iterable[Buffer]) -> str:
    """Digest the chunks as if they were one.

    Example:
        >>> digest_of([b"ab", b"c"]) == digest_hex(b"abc")
        True
    """
    digest = Digest()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def digest_hex(data: Buffer) -> str:
    """Digest one buffer.

    Example:
        >>> digest_hex(b"")[:16]
        'af1349b9f5f9a1a6'
    """
    return digest_of((data,))
