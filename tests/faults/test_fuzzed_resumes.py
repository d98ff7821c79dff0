"""Real checkpoints whose training state somebody changed, with every digest computed anew: a training or an error."""

from __future__ import annotations

import copy
import dataclasses
import json
import pathlib
import random
import warnings
from typing import Any

import numpy as np
import pytest
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint, list_checkpoints
from keras_probckpt.errors import CheckpointError
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.store import CheckpointStore
from tests.counts import count
from tests.recipe.test_malformed import places_in

JUNK: list[Any] = [None, True, -1, 10**12, 2**63 - 1, 1.5, "x", [], {}, [1, 2], {"a": 1}]
JUNK += [{"$": "float", "value": "nan"}, {"$": "nope"}, {"$": "tuple", "items": [1, 2, 3]}]


def train(directory: pathlib.Path, *, epochs: int, resume: Any = True, log: pathlib.Path | None = None) -> None:
    """Train a tiny model, with callbacks that keep a state; saves within an epoch too."""
    model = tfk.Sequential([tfk.layers.Dense(1, input_shape=(2,))])
    model.compile("sgd", "mse")
    known = [tfk.callbacks.EarlyStopping("loss", patience=9), tfk.callbacks.ReduceLROnPlateau("loss")]
    if log is not None:
        known.append(tfk.callbacks.CSVLogger(log, append=True))
    saving = ProbCheckpoint(directory, "loss", save_freq=3, resume=resume, rehearse=False)
    x = np.ones((8, 2), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, x[:, :1], batch_size=2, epochs=epochs, verbose=0, callbacks=[*known, saving])


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> tuple[CheckpointInfo, dict[str, bytes]]:
    """Train somewhere; give the newest checkpoint and its files."""
    directory = tmp_path_factory.mktemp("stranger")
    train(directory, epochs=2)
    info = list_checkpoints(directory)[-1]
    return info, {name: (info.path / name).read_bytes() for name in info.files}


def resume_from(place: pathlib.Path, number: int, info: CheckpointInfo, files: dict[str, bytes]) -> bool:
    """Resume from files that somebody sealed anew and did not sign; tell whether a training came of it."""
    source = place / f"source-{number}"
    source.mkdir()
    store = CheckpointStore(LocalFileSystem(source), keys=KeyRing())
    store.commit(info.name, manifest=info, files={name: [data] for name, data in files.items()})
    mine = place / f"mine-{number}"
    try:
        train(mine, epochs=3, resume=source)
    except CheckpointError:
        return False
    assert list_checkpoints(mine)[-1].epoch == 3
    return True


def resume_many(place: pathlib.Path, stranger: Any, *, number: int, seed: int) -> None:
    """Resume from changed checkpoints; some must be gone on from, and some must not."""
    info, files = stranger
    base, dice = json.loads(files["training.json"]), random.Random(seed)  # noqa: S311 - the same in every run
    outcomes = []
    for index in range(number):
        changed = copy.deepcopy(base)
        container, key = dice.choice(places_in(changed))
        if dice.random() < 0.1:
            del container[key]
        else:
            container[key] = copy.deepcopy(dice.choice(JUNK))
        outcomes.append(resume_from(place, index, info, {**files, "training.json": json.dumps(changed).encode()}))
    assert {True, False} == set(outcomes)
    count("changed trainings resumed or refused", number)


def test_a_changed_training_is_gone_on_with_or_refused(tmp_path: pathlib.Path, stranger: Any) -> None:
    """Never another error; what is saved afterwards is there."""
    resume_many(tmp_path, stranger, number=15, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 18))
def test_hundreds_of_changed_trainings_are_gone_on_with_or_refused(
    tmp_path: pathlib.Path, stranger: Any, seed: int
) -> None:
    """The same for long."""
    resume_many(tmp_path, stranger, number=60, seed=seed)


@pytest.mark.parametrize("name", ["step", "epoch", "batch"])
def test_a_number_from_which_nothing_could_be_counted_is_refused(
    tmp_path: pathlib.Path, stranger: Any, name: str
) -> None:
    """Every later save would fail."""
    info, files = stranger
    huge = dataclasses.replace(info, **{name: 2**63 - 1})

    with pytest.raises(CheckpointError, match=f"no training goes on from {name} 9223372036854775807"):
        _refused(tmp_path, huge, files)


def _refused(place: pathlib.Path, info: CheckpointInfo, files: dict[str, bytes]) -> None:
    source = place / "source"
    source.mkdir()
    store = CheckpointStore(LocalFileSystem(source), keys=KeyRing())
    store.commit(info.name, manifest=info, files={name: [data] for name, data in files.items()})
    train(place / "mine", epochs=3, resume=source)


def test_no_rows_of_the_readers_log_go_for_a_strangers_training(tmp_path: pathlib.Path, stranger: Any) -> None:
    """They are not of those epochs: nobody but the reader wrote them."""
    info, files = stranger
    source, log = tmp_path / "source", tmp_path / "log.csv"
    source.mkdir()
    store = CheckpointStore(LocalFileSystem(source), keys=KeyRing())
    store.commit(info.name, manifest=info, files={name: [data] for name, data in files.items()})
    log.write_text("epoch,loss\n0,1.0\n1,0.5\n2,0.25\n3,0.125\n")

    train(tmp_path / "mine", epochs=3, resume=source, log=log)

    assert log.read_text().startswith("epoch,loss\n0,1.0\n1,0.5\n2,0.25\n3,0.125\n")
