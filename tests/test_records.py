from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest

from keras_probckpt import records
from keras_probckpt.records import CheckpointInfo, FileRecord, Objective, Requirement, VariableRecord

MANIFEST: dict[str, Any] = {
    "run": "0a1b2c3d",
    "run_number": 1,
    "step": 1200,
    "epoch": 3,
    "batch": None,
    "logs": {"val_loss": 0.5},
    "objective": Objective(monitor="val_loss", mode="min"),
    "is_weights_only": False,
    "created_at": "2026-11-23T00:00:00Z",
    "versions": {"python": "3.11.7"},
    "custom_metadata": {},
    "files": {
        "recipe.json": FileRecord(size_bytes=30, blake3="a" * 64),
        "model.safetensors": FileRecord(size_bytes=400, blake3="b" * 64),
    },
}
INFO = CheckpointInfo(**MANIFEST, path=pathlib.Path("runs/a/step-0000001200"), signature="own")
EXAMPLES = [
    records.Manifest(**MANIFEST),
    INFO,
    records.CheckpointDetails(**vars(INFO), variables=(), requires=()),
    FileRecord(size_bytes=1, blake3="c" * 64),
    Objective(monitor="loss", mode="min"),
    Requirement(kind="import", module="mypkg.models", name="Regressor"),
    VariableRecord(path="layer-0/kernel", shape=(2, 3), dtype="float32"),
]


def test_every_record_has_an_example_here() -> None:
    """A record that is added without an example would escape the claims below."""
    assert sorted(type(example).__name__ for example in EXAMPLES) == sorted(records.__all__)


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_a_record_is_frozen_and_comparable(record: object) -> None:
    """What two layers both hold, neither can change under the other."""
    first = dataclasses.fields(record)[0].name  # type: ignore[arg-type]

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, first, "another")
    assert dataclasses.replace(record) == record  # type: ignore[type-var]


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_a_record_takes_keywords_only(record: object) -> None:
    """A field that is added later shifts no argument."""
    values = [getattr(record, field.name) for field in dataclasses.fields(record)]  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="positional"):
        type(record)(*values)


def test_a_checkpoint_is_named_by_its_directory() -> None:
    """The name is the last part of the path."""
    assert INFO.name == "step-0000001200"


def test_the_size_of_a_checkpoint_is_that_of_its_files() -> None:
    """All files but the manifest are counted."""
    assert INFO.size_bytes == 430
    assert dataclasses.replace(INFO, files={}).size_bytes == 0


def test_a_manifest_is_of_version_1_unless_it_says_otherwise() -> None:
    """What this release writes is version 1."""
    assert INFO.format_version == 1


def test_an_objective_counts_every_change_from_the_first_epoch() -> None:
    """Without further wishes no change is too small and no epoch too early."""
    assert Objective(monitor="loss", mode="min") == Objective(
        monitor="loss", mode="min", min_delta=0.0, start_from_epoch=0
    )


@pytest.mark.parametrize(
    ("kind", "described"),
    [("import", "import mypkg.models.Regressor"), ("unpickle", "unpickle mypkg.models.Regressor")],
)
def test_a_requirement_says_what_would_happen(kind: str, described: str) -> None:
    """Importing and unpickling are told apart."""
    requirement = Requirement(kind=kind, module="mypkg.models", name="Regressor")  # type: ignore[arg-type]

    assert requirement.describe() == described
