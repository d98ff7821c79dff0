from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from tests.conftest import CHECKOUT, FreshPython
from tests.counts import count
from tests.faults.system_calls import losses_of_a_power_cut


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    """Keep what the killing said, for the tests that ask it different things."""
    return {}


def killing(said: dict[str, Any], place: pathlib.Path, fresh_python: FreshPython) -> dict[str, Any]:
    """Kill a writer at each of its system calls, once for all tests."""
    if not said:
        finished = fresh_python("-m", "tests.faults.killed_writer", str(place))
        said.update(json.loads(finished.stdout))
        count("system calls at which a writer was killed", said["cuts"])
    return said


def test_a_writer_that_is_killed_at_any_system_call_loses_nothing(
    said: dict[str, Any], tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """Lock, sweep, key, commits, removal: a fresh reader finds what was committed, and the next writer goes on."""
    found = killing(said, tmp_path, fresh_python)

    assert "\n".join(found["problems"]) == ""
    assert found["cuts"] > found["calls"] > 60


def test_no_sync_is_missing_in_what_a_writer_really_does(
    said: dict[str, Any], tmp_path: pathlib.Path, fresh_python: FreshPython
) -> None:
    """Each file before its directory, each directory before its new name, each name before anything is deleted."""
    assert killing(said, tmp_path, fresh_python)["losses"] == []


HIDDEN = "/runs/.a.partial-1-0123456789abcdef"
WELL_DONE = [
    ("mkdir", HIDDEN),
    ("create", f"{HIDDEN}/model"),
    ("write", f"{HIDDEN}/model"),
    ("fsync", f"{HIDDEN}/model"),
    ("fsync", HIDDEN),
    ("rename", HIDDEN, "/runs/a"),
    ("fsync", "/runs"),
    ("unlink", "old"),
]


@pytest.mark.parametrize(
    ("forgotten", "loss"),
    [
        (3, f"{HIDDEN}/model was not synced after its last write"),
        (4, f"the entry of {HIDDEN}/model was not synced"),
        (6, "the entry of /runs/a was not synced"),
    ],
)
def test_a_missing_sync_is_seen(forgotten: int, loss: str) -> None:
    """Of the file, of its directory, of the directory above: each by its own."""
    calls = [call for number, call in enumerate(WELL_DONE) if number != forgotten]

    assert losses_of_a_power_cut(WELL_DONE) == []
    assert loss in losses_of_a_power_cut(calls)


def test_a_sync_that_comes_too_late_is_seen() -> None:
    """After the rename is after the commit, and after the deletion there is nothing left to go back to."""
    late_file = [*WELL_DONE[:3], *WELL_DONE[4:6], WELL_DONE[3], *WELL_DONE[6:]]
    late_commit = [*WELL_DONE[:6], WELL_DONE[7], WELL_DONE[6]]

    assert losses_of_a_power_cut(late_file) == [f"{HIDDEN}/model was not synced after its last write"]
    assert losses_of_a_power_cut(late_commit) == ["the entry of /runs/a was not synced"]


def test_the_tests_of_system_calls_see_all_of_them() -> None:
    """A call of another name would go past the tap: the storage modules make none."""
    makers = ("os.replace", "os.renames", "os.makedirs", "os.pwrite", "os.fdatasync", "write_bytes", "write_text")
    sources = "".join(path.read_text() for path in (CHECKOUT / "keras_probckpt" / "storage").glob("*.py"))

    assert [name for name in makers if name in sources] == []
