from __future__ import annotations

import dataclasses
import doctest
import json
import os
import pathlib
import shutil
from typing import Any

import blake3
import pytest

from keras_probckpt.errors import CheckpointNotFoundError, DamagedCheckpointError
from keras_probckpt.records import FileRecord, Requirement, VariableRecord
from keras_probckpt.storage import catalog
from keras_probckpt.storage.catalog import (
    LIMIT_RECIPE_BYTES,
    inspect_checkpoint,
    list_checkpoints,
    verify_checkpoint,
)
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.names import make_hidden_name
from keras_probckpt.storage.store import CheckpointStore
from tests.conftest import FreshPython
from tests.storage.samples import FIRST_RUN, OTHER_KEYS, SECOND_RUN, manifest_of, store_of

RECIPE = {
    "model": {"$": "import", "module": "mypkg.models", "name": "Regressor"},
    "variables": [{"path": "hidden/kernel", "shape": [10, 8], "dtype": "float32"}],
}


def commit_recipe(directory: pathlib.Path, recipe: bytes) -> pathlib.Path:
    """Commit step 3 with this recipe."""
    return store_of(directory).commit("step-0000000003", manifest=manifest_of(3), files={"recipe.json": [recipe]}).path


def test_the_listing_is_ascending_and_knows_who_signed(run: pathlib.Path) -> None:
    """Two of our own, and one of somebody else's in between."""
    foreign = CheckpointStore(LocalFileSystem(run), keys=OTHER_KEYS)
    foreign.commit("a", manifest=manifest_of(1, run=SECOND_RUN, run_number=2), files={})

    infos = list_checkpoints(run)

    assert [(info.run, info.step, info.signature) for info in infos] == [
        (FIRST_RUN, 1, "own"),
        (FIRST_RUN, 2, "own"),
        (SECOND_RUN, 1, "foreign"),
    ]
    assert list_checkpoints(run, run=SECOND_RUN) == infos[2:]
    assert list_checkpoints(run / "step-0000000002") == infos[1:2]


def test_a_directory_in_which_nothing_was_saved_yet_lists_nothing(tmp_path: pathlib.Path) -> None:
    """Empty, or held by a training; one that holds other things is probably not the one that was meant."""
    assert list_checkpoints(tmp_path) == ()
    (tmp_path / ".lock").touch()
    assert list_checkpoints(tmp_path) == ()

    (tmp_path / "data.csv").touch()

    with pytest.raises(CheckpointNotFoundError, match=r"without checkpoints, which holds data\.csv"):
        list_checkpoints(tmp_path)
    with pytest.raises(CheckpointNotFoundError, match="there is nothing of that name"):
        list_checkpoints(tmp_path / "other")


def test_an_unknown_run_is_answered_with_those_there_are(run: pathlib.Path) -> None:
    """By their ids."""
    with pytest.raises(CheckpointNotFoundError, match=rf"no checkpoint of run 'nope'.*The runs there: {FIRST_RUN}\."):
        list_checkpoints(run, run="nope")


def test_a_damaged_checkpoint_is_named_and_the_rest_is_listed(run: pathlib.Path) -> None:
    """It is not silently dropped."""
    (run / "step-0000000001" / "manifest.json").write_bytes(b"")

    with pytest.warns(UserWarning, match=r"step-0000000001/manifest\.json is damaged") as warned:
        infos = list_checkpoints(run)

    assert [info.name for info in infos] == ["step-0000000002"]
    assert pathlib.Path(warned[0].filename) == pathlib.Path(__file__)


def test_a_run_with_nothing_readable_lists_nothing_and_has_no_newest(run: pathlib.Path) -> None:
    """The warning says why, and no run's id is known."""
    for name in ("step-0000000001", "step-0000000002"):
        (run / name / "manifest.json").write_bytes(b"")

    with pytest.warns(UserWarning, match="is damaged"):
        assert list_checkpoints(run) == ()
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(CheckpointNotFoundError, match="The runs there: none"),
    ):
        list_checkpoints(run, run=FIRST_RUN)
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(CheckpointNotFoundError, match="none of its checkpoints can be read"),
    ):
        verify_checkpoint(run)


def test_the_one_checkpoint_that_is_asked_for_raises_its_damage(run: pathlib.Path) -> None:
    """No warning and no other in its place."""
    (run / "step-0000000001" / "manifest.json").write_bytes(b"")

    for function in (list_checkpoints, inspect_checkpoint, verify_checkpoint):
        with pytest.raises(DamagedCheckpointError, match=r"step-0000000001/manifest\.json is damaged"):
            function(run / "step-0000000001")


def test_a_crash_between_two_renames_is_found_by_every_function(run: pathlib.Path) -> None:
    """The only checkpoint there is has a hidden name."""
    shutil.rmtree(run / "step-0000000001")
    hidden = str(make_hidden_name("step-0000000002", role="replaced"))
    (run / "step-0000000002").rename(run / hidden)

    (info,) = list_checkpoints(run)

    assert info.path == run / hidden
    assert verify_checkpoint(info.path) == verify_checkpoint(run) == info


