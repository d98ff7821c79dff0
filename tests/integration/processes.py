"""Programs of users, each in a process of its own, several at a time."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

from tests.conftest import CHECKOUT


def start(directory: pathlib.Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start `python arguments...` in a directory, by a user whose signing key is kept there."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "XDG_CONFIG_HOME": str(directory / "config"), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outputs(processes: Mapping[str, subprocess.Popen[str]]) -> dict[str, str]:
    """Wait for all and give what each printed.

    Raises:
        AssertionError: If one failed, with what it said.
    """
    printed = {}
    for name, process in processes.items():
        output, errors = process.communicate()
        assert process.returncode == 0, f"{name}: exit code {process.returncode}\n{output}\n{errors}"
        printed[name] = output
    return printed
