"""Real checkpoints whose recipe somebody changed, with every digest computed anew: a model or an error of ours."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import random
import warnings
from typing import Any

import pytest
import tf_keras as tfk

from keras_probckpt import restore_checkpoint
from keras_probckpt.errors import CheckpointError
from keras_probckpt.format.signature import KeyRing, SigningKey
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.keys import KEY_VARIABLE
from keras_probckpt.storage.store import CheckpointStore
from tests.conftest import CHECKOUT
from tests.counts import count
from tests.faults.parsers import PARSERS, mutant
from tests.golden.refusals import KEY
from tests.recipe.hostility import hostile_documents
from tests.recipe.test_malformed import NAMES, TAGS, WORDS, places_in

GOLDEN = CHECKOUT / "tests" / "golden" / "v1" / "must_load" / "newest"
MODELS = ("sequential", "mixin", "builder")


class Changed:
    """Writes changed checkpoints, restores them, and finds out whether anything was run.

    Args:
        place: An empty directory; the attacks would make another in it.
        seed: Of what is changed.
    """

    def __init__(self, place: pathlib.Path, *, seed: int) -> None:
        self._place = place
        self._dice = random.Random(seed)  # noqa: S311 - to be the same in every run of the tests
        self._hostile = list(hostile_documents(place / "canary").values())
        self._number = 0

    def try_one(self) -> bool:
        """Change one thing or several in one checkpoint; tell whether a model came of it."""
        model = self._dice.choice(MODELS)
        source = GOLDEN / model / "step-0000000002"
        files = {path.name: path.read_bytes() for path in source.iterdir() if path.name != "manifest.json"}
        if self._dice.random() < 0.8:
            document = self._change(json.loads(files["recipe.json"]))
            files["recipe.json"] = json.dumps(document).encode()
        else:
            name = self._dice.choice(sorted(files))
            parser = PARSERS["tensors" if name.endswith(".safetensors") else "strict JSON"]
            files[name] = parser.mend(mutant(files[name], self._dice))
        own = KeyRing((SigningKey(bytes.fromhex(KEY)),))
        # Of one's own only the golden models' module is asked for, which these tests have imported anyway.
        keys = own if self._dice.random() < 0.3 and not self._holds_attack(files["recipe.json"]) else KeyRing()
        return self._restores(
            files, info=CheckpointStore(LocalFileSystem(source.parent), keys=own).open(source.name), keys=keys
        )

    def _restores(self, files: dict[str, bytes], *, info: CheckpointInfo, keys: KeyRing) -> bool:
        self._number += 1
        name = f"changed-{self._number}"
        store = CheckpointStore(LocalFileSystem(self._place), keys=keys)
        store.commit(name, manifest=info, files={file: [data] for file, data in files.items()})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = restore_checkpoint(self._place / name)
        except CheckpointError:
            return False
        finally:
            store.remove(store.open(name))
            assert not os.path.lexists(self._place / "canary"), files["recipe.json"]
        assert isinstance(model, tfk.Model)
        return True

    def _change(self, document: Any) -> Any:
        document = copy.deepcopy(document)
        for _ in range(self._dice.randint(1, 3)):
            places = places_in(document)
            container, key = self._dice.choice(places or [(document, "model")])
            change = self._dice.choice(("replace", "remove", "move", "attack"))
            if change == "remove":
                del container[key]
            elif change == "move" and places:
                other, other_key = self._dice.choice(places)
                container[key] = copy.deepcopy(other[other_key])
            elif change == "attack":
                container[key] = copy.deepcopy(self._dice.choice(self._hostile))
            else:
                container[key] = self._value()
        return document

    def _value(self) -> Any:
        small = [None, True, -1, 0, 1, 7, 0.5, "", [], {}, [[]], {"$": "same", "id": 0}]
        words = [*WORDS, *TAGS, *NAMES]
        tagged = {"$": self._dice.choice(TAGS), self._dice.choice(WORDS): self._dice.choice(words)}
        return self._dice.choice([*small, self._dice.choice(words), tagged])

    def _holds_attack(self, recipe: bytes) -> bool:
        return any(word in recipe for word in (b"canary", b"pickle", b"mkdir", b"Popen", b"hostil", b"policy"))


@pytest.fixture(autouse=True)
def golden_key(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Read with the key that signed the golden checkpoints, where hostile code would leave its mark."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.chdir(tmp_path)


def restore_many(place: pathlib.Path, *, number: int, seed: int) -> None:
    """Restore changed checkpoints; some must load, and some must not."""
    changed = Changed(place, seed=seed)
    outcomes = [changed.try_one() for _ in range(number)]
    assert {True, False} == set(outcomes)
    count("changed checkpoints restored or refused", number)


def test_a_changed_checkpoint_is_restored_or_refused(tmp_path: pathlib.Path) -> None:
    """Never another error, and never code."""
    restore_many(tmp_path, number=80, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 20))
def test_thousands_of_changed_checkpoints_are_restored_or_refused(tmp_path: pathlib.Path, seed: int) -> None:
    """The same for long."""
    restore_many(tmp_path, number=300, seed=seed)
