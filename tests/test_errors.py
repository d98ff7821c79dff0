from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from keras_probckpt import errors

EXAMPLES: list[errors.CheckpointError] = [
    errors.CheckpointError("no fields"),
    errors.CheckpointNotFoundError(path="runs/a", problem="there is no such directory", advice="Did you mean runs/b?"),
    errors.CheckpointWriteError(path="runs/a/step-0000000001", problem="no space left on device"),
    errors.DamagedCheckpointError(path="step-0000000042", file="model.safetensors", problem="blake3 ab is not ff"),
    errors.InvalidKeyError(source="KERAS_PROBCKPT_KEY", problem="it has 63 digits"),
    errors.LayerMismatchError(path="step-0000000001", layers=("hidden: saved tf_keras.layers.Dense, rebuilt Mine",)),
    errors.MalformedRecipeError(where="layers[0]", problem="there is no class 'Dens'"),
    errors.MonitorNeverSeenError(path="runs/a", monitor="val_los", seen=("loss", "val_loss"), closest="val_loss"),
    errors.MonitorNotFoundError(path="runs/a", monitor="val_los", available=("loss", "val_loss"), closest="val_loss"),
    errors.RehearsalError(path="step-0000000001", problem="there is no class 'Dens'"),
    errors.RunLockedError(path="runs/a", holder="process 12 on alpha"),
    errors.TamperedCheckpointError(path="step-0000000001", key_id="ab12"),
    errors.UnrecordableError(where="units", problem="it is a generator", advice="Pass a list."),
    errors.UnsupportedFormatError(path="step-0000000001", found_version=2, supported_version=1),
    errors.UnsupportedModelError(found="keras.src.models.Sequential"),
    errors.UntrustedCheckpointError(
        path="step-0000000001", reason="it is unsigned", requirements=("import os.system",), allow="trusted=['os']"
    ),
    errors.OutputMismatchError(
        path="step-0000000001", differences=("output['distribution']: saved ['Normal'], rebuilt ['Laplace']",)
    ),
    errors.VariableMismatchError(
        path="step-0000000001",
        missing=("layer-0/kernel",),
        unexpected=("layer-1/bias",),
        different=("layer-2/kernel: (2, 3) saved, (2, 4) now",),
        layers=("layer-2.units: saved 3, rebuilt 4",),
    ),
]
WITH_FIELDS = [example for example in EXAMPLES if dataclasses.is_dataclass(example)]


def name_of(error: errors.CheckpointError) -> str:
    """Name a case by its error."""
    return type(error).__name__


def test_every_error_has_an_example_here() -> None:
    """An error that is added without an example would escape the claims below."""
    assert sorted(name_of(error) for error in EXAMPLES) == sorted(errors.__all__)


@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling(error: errors.CheckpointError, protocol: int) -> None:
    """It crosses a process boundary with its class, message and fields."""
    restored = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - made one line above

    assert type(restored) is type(error)
    assert str(restored) == str(error)
    assert vars(restored) == vars(error)
    assert restored.args == error.args


@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
def test_an_error_survives_copying(error: errors.CheckpointError) -> None:
    """A copy says the same."""
    assert str(copy.deepcopy(error)) == str(error)


@pytest.mark.parametrize("error", WITH_FIELDS, ids=name_of)
def test_an_error_is_one_of_ours_and_keeps_its_fields_out_of_position(error: errors.CheckpointError) -> None:
    """All derive from one base, and none can be made with fields in the wrong order."""
    assert isinstance(error, errors.CheckpointError)
    with pytest.raises(TypeError):
        type(error)("a positional argument")


@pytest.mark.parametrize("error", WITH_FIELDS, ids=name_of)
def test_a_message_shows_every_field(error: errors.CheckpointError) -> None:
    """What is wrong is said with its values, and where."""
    message = str(error)

    for value in vars(error).values():
        for part in [value] if isinstance(value, str | int) else value:
            assert str(part) in message


