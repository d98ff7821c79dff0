"""The plain values that travel between the layers: frozen, comparable, free of TensorFlow and of file handles."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from keras_probckpt.shown import shown

__all__ = [
    "CheckpointDetails",
    "CheckpointInfo",
    "FileRecord",
    "Manifest",
    "Objective",
    "Requirement",
    "VariableRecord",
]

Mode = Literal["min", "max"]
SignatureState = Literal["own", "foreign", "unsigned"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """What "best" means for a run.

    Attributes:
        monitor: Key of the logs that is compared, such as `"val_loss"`.
        mode: Whether less (`"min"`) or more (`"max"`) is better.
        min_delta: Smallest change that counts as an improvement, in units of the monitor.
        start_from_epoch: Number of first epochs whose checkpoints never count as best.
    """

    monitor: str
    mode: Mode
    min_delta: float = 0.0
    start_from_epoch: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileRecord:
    """Size and digest of one file of a checkpoint, as written.

    Attributes:
        size_bytes: Length of the file.
        blake3: Digest of its bytes, 64 lower-case hexadecimal digits.
    """

    size_bytes: int
    blake3: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` says of one checkpoint.

    Attributes:
        run: Identifier of the run that wrote it, 8 hexadecimal digits.
        run_number: 1 for the first run of its directory, one more for each later one: the order of runs without a
            clock.
        step: Completed optimizer updates.
        epoch: Number of the epoch it was saved in, counted from 1 as `fit` prints it; `None` outside of `fit`.
        batch: Completed batches of that epoch where it was saved inside one; `None` at an epoch's end.
        logs: The metrics known at the save, by name. May hold NaN and infinities.
        objective: What "best" meant to the run; `None` where nothing was monitored.
        is_weights_only: Whether optimizer and training state were left out.
        created_at: Time of the save, UTC, ISO 8601.
        versions: Release of each library that had a part in it, by distribution name, and of `python`.
        custom_metadata: What the user asked to be written with it: plain JSON values.
        files: Every other file of the checkpoint, by name.
        format_version: Version of the disk format.
        saved_name: Name that its directory had when it was committed, which the signature covers; `None` in checkpoints
            of release 0.1.
    """

    run: str
    run_number: int
    step: int
    epoch: int | None
    batch: int | None
    logs: Mapping[str, float]
    objective: Objective | None
    is_weights_only: bool
    created_at: str
    versions: Mapping[str, str]
    custom_metadata: Mapping[str, Any]
    files: Mapping[str, FileRecord]
    format_version: int = 1
    saved_name: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointInfo(Manifest):
    """One committed checkpoint: its manifest, where it is, and who vouches for it.

    Attributes:
        path: The checkpoint's directory.
        signature: `"own"` when one of the reader's keys signed it, `"foreign"` when some other key did, `"unsigned"`
            when none did.
    """

    path: pathlib.Path
    signature: SignatureState

    @property
    def name(self) -> str:
        """Name of the checkpoint's directory."""
        return self.path.name

    @property
    def size_bytes(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(file.size_bytes for file in self.files.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariableRecord:
    """One saved variable.

    Attributes:
        path: Its place in the model, such as `"layer-0/kernel"`: the names of attributes from the model to it.
        shape: Its shape.
        dtype: Name of its dtype, such as `"float32"`.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Requirement:
    """Something outside the file that a restore would import, call or unpickle.

    Attributes:
        kind: `"import"` for a module to import and a name in it to call, `"unpickle"` for code kept in `code.pickle`.
        module: The module, such as `"mypkg.models"`.
        name: The name in it, such as `"Regressor"`.
        source: Source text of pickled code, for people to read; empty where it is not known. It proves nothing.
    """

    kind: Literal["import", "unpickle"]
    module: str
    name: str
    source: str = ""

    def describe(self) -> str:
        """Say in one line what would happen."""
        verb = "import" if self.kind == "import" else "unpickle"
        return shown(f"{verb} {self.module}.{self.name}", is_code=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointDetails(CheckpointInfo):
    """All that can be told of a checkpoint without running any of it.

    Attributes:
        variables: The model's saved variables.
        requires: What a restore would import or unpickle. Empty: the checkpoint is data only.
    """

    variables: tuple[VariableRecord, ...]
    requires: tuple[Requirement, ...]
