"""Every error this library raises on purpose: one base class, one class per kind of trouble.

An error takes keyword fields, builds its own message from them, and survives pickling, so that it can cross a process
boundary (a rehearsal, a test, a cluster) and still be asked what was wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_probckpt.shown import shown, shown_lines

__all__ = [
    "CheckpointError",
    "CheckpointNotFoundError",
    "CheckpointWriteError",
    "DamagedCheckpointError",
    "InvalidKeyError",
    "LayerMismatchError",
    "MalformedRecipeError",
    "MonitorNeverSeenError",
    "MonitorNotFoundError",
    "OutputMismatchError",
    "RehearsalError",
    "RunLockedError",
    "TamperedCheckpointError",
    "UnrecordableError",
    "UnsupportedFormatError",
    "UnsupportedModelError",
    "UntrustedCheckpointError",
    "VariableMismatchError",
]


def _rebuild(kind: type[CheckpointError], arguments: tuple[Any, ...], fields: dict[str, Any]) -> CheckpointError:
    return kind(*arguments, **fields)


# Fields that may be of several lines: what another error said, or a list of differences.
_LINES = {"problem", "layers", "differences"}


def _shown_field(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return shown_lines(value) if name in _LINES else shown(value)
    if isinstance(value, (list, tuple)):
        return tuple(_shown_field(name, item) for item in value)
    return value


class CheckpointError(Exception):
    """Base of every error of this library.

    A message shows its fields as `shown` does: they may hold text of a stranger's file. The fields themselves are as
    they were given.
    """

    def __init_subclass__(cls) -> None:
        """Let `__str__` of each kind see fields that are fit to be shown."""
        own = cls.__dict__.get("__str__")
        if own is not None:

            def __str__(self: CheckpointError) -> str:  # noqa: N807 - takes the place of that method
                copy = type(self).__new__(type(self))
                vars(copy).update({name: _shown_field(name, value) for name, value in vars(self).items()})
                return str(own(copy))

            cls.__str__ = __str__  # type: ignore[method-assign, assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the fields: the arguments of these errors are keyword-only."""
        fields = {name: getattr(self, name) for name in getattr(self, "__dataclass_fields__", ())}
        return _rebuild, (type(self), self.args, fields)


