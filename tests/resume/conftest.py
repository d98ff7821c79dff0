"""What the tests of resuming share."""

from __future__ import annotations

import logging
import pathlib

import pytest


@pytest.fixture
def run(tmp_path: pathlib.Path) -> pathlib.Path:
    """Name a run directory that is not there yet."""
    return tmp_path / "runs" / "exp1"


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Listen to what the package says."""
    caplog.set_level(logging.WARNING, "keras_probckpt")
    return caplog
