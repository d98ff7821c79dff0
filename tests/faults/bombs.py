"""Small files that ask for much, each read in a process that may take little.

    python -m tests.faults.bombs

Prints, as JSON, what became of each. A process of its own, without TensorFlow, because it forks and limits its memory.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import sys
from collections.abc import Callable, Iterator

from tests.faults.parsers import PARSERS, Parser

# Parsed JSON is Python objects: thirty times its own size, and its text is held twice beside them.
FACTOR = 50
CONSTANT_BYTES = 64 * 1024 * 1024
MEGABYTE = 1024 * 1024


def _with_header(header: bytes, *, length: int | None = None, rest: bytes = b"") -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + rest


def _manifest(extra: str) -> bytes:
    """Put text into the body of a manifest, and seal it again."""
    parser = PARSERS["manifest without a key"]
    return parser.mend(parser.seeds[0].replace(b'"custom_metadata": {', f'"custom_metadata": {{{extra}'.encode()))


def bombs() -> Iterator[tuple[str, str, bytes]]:
    """Give each bomb: the parser, its name, its bytes."""
    yield "tensors", "a header that claims 2^63 - 1 bytes", _with_header(b"{}", length=2**63 - 1)
    yield "tensors", "a header that claims 2^64 - 1 bytes", _with_header(b"{}", length=2**64 - 1)
    huge = b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,8]}}'
    yield "tensors", "a shape of 2^63", _with_header(huge % b"9223372036854775808", rest=bytes(8))
    yield "tensors", "a million axes", _with_header(huge % (b"1," * 999_999 + b"1"), rest=bytes(8))
    yield "tensors", "an axis of 400 digits", _with_header(huge % (b"9" * 400), rest=bytes(8))
    empty = b'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    entries = b",".join(b'"%d":%s' % (number, empty) for number in range(20_000))
    yield "tensors", "twenty thousand empty arrays", _with_header(b"{" + entries + b"}")
    yield "strict JSON", "a megabyte of opening brackets", b"[" * MEGABYTE
    yield "strict JSON", "a megabyte of empty lists", b"[" + b"[]," * (MEGABYTE // 3) + b"[]]"
    yield "strict JSON", "a megabyte of empty objects", b"[" + b"{}," * (MEGABYTE // 3) + b"{}]"
    yield "strict JSON", "a megabyte of digits", b"9" * MEGABYTE
    yield "strict JSON", "an exponent of a billion", b"1e1000000000"
    yield "strict JSON", "a megabyte of escapes", b'"' + rb"\u0041" * (MEGABYTE // 6) + b'"'
    yield "strict JSON", "one character far beyond the others", b'"' + b"a" * MEGABYTE + "\U0001f600".encode() + b'"'
    yield "strict JSON", "a megabyte of one key", b"{" + b'"a":1,' * (MEGABYTE // 6) + b'"a":1}'
    yield "strict JSON", "a hundred thousand keys", b"{%s}" % b",".join(b'"%d":1' % number for number in range(100_000))
    yield "recipe", "a million variables", b'{"variables":[' + b"{}," * 300_000 + b"{}]}"
    yield "recipe", "a name of a megabyte", b'{"variables":[{"path":"' + b"x" * MEGABYTE + b'","shape":[],"dtype":3}]}'
    yield "recipe", "a dimension beyond all", b'{"variables":[{"path":"a","shape":[%s],"dtype":"f"}]}' % (b"9" * 300)
    yield "manifest without a key", "metadata of a megabyte", _manifest('"a": [' + "[]," * (MEGABYTE // 3) + "[]]")
    yield "manifest without a key", "a thousand brackets", _manifest('"a": ' + "[" * 1000 + "]" * 1000)
    yield "keys", "a megabyte of commas", b"," * MEGABYTE
    yield "names", "a megabyte of dots", b"." * MEGABYTE
    yield "names", "a name that nearly matches", b".a.partial-1-" * 50_000


def outcome_of(parser: Parser, data: bytes) -> str:
    """Read a bomb in a child with little memory; say how that ended."""
    child = os.fork()
    if child == 0:
        os._exit(_read_limited(lambda: parser.survives(data), limit_bytes=CONSTANT_BYTES + FACTOR * len(data)))
    _, status = os.waitpid(child, 0)
    return {0: "read", 1: "refused", 2: "out of memory", 3: "another error"}.get(
        os.waitstatus_to_exitcode(status), "dead"
    )


def _read_limited(read: Callable[[], bool], *, limit_bytes: int) -> int:
    used = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + limit_bytes, used + limit_bytes))
    # What takes for ever is as good as dead.
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    try:
        return 0 if read() else 1
    except MemoryError:
        return 2
    except BaseException:  # noqa: BLE001 - told by its number
        return 3


if __name__ == "__main__":
    said = {f"{name}: {bomb}": outcome_of(PARSERS[name], data) for name, bomb, data in bombs()}
    said["a bomb that does go off"] = outcome_of(Parser(parse=lambda _: bytearray(1 << 30), refusals=(), seeds=()), b"")
    sys.stdout.write(json.dumps(said, indent=1))
