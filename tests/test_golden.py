from __future__ import annotations

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow_probability as tfp

from keras_probckpt import errors, inspect_checkpoint, restore_checkpoint, verify_checkpoint
from keras_probckpt.storage.keys import KEY_VARIABLE
from tests.conftest import FreshPython
from tests.golden.generate_v1 import KEY, OTHER_KEY, PLACE, REFUSALS, checkpoints_in, write_must_load
from tests.golden.models import MODELS, outputs_of, variables_of

MUST_LOAD = tuple(checkpoints_in(PLACE / "must_load"))
MUST_REFUSE = PLACE / "must_refuse"
INDEX = json.loads((MUST_REFUSE / "INDEX.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def golden_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with the key that signed them."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)


def name_of(checkpoint: pathlib.Path) -> str:
    """Name a golden checkpoint by its set of libraries and its model."""
    return "/".join(checkpoint.relative_to(PLACE / "must_load").parts[:2])


@pytest.mark.parametrize("checkpoint", MUST_LOAD, ids=map(name_of, MUST_LOAD))
def test_a_golden_checkpoint_loads_for_ever(checkpoint: pathlib.Path) -> None:
    """Bytes written once are read by every later release, with every supported set of libraries."""
    expected = json.loads(checkpoint.parent.with_suffix(".json").read_text(encoding="utf-8"))

    model = restore_checkpoint(checkpoint)

    assert variables_of(model) == expected["variables"]
    assert isinstance(model(np.zeros((1, 2), "float32")), tfp.distributions.Distribution)
    found = outputs_of(model)
    # The kernels of another release may round otherwise in the last place.
    assert all(np.allclose(found[name], expected["outputs"][name], rtol=1e-5, atol=1e-6) for name in found)
    assert sorted(found) == sorted(expected["outputs"])


@pytest.mark.parametrize("checkpoint", MUST_LOAD, ids=map(name_of, MUST_LOAD))
def test_a_golden_checkpoint_is_whole_and_ones_own(checkpoint: pathlib.Path) -> None:
    """Digests, seal and signature as computed then are those computed now."""
    info = verify_checkpoint(checkpoint)

    assert info.signature == "own"
    assert (info.step, info.epoch, info.batch, info.format_version) == (2, 1, None, 1)


def test_every_model_is_there_from_both_ends_of_the_supported_range() -> None:
    """A checkpoint of an old set of libraries loads in a new one, and the other way round."""
    expected = {f"{libraries}/{model}" for libraries in ("newest", "oldest") for model in MODELS}

    assert {name_of(checkpoint) for checkpoint in MUST_LOAD} == expected


@pytest.mark.parametrize("name", sorted(INDEX))
def test_a_checkpoint_that_must_be_refused_is_refused_for_its_reason(name: str) -> None:
    """The error is the one of the index, and its message says what is wrong."""
    with pytest.raises(getattr(errors, INDEX[name]["error"])) as caught:
        restore_checkpoint(MUST_REFUSE / name)

    assert type(caught.value).__name__ == INDEX[name]["error"]
    assert INDEX[name]["message"] in str(caught.value)


def test_the_index_names_what_is_there() -> None:
    """No refusal is kept without its reason, and no reason without its bytes."""
    directories = {path.name for path in MUST_REFUSE.iterdir() if path.is_dir()}

    assert directories == set(INDEX) == set(REFUSALS)
    assert all(entry["why"] for entry in INDEX.values())


def test_the_golden_files_stay_small() -> None:
    """They are cloned with every checkout."""
    assert sum(path.stat().st_size for path in PLACE.rglob("*") if path.is_file()) < 200_000


def test_the_generator_leaves_what_is_there(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Golden bytes are written once."""
    for name in MODELS:
        (tmp_path / name).mkdir()

    write_must_load(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(MODELS)
    assert all(list((tmp_path / name).iterdir()) == [] for name in MODELS)
    assert capsys.readouterr().out.count("is there already and stays as it is") == len(MODELS)


def test_what_a_strangers_checkpoint_asks_for_is_told_without_running_it() -> None:
    """`requires` is the list to decide by."""
    asked = {
        model: [item.describe() for item in inspect_checkpoint(PLACE / "must_load" / "newest" / model).requires]
        for model in MODELS
    }

    loss = "import tests.golden.models.negative_log_likelihood"
    assert {model: sorted(requires) for model, requires in asked.items()} == {
        "sequential": [],
        "mixin": sorted(["import tests.golden.models.Net", loss]),
        "builder": sorted(["import tests.golden.models.build", loss]),
    }


STRANGER = """
import json, pathlib, sys
import numpy as np
from keras_probckpt import restore_best
from keras_probckpt.errors import UntrustedCheckpointError

place, said = pathlib.Path(sys.argv[1]), {}
said["sequential"] = type(restore_best(place / "sequential")).__name__
for name in ("mixin", "builder"):
    try:
        restore_best(place / name)
    except UntrustedCheckpointError as error:
        said[name] = [error.allow, "one of yours" in error.reason or "nobody signed" in error.reason]
said["imported"] = "tests.golden.models" in sys.modules
said["trusted"] = type(restore_best(place / "mixin", trusted=["tests.golden.models"])).__name__
said["can"] = hasattr(restore_best(place / "builder", trusted=True)(np.ones((1, 2), "float32")), "log_prob")
print(json.dumps(said))
"""


@pytest.mark.parametrize("key", [pytest.param(OTHER_KEY, id="another key"), pytest.param(None, id="no key")])
def test_a_strangers_checkpoint_loads_as_far_as_it_is_data_and_says_what_to_pass_for_the_rest(
    key: str | None, fresh_python: FreshPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process that never saw the models' module, it is not imported until the caller names it."""
    monkeypatch.delenv(KEY_VARIABLE)
    if key is not None:
        monkeypatch.setenv(KEY_VARIABLE, key)

    said = json.loads(fresh_python("-c", STRANGER, str(PLACE / "must_load" / "newest")).stdout)

    assert said == {
        "sequential": "Sequential",
        "mixin": ["trusted=['tests.golden.models']", True],
        "builder": ["trusted=['tests.golden.models']", True],
        "imported": False,
        "trusted": "Net",
        "can": True,
    }


def test_a_golden_checkpoint_may_be_copied(tmp_path: pathlib.Path) -> None:
    """Its signature covers what it holds and not where it is."""
    copy = shutil.copytree(MUST_LOAD[0], tmp_path / "copy")

    assert verify_checkpoint(copy).signature == "own"
    assert os.fspath(verify_checkpoint(copy).path) == os.fspath(tmp_path / "copy")