@pytest.mark.parametrize("error", WITH_FIELDS, ids=name_of)
def test_a_message_says_what_was_not_done(error: errors.CheckpointError) -> None:
    """Whoever reads it knows that nothing happened by halves."""
    untouched = (
        "Nothing was loaded",
        "Nothing was written",
        "Nothing was saved",
        "Nothing was signed or loaded",
        "was not saved",
        "No checkpoint was saved",
        "was not restored, and nothing of it was run",
    )

    assert any(phrase in str(error) for phrase in untouched)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (errors.CheckpointNotFoundError(path="p", problem="gone", advice="Did you mean q?"), "Did you mean q?"),
        (errors.CheckpointWriteError(path="p", problem="full"), "Free the space or mend the directory"),
        (errors.DamagedCheckpointError(path="p", file="f", problem="cut"), "restore_best(run, skip_damaged=True)"),
        (
            errors.InvalidKeyError(source="s", problem="short"),
            'python -c "import secrets; print(secrets.token_hex(32))"',
        ),
        (errors.MalformedRecipeError(where="w", problem="odd"), "restore_best(path, builder=...)"),
        (errors.MonitorNeverSeenError(path="p", monitor="m", seen=()), "save it with CheckpointManager"),
        (errors.MonitorNotFoundError(path="p", monitor="m", available=()), "Pass monitor=, or take the newest"),
        (errors.RehearsalError(path="p", problem="odd"), "If you know better, pass rehearse=False"),
        (errors.RunLockedError(path="p", holder="another"), "give this run another directory, or wait for"),
        (errors.TamperedCheckpointError(path="p", key_id="ab"), "Take the checkpoint from where it was written again"),
        (errors.UnrecordableError(where="w", problem="odd", advice="Pass a list."), "Pass a list."),
        (
            errors.UnsupportedFormatError(path="p", found_version=2, supported_version=1),
            "pip install --upgrade keras-probckpt",
        ),
        (errors.UnsupportedModelError(found="x"), "TF_USE_LEGACY_KERAS=1"),
        (
            errors.UntrustedCheckpointError(path="p", reason="r", requirements=(), allow="trusted=['m']"),
            "pass trusted=['m']; or give the code yourself with custom_objects= or builder=",
        ),
        (errors.LayerMismatchError(path="p", layers=()), "To restore it as it is, pass skip_mismatch=True"),
        (errors.OutputMismatchError(path="p", differences=()), "pass skip_mismatch=True to take it as it is"),
        (errors.VariableMismatchError(path="p"), "To restore what fits, pass skip_mismatch=True"),
    ],
    ids=lambda value: "" if isinstance(value, str) else name_of(value),
)
def test_a_message_says_what_to_do_next(error: errors.CheckpointError, advice: str) -> None:
    """The next step can be copied from the message."""
    assert advice in str(error)


def test_no_monitor_of_that_name_offers_the_closest_and_all() -> None:
    """A typo is answered with the name that was meant, and no name at all with "none"."""
    typo = errors.MonitorNotFoundError(path="p", monitor="los", available=("loss", "mae"), closest="loss")
    bare = errors.MonitorNotFoundError(path="p", monitor="los", available=())

    assert "Did you mean 'loss'? Monitors that could be used instead: 'loss', 'mae'." in str(typo)
    assert "Did you mean" not in str(bare)
    assert "Monitors that could be used instead: none." in str(bare)


def test_a_mismatch_lists_only_the_groups_there_are() -> None:
    """A group without variables has no heading."""
    error = errors.VariableMismatchError(path="p", missing=["a/kernel", "a/bias"])

    assert "in the checkpoint, not in the model:\n    - a/kernel\n    - a/bias\n" in str(error)
    assert "in the model, not in the checkpoint" not in str(error)
    assert "of another shape or dtype" not in str(error)


def test_a_missing_checkpoint_is_a_missing_file() -> None:
    """`except FileNotFoundError`, which Keras's loaders raise, catches ours too."""
    with pytest.raises(FileNotFoundError, match="Nothing was loaded"):
        raise errors.CheckpointNotFoundError(path="runs/a", problem="it is empty", advice="Train first.")
