"""What every test may rely on: its own signing key, and fresh processes that find this checkout; and the counts."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any, Protocol

import hypothesis
import pytest

from tests.counts import COUNTS

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent

# Before anything imports TensorFlow: its start-up messages would bury a failure's output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# No test is about time: on a machine that does other work besides, any example may take long.
hypothesis.settings.register_profile("any-machine", deadline=None)
hypothesis.settings.load_profile("any-machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest: at the end, one of two processes would wait for it."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/zoo"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what was counted to the process that prints it, where several share the tests."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counts"] = dict(COUNTS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what one of several processes counted."""
    COUNTS.update(getattr(node, "workeroutput", {}).get("counts", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts. A loss or a wrong answer is a test that fails, so here there are only numbers."""
    if COUNTS:
        terminalreporter.section("faults survived")
    for what in sorted(COUNTS):
        terminalreporter.line(f"{COUNTS[what]:>10,} {what}")


@pytest.fixture(autouse=True)
def config_directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Give each test a user's config directory of its own: no test makes, reads or signs with the real user's key."""
    directory = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory))
    monkeypatch.delenv("KERAS_PROBCKPT_KEY", raising=False)
    return directory


class FreshPython(Protocol):
    """Run a Python program in a new process, in the test's `tmp_path`."""

    def __call__(self, *arguments: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `python arguments...` with this checkout importable.

        Args:
            *arguments: As after `python` on a command line, such as `"-c", "print(1)"`.
            succeeds: Whether the program must exit with 0. If it does not, the test fails and shows what it printed.
        """
        ...


@pytest.fixture
def fresh_python(tmp_path: pathlib.Path) -> FreshPython:
    """Start programs in new processes: what a later process of the user's would see."""

    def run(*arguments: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        finished = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if succeeds and finished.returncode != 0:
            pytest.fail(f"exit code {finished.returncode}\n{finished.stdout}\n{finished.stderr}")
        return finished

    return run
