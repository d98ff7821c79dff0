"""Who wrote this: telling this process from an earlier one that had the same number."""

from __future__ import annotations

import os
import secrets
import sys

__all__ = ["PROCESS_TOKEN", "is_alive", "is_this_process"]

# A process id alone is not an identity: every container starts at 1, and ids come round again.
PROCESS_TOKEN = secrets.token_hex(4)
"""Random text of this process, 8 hexadecimal digits. A forked child has it too, but another process id."""


def is_this_process(process_id: int, *, token: str) -> bool:
    """Tell whether a process id and a token, found on disk, were written by this very process."""
    return process_id == os.getpid() and token == PROCESS_TOKEN


def is_alive(process_id: int) -> bool:
    """Tell whether a process of this machine has this id. One that belongs to somebody else counts."""
    if sys.platform == "win32":  # pragma: no cover
        # os.kill would end the process there. The lock, which Windows always grants, has shown that nobody else writes.
        return False
    try:
        os.kill(process_id, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
