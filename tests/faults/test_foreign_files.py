"""Nothing is ever deleted that this library did not write, whatever it is called and wherever it is."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import warnings

import pytest

from keras_probckpt.errors import CheckpointError
from keras_probckpt.storage.names import make_hidden_name
from keras_probckpt.storage.run import RunWriter
from keras_probckpt.storage.store import CheckpointStore
from tests.counts import count
from tests.storage.samples import DEAD_PROCESS, files_of, manifest_of, store_of

DEAD = f"{DEAD_PROCESS}-0123456789abcdef"
CHECKPOINTS = ("a", "best", "step-0000000001")
# Directories of a run: visible, hidden as ours are, and hidden nearly so.
PLACES = (
    "",
    "notes",
    "c",
    ".git",
    "a",
    "best",
    "step-0000000001",
    f".a.partial-{DEAD}",
    f".a.replaced-{DEAD}",
    f".best.removed-{DEAD}",
    f".best.partial-{DEAD}0",
    ".best.partial-1",
    f"a.partial-{DEAD}",
    f".a.partial-{os.getppid()}-0123456789abcdef",
)
NAMES = (
    "notes.txt",
    "manifest.json.bak",
    "weights.h5",
    ".hidden",
    "Model.safetensors",
    "data-position/x",
    "plots/a/b.png",
)
# Files of the user's that stand where a checkpoint might, or a hidden directory.
FILES = ("best.keras", "manifest.json", f".b.partial-{DEAD}", "a", ".lock")


def scatter(run: pathlib.Path, elsewhere: pathlib.Path, dice: random.Random) -> set[bytes]:
    """Put the user's files everywhere; give what they hold, each something else."""
    mine = set()
    for number in range(dice.randrange(1, 12)):
        path = run / dice.choice(PLACES) / dice.choice(NAMES) if dice.random() < 0.8 else run / dice.choice(FILES)
        content = f"mine {number}".encode()
        with contextlib.suppress(OSError):  # a file is where a directory should be, or the other way round
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
            mine.add(content)
    with contextlib.suppress(OSError):
        (run / dice.choice(PLACES[1:]) / "link").symlink_to(elsewhere)
        (run / f".{dice.choice(CHECKPOINTS)}.removed-{DEAD}").symlink_to(elsewhere)
    return mine


def found_in(*directories: pathlib.Path) -> set[bytes]:
    """Collect what the user's files hold, wherever they are now."""
    paths = (path for directory in directories for path in directory.rglob("*"))
    contents = {path.read_bytes() for path in paths if path.is_file() and not path.is_symlink()}
    return {content for content in contents if content.startswith(b"mine")}


def act_at_random(run: pathlib.Path, dice: random.Random) -> None:
    """Do one of the things that this library does to a directory."""
    name, step = dice.choice(CHECKPOINTS), dice.randrange(5)
    store = store_of(run)
    action = dice.choice(["commit", "remove", "sweep", "open", "die"])
    if action == "commit":
        store.commit(name, manifest=manifest_of(step), files=files_of(step))
    elif action == "remove":
        for info in store.scan().checkpoints[:1]:
            store.remove(info)
    elif action == "sweep":
        store.sweep()
    elif action == "open":
        writer = RunWriter(run)
        writer.open()
        writer.close()
    else:
        leave_hidden(store, run, dice)


def leave_hidden(store: CheckpointStore, run: pathlib.Path, dice: random.Random) -> None:
    """Leave a checkpoint under a hidden name, as a writer that died."""
    for info in store.scan().checkpoints[:1]:
        if not info.name.startswith("."):
            hidden = make_hidden_name(info.name, role=dice.choice(["partial", "replaced", "removed"]))
            info.path.rename(run / f".{hidden.name}.{hidden.role}-{DEAD_PROCESS}-{hidden.token}")


def live_with(run: pathlib.Path, elsewhere: pathlib.Path, *, seed: int) -> None:
    """Scatter files, do many things, scatter more; every file is still there."""
    dice = random.Random(seed)  # noqa: S311 - to be the same in every run of the tests
    elsewhere.mkdir()
    (elsewhere / "precious").write_bytes(b"mine")
    run.mkdir()
    for _ in range(3):
        mine = scatter(run, elsewhere, dice) | found_in(run, elsewhere)
        for _ in range(8):
            with warnings.catch_warnings(), contextlib.suppress(CheckpointError, FileExistsError):
                warnings.simplefilter("ignore", UserWarning)
                act_at_random(run, dice)
            count("actions among a user's files")
        assert found_in(run, elsewhere) == mine, seed


def test_a_users_files_outlive_whatever_is_done(tmp_path: pathlib.Path) -> None:
    """Commits, removals, sweeps, leftovers of dead writers: files beside, inside and instead of checkpoints stay."""
    for seed in range(40):
        live_with(tmp_path / f"run-{seed}", tmp_path / f"elsewhere-{seed}", seed=seed)


@pytest.mark.long
def test_a_users_files_outlive_whatever_is_done_for_long(tmp_path: pathlib.Path) -> None:
    """The same, many times over."""
    for seed in range(1000, 3000):
        live_with(tmp_path / f"run-{seed}", tmp_path / f"elsewhere-{seed}", seed=seed)