def test_inspection_shows_variables_and_requirements(run: pathlib.Path) -> None:
    """Of one checkpoint, or of the newest; nothing is imported."""
    path = commit_recipe(run, json.dumps(RECIPE).encode())

    details = inspect_checkpoint(path)

    assert details == inspect_checkpoint(run)
    assert details.step == 3
    assert details.variables == (VariableRecord(path="hidden/kernel", shape=(10, 8), dtype="float32"),)
    assert details.requires == (Requirement(kind="import", module="mypkg.models", name="Regressor"),)


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        (b"[]", "the recipe's variables are None"),
        (b'{"variables": [7]}', r"variables\[0\] is 7"),
        (b'{"a": 1, "a": 2}', "repeats the key 'a'"),
        (b"\xff", "is not UTF-8"),
        (b"{", "is not JSON"),
    ],
)
def test_a_recipe_that_says_nothing_sensible_is_damage(run: pathlib.Path, recipe: bytes, problem: str) -> None:
    """The message names the file and what is wrong in it."""
    path = commit_recipe(run, recipe)

    with pytest.raises(DamagedCheckpointError, match=rf"step-0000000003/recipe\.json is damaged: .*{problem}"):
        inspect_checkpoint(path)


def test_a_checkpoint_without_a_recipe_says_so(run: pathlib.Path) -> None:
    """A manifest may record no recipe, and then there is nothing to inspect."""
    store_of(run).commit("step-0000000003", manifest=manifest_of(3), files={})

    with pytest.raises(DamagedCheckpointError, match="the manifest does not record it"):
        inspect_checkpoint(run)


def test_a_recipe_above_the_limit_is_refused_before_it_is_read(run: pathlib.Path) -> None:
    """The manifest's word for its size is enough."""
    store = store_of(run)
    info = store.open("step-0000000001")
    record = FileRecord(size_bytes=LIMIT_RECIPE_BYTES + 1, blake3="0" * 64)

    with pytest.raises(DamagedCheckpointError, match="it has 268435457 bytes, the limit is 268435456"):
        catalog.read_recipe(store, dataclasses.replace(info, files={"recipe.json": record}))


def test_verification_names_the_file_of_a_single_flipped_bit(run: pathlib.Path) -> None:
    """Whichever file it is."""
    for name in ("recipe.json", "model.safetensors"):
        path = run / "step-0000000001" / name
        before = path.read_bytes()
        path.write_bytes(bytes([before[0] ^ 1]) + before[1:])

        with pytest.raises(DamagedCheckpointError) as raised:
            verify_checkpoint(run / "step-0000000001")

        assert raised.value.file == name
        assert blake3.blake3(before).hexdigest() in raised.value.problem
        path.write_bytes(before)
    assert verify_checkpoint(run / "step-0000000001").step == 1


def test_verification_of_a_run_is_of_its_newest(run: pathlib.Path) -> None:
    """An older one that is damaged is no matter."""
    (run / "step-0000000001" / "recipe.json").write_bytes(b"")

    assert verify_checkpoint(run).name == "step-0000000002"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_a_file_that_is_no_file_is_damage(run: pathlib.Path, kind: str) -> None:
    """And neither followed nor waited for."""
    path = run / "step-0000000001" / "recipe.json"
    path.unlink()
    if kind == "link":
        path.symlink_to(run / "step-0000000002" / "recipe.json")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()

    with pytest.raises(DamagedCheckpointError, match=r"recipe\.json is damaged: it cannot be read"):
        verify_checkpoint(run / "step-0000000001")


def test_a_run_whose_only_checkpoint_is_being_replaced_is_found(
    run: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look comes just between the two renames."""
    shutil.rmtree(run / "step-0000000001")
    find, moved = catalog.find_directories, [run / ".step-0000000002.replaced-1-0123456789abcdef"]

    def find_and_replace(filesystem: Any) -> Any:
        found = find(filesystem)
        if moved:
            (run / "step-0000000002").rename(moved.pop())
        return found

    monkeypatch.setattr(catalog, "find_directories", find_and_replace)

    assert [info.step for info in list_checkpoints(run)] == [2]


def test_a_run_directory_may_be_moved(run: pathlib.Path) -> None:
    """No path is written in it."""
    moved = run.rename(run.with_name("moved"))

    assert [info.path for info in list_checkpoints(moved)] == [moved / "step-0000000001", moved / "step-0000000002"]
    assert verify_checkpoint(moved).step == 2


def test_listing_inspecting_and_verifying_import_no_tensorflow(run: pathlib.Path, fresh_python: FreshPython) -> None:
    """And nothing that a recipe names."""
    commit_recipe(run, json.dumps({**RECIPE, "model": {"$": "import", "module": "this", "name": "s"}}).encode())
    program = (
        "import sys; from keras_probckpt.storage.catalog import *;"
        "list_checkpoints(sys.argv[1]), inspect_checkpoint(sys.argv[1]), verify_checkpoint(sys.argv[1]);"
        "print([name for name in ('tensorflow', 'tf_keras', 'this') if name in sys.modules])"
    )

    finished = fresh_python("-c", program, str(run))

    assert finished.stdout == "[]\n"


def test_the_examples_in_the_docstrings_run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the run directory that they speak of."""
    directory = tmp_path / "runs" / "exp1"
    directory.mkdir(parents=True)
    manifest = dataclasses.replace(manifest_of(1200, run="5eed1234"), logs={"val_loss": 0.25})
    store_of(directory).commit(
        "step-0000001200", manifest=manifest, files={"recipe.json": [json.dumps(RECIPE).encode()]}
    )
    monkeypatch.chdir(tmp_path)

    failed, attempted = doctest.testmod(catalog)

    assert (failed, attempted) == (0, 5)
