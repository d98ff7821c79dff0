"""Fixtures of the recipe tests."""

from __future__ import annotations

import pathlib

import pytest


@pytest.fixture
def canary(tmp_path: pathlib.Path) -> pathlib.Path:
    """Give a path at which nothing is until hostile code runs."""
    return tmp_path / "canary"
