from __future__ import annotations

import json
import os
import pathlib
import pickle
import shutil

import blake3
import numpy as np
import pytest
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import (
    ProbCheckpoint,
    errors,
    inspect_checkpoint,
    list_checkpoints,
    restore_checkpoint,
    verify_checkpoint,
)
from keras_probckpt.format.manifest import FORMAT_VERSION
from keras_probckpt.storage.keys import KEY_VARIABLE
from tests.conftest import FreshPython
from tests.golden.attacks import CANARY
from tests.golden.generate_v1 import (
    PLACE,
    REFUSALS,
    checkpoints_in,
    digests_of,
    write_digests,
    write_must_load,
)
from tests.golden.models import MODELS, X, Y, outputs_of, train, variables_of
from tests.golden.refusals import KEY, OTHER_KEY

MUST_LOAD = tuple(checkpoints_in(PLACE / "must_load"))
DIGESTS = PLACE.parent / "DIGESTS"
FIRST_LINES = 210
DIGEST_OF_FIRST_LINES = "b5a63167d5331c45af5efad6aec2728ae56a36a748a1fe42523130fe57a7aebd"
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
def test_a_training_goes_on_from_a_golden_checkpoint(checkpoint: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """With what it holds: the model and the place of an early release, everything of a later one."""
    run = tmp_path / "run"
    shutil.copytree(checkpoint, run / checkpoint.name)
    model = MODELS[checkpoint.parent.name]()

    history = model.fit(
        X, Y, batch_size=2, epochs=2, shuffle=False, verbose=0, callbacks=[ProbCheckpoint(run, "loss", resume=True)]
    )

    assert history.epoch[-1] == 1
    assert int(model.optimizer.iterations) == 4
    assert [(info.step, info.epoch) for info in list_checkpoints(run)][-1] == (4, 2)


@pytest.mark.parametrize("libraries", ["newest", "oldest"])
def test_a_training_goes_on_within_an_epoch_from_a_golden_checkpoint(
    libraries: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With its place in the data, its metrics and its history, in any supported set of libraries."""
    place = PLACE / "must_resume" / libraries
    expected = json.loads((place / "end.json").read_text(encoding="utf-8"))
    run = shutil.copytree(place / "run", tmp_path / "run")
    tfk.utils.set_random_seed(2)
    model = MODELS["mixin"]()

    history = train(model, ProbCheckpoint(run, "loss", save_freq=6, resume=True))

    assert "In the data: the data iterator was put back." in caplog.messages
    assert history.epoch == [0, 1]
    # The kernels of another release may round otherwise in the last place.
    assert np.allclose(history.history["loss"], expected["history"]["loss"], rtol=1e-5)
    for found, values in zip(variables_of(model), expected["variables"], strict=True):
        assert np.allclose(*([float.fromhex(number) for number in side] for side in (found, values)), rtol=1e-5)


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
def test_a_checkpoint_that_must_be_refused_is_refused_for_its_reason(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the one of the index, its message says what is wrong, and nothing was made, as code of it would."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(getattr(errors, INDEX[name]["error"])) as caught:
        restore_checkpoint(MUST_REFUSE / name)

    assert type(caught.value).__name__ == INDEX[name]["error"]
    assert INDEX[name]["message"] in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_code_in_the_attacks_does_run_where_it_is_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or its absence would prove nothing."""
    monkeypatch.chdir(tmp_path)

    pickle.loads((MUST_REFUSE / "pickled-code" / "code.pickle").read_bytes())  # noqa: S301 - it makes a directory

    assert [path.name for path in tmp_path.iterdir()] == [CANARY]


def test_every_refusal_has_a_line_that_says_why() -> None:
    """Each another."""
    assert len({entry["why"] for entry in INDEX.values()}) == len(INDEX) >= 40


def test_the_index_names_what_is_there() -> None:
    """No refusal is kept without its reason, and no reason without its bytes."""
    directories = {path.name for path in MUST_REFUSE.iterdir() if path.is_dir()}

    assert directories == set(INDEX) == set(REFUSALS)
    assert all(entry["why"] for entry in INDEX.values())


def test_the_golden_files_are_those_of_the_list() -> None:
    """Each has the digest that it had when it was added, and none is there that is not listed, or is missing."""
    listed = dict(reversed(line.split(" ", 1)) for line in DIGESTS.read_text(encoding="utf-8").splitlines())

    assert digests_of(PLACE.parent) == listed


def test_the_list_of_golden_files_only_grows() -> None:
    """Lines are added at its end; those that were there first stay as they are."""
    lines = DIGESTS.read_bytes().splitlines(keepends=True)

    assert blake3.blake3(b"".join(lines[:FIRST_LINES])).hexdigest() == DIGEST_OF_FIRST_LINES


def test_adding_to_the_list_changes_no_line_of_it(tmp_path: pathlib.Path) -> None:
    """Not even that of a file which changed: the test of the list is what has to say so."""
    golden = tmp_path / "golden"
    (golden / "v1").mkdir(parents=True)
    (golden / "v1" / "b").write_bytes(b"old")
    write_digests(golden)
    before = (golden / "DIGESTS").read_text(encoding="utf-8")
    (golden / "v1" / "b").write_bytes(b"new")
    (golden / "v1" / "a").write_bytes(b"")

    write_digests(golden)

    added = (golden / "DIGESTS").read_text(encoding="utf-8").removeprefix(before)
    assert added == f"{blake3.blake3(b'').hexdigest()} v1/a\n"


def test_every_version_of_the_format_has_its_golden_checkpoints() -> None:
    """What a release wrote is read by every later one, so each version leaves some."""
    versions = {int(path.name.removeprefix("v")) for path in PLACE.parent.glob("v*")}
    written = {verify_checkpoint(checkpoint).format_version for checkpoint in MUST_LOAD}

    assert versions == written == set(range(1, FORMAT_VERSION + 1))


def test_the_golden_files_stay_small() -> None:
    """They are cloned with every checkout."""
    assert sum(path.stat().st_size for path in PLACE.rglob("*") if path.is_file()) < 400_000


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