@dataclasses.dataclass(kw_only=True, eq=False)
class DamagedCheckpointError(CheckpointError):
    """A file of a checkpoint is not what was written: a changed bit, a cut, a swap, a file of another kind."""

    path: str
    file: str
    problem: str

    def __str__(self) -> str:
        return (
            f"{self.path}/{self.file} is damaged: {self.problem}. Nothing was loaded. list_checkpoints shows what else "
            "there is, and restore_best(run, skip_damaged=True) restores the next best."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class TamperedCheckpointError(CheckpointError):
    """A manifest names one of the reader's own keys, but that key did not sign it."""

    path: str
    key_id: str

    def __str__(self) -> str:
        return (
            f"{self.path}/manifest.json says it was signed with your key {self.key_id}, but that key gives another "
            "signature: someone who does not have the key changed this checkpoint. Nothing was loaded and nothing of "
            "it was run. Take the checkpoint from where it was written again."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class UnsupportedFormatError(CheckpointError):
    """The checkpoint was written by a newer release, in a format this one does not know."""

    path: str
    found_version: int
    supported_version: int

    def __str__(self) -> str:
        return (
            f"{self.path} is in format version {self.found_version}; this release of keras-probckpt reads up to "
            f"version {self.supported_version}. Nothing was loaded. Upgrade: pip install --upgrade keras-probckpt."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class UntrustedCheckpointError(CheckpointError):
    """Restoring would import or unpickle code, and nothing vouches for it."""

    path: str
    reason: str
    requirements: tuple[str, ...]
    allow: str

    def __str__(self) -> str:
        wanted = "\n".join(f"  - {requirement}" for requirement in self.requirements)
        return (
            f"{self.path} was not restored, and nothing of it was run: {self.reason}. It asks to\n{wanted}\n"
            f"If you know who wrote it, pass {self.allow}; or give the code yourself with custom_objects= or builder=."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no checkpoint where one was asked for."""

    path: str
    problem: str
    advice: str

    def __str__(self) -> str:
        return f"No checkpoint at {self.path}: {self.problem}. Nothing was loaded. {self.advice}"


@dataclasses.dataclass(kw_only=True, eq=False)
class MonitorNotFoundError(CheckpointError):
    """No checkpoint carries a usable value of the monitored quantity, so none is best."""

    path: str
    monitor: str | None
    available: tuple[str, ...]
    closest: str | None = None

    def __str__(self) -> str:
        hint = f" Did you mean {self.closest!r}?" if self.closest else ""
        usable = ", ".join(repr(name) for name in self.available) or "none"
        found = (
            f"has no finite value of the monitor {self.monitor!r}" if self.monitor else "was saved without a monitor"
        )
        return (
            f"{self.path} {found}, so no checkpoint is best.{hint} "
            f"Monitors that could be used instead: {usable}. Nothing was loaded. "
            f"Pass monitor=, or take the newest with restore_latest."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class MonitorNeverSeenError(CheckpointError):
    """With `save_best_only`, nothing was saved in a whole training, because its monitor never came up."""

    path: str
    monitor: str
    seen: tuple[str, ...]
    closest: str | None = None

    def __str__(self) -> str:
        hint = f" Did you mean {self.closest!r}?" if self.closest else ""
        names = ", ".join(repr(name) for name in self.seen) or "none"
        return (
            f"No checkpoint was saved in {self.path}: save_best_only=True, and the monitor {self.monitor!r} was in the "
            f"logs of no epoch; they held {names}.{hint} The trained model is still in memory: save it with "
            "CheckpointManager, and pass one of these names as monitor= next time (val_... needs validation data)."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class RunLockedError(CheckpointError):
    """Another writer holds the run directory."""

    path: str
    holder: str

    def __str__(self) -> str:
        return (
            f"{self.path} is being written by {self.holder}. Nothing was written. Two writers would remove each "
            "other's checkpoints: give this run another directory, or wait for (or close) the other. Reading is free."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class CheckpointWriteError(CheckpointError):
    """The file system refused a write; what was committed before is untouched.

    Attributes:
        path: Of the checkpoint.
        problem: What the file system said.
        gone: The run directory, if somebody removed it with all that was in it; else empty.
    """

    path: str
    problem: str
    gone: str = ""

    def __str__(self) -> str:
        if self.gone:
            return (
                f"The checkpoint {self.path} was not saved: {self.gone} is gone, and every checkpoint in it. Somebody "
                "removed or renamed the run directory while it was written to. If it was renamed, give it its name "
                "back; the next fit makes a directory anew where none is. The model is still in memory."
            )
        return (
            f"The checkpoint {self.path} was not saved: {self.problem}. Every checkpoint committed before it is still "
            "there and none was removed for it. Free the space or mend the directory, then train on."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class InvalidKeyError(CheckpointError):
    """A signing key is not of the form this library makes, or is in others' hands."""

    source: str
    problem: str
    advice: str = (
        'A key is 64 hexadecimal digits, made by python -c "import secrets; print(secrets.token_hex(32))"; several, '
        "the signing one first, are separated by commas."
    )

    def __str__(self) -> str:
        return (
            f"The signing key in {self.source} cannot be used: {self.problem}. Nothing was signed or loaded. "
            f"{self.advice}"
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class UnrecordableError(CheckpointError):
    """A part of a model cannot be written down, so no checkpoint of it could be rebuilt."""

    where: str
    problem: str
    advice: str

    def __str__(self) -> str:
        return f"{self.where} cannot be recorded: {self.problem}. Nothing was written. {self.advice}"


@dataclasses.dataclass(kw_only=True, eq=False)
class MalformedRecipeError(CheckpointError):
    """A recipe says something that no release of this library writes."""

    where: str
    problem: str
    advice: str = (
        "If the code of the model changed since it was saved, pass the function that builds it: "
        "restore_best(path, builder=...)."
    )

    def __str__(self) -> str:
        return f"The recipe cannot be followed at {self.where}: {self.problem}. Nothing was loaded. {self.advice}"


@dataclasses.dataclass(kw_only=True, eq=False)
class VariableMismatchError(CheckpointError):
    """The rebuilt model does not have the variables that were saved."""

    path: str
    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    different: Sequence[str] = ()
    layers: Sequence[str] = ()

    def __str__(self) -> str:
        groups = {
            "in the checkpoint, not in the model": self.missing,
            "in the model, not in the checkpoint": self.unexpected,
            "of another shape or dtype": self.different,
            "what differs in its layers": self.layers,
        }
        lines = [
            f"  {title}:\n" + "\n".join(f"    - {name}" for name in names) for title, names in groups.items() if names
        ]
        return (
            f"The model rebuilt from {self.path} has other variables than were saved:\n" + "\n".join(lines) + "\n"
            "Nothing was loaded. Use the code the model was saved with. To restore what fits, pass skip_mismatch=True; "
            "to train another model, take another directory."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class LayerMismatchError(CheckpointError):
    """The rebuilt model has other layers than were saved, though it has the same variables."""

    path: str
    layers: Sequence[str]

    def __str__(self) -> str:
        lines = "\n".join(f"  - {difference}" for difference in self.layers)
        return (
            f"The model rebuilt from {self.path} has the variables that were saved, but other layers:\n{lines}\n"
            "Nothing was loaded into a model of yours. Use the code the model was saved with. To restore it as it is, "
            "pass skip_mismatch=True; to train another model, take another directory."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class OutputMismatchError(CheckpointError):
    """The rebuilt model returns something else than the saved one did."""

    path: str
    differences: Sequence[str]

    def __str__(self) -> str:
        lines = "\n".join(f"  - {difference}" for difference in self.differences)
        return (
            f"The model rebuilt from {self.path} returns something else than the one that was saved:\n{lines}\n"
            "Nothing was loaded into a model of yours. Restore with the code the model was saved with, or pass "
            "skip_mismatch=True to take it as it is."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class RehearsalError(CheckpointError):
    """A trial before training, or right after the first save, shows that no model can be made of a checkpoint."""

    path: str
    problem: str

    def __str__(self) -> str:
        return (
            f"A trial shows that what is saved in {self.path} cannot be restored: {self.problem}\n"
            "Nothing was loaded into the model that is trained, and what was saved stays. Three ways out: let what is "
            "named above describe itself (ProbModelMixin, or get_config and from_config); or move the function or "
            "class to a module that can be imported; or write a function that builds the whole model, the same each "
            "time, and pass it as builder=. If you know better, pass rehearse=False."
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class UnsupportedModelError(CheckpointError):
    """The object is not a tf_keras model."""

    found: str

    def __str__(self) -> str:
        return (
            f"Expected a tf_keras model, got {self.found}. Nothing was saved. TensorFlow Probability's layers work "
            "with tf_keras (Keras 2) only: write `import tf_keras` in place of `keras` or `tf.keras`, or set the "
            "environment variable TF_USE_LEGACY_KERAS=1 before TensorFlow is imported."
        )
