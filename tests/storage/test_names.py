from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.storage.names import (
    displaced_names,
    holds_only_files_of_ours,
    is_checkpoint_name,
    is_file_of_ours,
    make_hidden_name,
    parse_hidden_name,
    validate_name,
)
from keras_probckpt.storage.process import PROCESS_TOKEN, is_alive
from tests.storage.memory_filesystem import MemoryFileSystem

DIGITS = "0123456789abcdef"


@pytest.mark.parametrize("name", ["step-0000000001", "05-0.25", "best model", "größte", "a.b", "x" * 200])
def test_ordinary_names_are_accepted(name: str) -> None:
    """Whatever a user's template makes, as long as it is one visible directory."""
    validate_name(name)

    assert is_checkpoint_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "it is empty"),
        (".", "it starts with a dot"),
        ("..", "it starts with a dot"),
        (".hidden", "it starts with a dot"),
        ("a/b", "it holds '/'"),
        ("a\\b", "it holds '/'"),
        ("a\0b", "NUL"),
        ("\ud800", "it is not valid Unicode"),
        ("x" * 201, "it is 201 bytes long, the limit is 200"),
        ("ü" * 101, "it is 202 bytes long, the limit is 200"),
    ],
)
def test_other_names_are_refused_with_the_reason(name: str, reason: str) -> None:
    """Where they were given, and not where the file system trips over them."""
    with pytest.raises(ValueError, match="cannot be named") as raised:
        validate_name(name)

    assert reason in str(raised.value)
    assert not is_checkpoint_name(name)


@pytest.mark.parametrize("role", ["partial", "replaced", "removed"])
def test_a_hidden_name_says_what_it_is_about(role: str) -> None:
    """What one process writes, a later one reads."""
    made = make_hidden_name("step-1.partial-2", role=role)

    parsed = parse_hidden_name(str(made))

    assert parsed == made
    assert parsed.name == "step-1.partial-2"
    assert parsed.role == role
    assert parsed.process_id == os.getpid()


def test_the_longest_hidden_name_fits_a_file_system() -> None:
    """255 bytes are what a name may have."""
    name = str(make_hidden_name("x" * 200, role="replaced")).replace(str(os.getpid()), "9999999999")

    assert len(name) == 238


def test_two_hidden_names_are_never_the_same() -> None:
    """Also for the same checkpoint in the same process."""
    assert make_hidden_name("a", role="partial") != make_hidden_name("a", role="partial")


@given(st.text(min_size=1))
def test_names_of_checkpoints_and_hidden_names_are_apart(name: str) -> None:
    """No checkpoint's name is ever taken for a hidden one, whatever its characters."""
    if is_checkpoint_name(name):
        hidden = str(make_hidden_name(name, role="partial"))

        assert parse_hidden_name(name) is None
        assert not is_checkpoint_name(hidden)
        assert parse_hidden_name(hidden).name == name


@pytest.mark.parametrize(
    "text",
    [
        f"step-1.partial-1-{DIGITS}",
        f".step-1.partial-1-{DIGITS[1:]}",
        f".step-1.partial-1-{DIGITS}0",
        f".step-1.partial-1-{DIGITS.upper()}",
        f".step-1.partial-0-{DIGITS}",
        f".step-1.partial-01-{DIGITS}",
        f".step-1.partial--1-{DIGITS}",
        f".step-1.partial-12345678901-{DIGITS}",
        f".step-1.staged-1-{DIGITS}",
        f"..partial-1-{DIGITS}",
        f"..hidden.partial-1-{DIGITS}",
        f".{'x' * 201}.partial-1-{DIGITS}",
        ".lock",
        ".git",
    ],
)
def test_what_is_not_exactly_of_the_pattern_is_not_ours(text: str) -> None:
    """Sweeping deletes by these names, so nothing near them counts."""
    assert parse_hidden_name(text) is None


def test_displaced_checkpoints_are_grouped_by_the_name_they_had() -> None:
    """Only those: what is staged or removed is no checkpoint."""
    names = [
        f".a.replaced-1-{DIGITS}",
        f".a.replaced-2-{DIGITS}",
        f".b.partial-1-{DIGITS}",
        f".c.removed-1-{DIGITS}",
        "a",
    ]

    assert displaced_names(names) == {"a": [f".a.replaced-1-{DIGITS}", f".a.replaced-2-{DIGITS}"]}


@pytest.mark.parametrize(
    ("process_id", "token", "is_live"),
    [
        (os.getpid(), PROCESS_TOKEN + "00000000", True),
        (os.getpid(), "00000000" + PROCESS_TOKEN, False),
        (os.getppid(), "0" * 16, True),
        (1, "0" * 16, True),
        (9_999_999_999, "0" * 16, False),
    ],
    ids=["this one", "another of its id", "its parent", "the first", "none"],
)
def test_a_writer_is_known_by_its_process_and_its_token(process_id: int, token: str, *, is_live: bool) -> None:
    """A container's process has the same id every time: the token tells an earlier one from this one."""
    hidden = parse_hidden_name(f".a.partial-{process_id}-{token}")

    assert hidden.has_live_writer() is is_live


def test_a_process_that_ended_is_not_alive() -> None:
    """As seen by the same user on the same machine."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert not is_alive(process.pid)
    assert is_alive(os.getpid())


def test_a_process_of_another_user_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses a signal only to what is there."""

    def refuse(_process_id: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)

    assert is_alive(4711)


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "recipe.json",
        "recipe.safetensors",
        "model.safetensors",
        "optimizer.safetensors",
        "training.json",
        "training.safetensors",
        "code.pickle",
        "data-position",
        "data-position.index",
        "data-position.data-00000-of-00001",
    ],
)
def test_the_files_of_a_checkpoint_are_ours(name: str) -> None:
    """All that any part of a checkpoint is called."""
    assert is_file_of_ours(name)


@pytest.mark.parametrize(
    "name", ["notes.txt", "model.safetensors.bak", "xmodel.safetensors", "data-position.", "Manifest.json"]
)
def test_any_other_file_is_somebody_elses(name: str) -> None:
    """A directory that holds one is never deleted by a sweep."""
    assert not is_file_of_ours(name)


def test_a_directory_holds_only_files_of_ours_or_it_does_not() -> None:
    """An empty one holds nothing of anybody's; what is no directory holds nothing at all."""
    filesystem = MemoryFileSystem()
    for directory, files in {"empty": [], "ours": ["manifest.json"], "mixed": ["manifest.json", "notes.txt"]}.items():
        filesystem.make_directory(directory)
        for file in files:
            filesystem.write(f"{directory}/{file}", [b""])
    filesystem.write("file", [b""])

    verdicts = {name: holds_only_files_of_ours(filesystem, name) for name in ("empty", "ours", "mixed", "file", "none")}

    assert verdicts == {"empty": True, "ours": True, "mixed": False, "file": False, "none": False}


def test_importing_storage_loads_no_tensorflow() -> None:
    """Listing must be quick: TensorFlow takes seconds to import."""
    root = pathlib.Path(__file__).parents[2]
    program = (
        "import sys, keras_probckpt.storage.catalog, keras_probckpt.storage.store, keras_probckpt.storage.lock;"
        "sys.exit('tensorflow' in sys.modules)"
    )

    finished = subprocess.run([sys.executable, "-c", program], cwd=root, check=False)

    assert finished.returncode == 0
