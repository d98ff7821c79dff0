from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import (
    CheckpointManager,
    ProbCheckpoint,
    list_checkpoints,
    restore_best,
    restore_checkpoint,
    restore_latest,
)
from keras_probckpt.errors import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    VariableMismatchError,
)
from tests.integration.tiny import Finish, X, Y, fit, fit_scored, negative_log_likelihood, new_model, weights_of


@pytest.fixture
def epochs(model: tfk.Sequential, run: pathlib.Path) -> list[list[bytes]]:
    """Train three epochs, of which the second is best and the first next best; give the weights of each."""
    weights: list[list[bytes]] = []
    look = tfk.callbacks.LambdaCallback(on_epoch_end=lambda _epoch, _logs: weights.append(weights_of(model)))
    fit_scored(model, [2.0, 1.0, 3.0], ProbCheckpoint(run, save_top_k=-1), look)
    return weights


@pytest.mark.parametrize(
    ("restore", "last_part", "epoch"),
    [
        (restore_best, ".", 2),
        (restore_latest, ".", 3),
        (restore_best, "{epoch:02d}-{val_loss:.2f}", 2),
        (restore_latest, "{epoch}", 3),
        (restore_best, "step-0000000003", 1),
        (restore_latest, "step-0000000003", 1),
        (restore_checkpoint, "step-0000000003", 1),
    ],
)
def test_a_path_may_be_that_of_a_run_a_checkpoint_or_the_callbacks(
    restore: Callable[..., tfk.Model], last_part: str, epoch: int, run: pathlib.Path, epochs: list[list[bytes]]
) -> None:
    """Whatever of these a user has at hand leads to the checkpoint it means; as text it does too."""
    assert weights_of(restore(run / last_part)) == epochs[epoch - 1]
    assert weights_of(restore(str(run / last_part))) == epochs[epoch - 1]


def test_one_checkpoint_is_not_to_be_found_in_the_path_of_a_run(run: pathlib.Path, epochs: list[list[bytes]]) -> None:
    """Which one would be a guess; the message names the functions that choose."""
    with pytest.raises(CheckpointNotFoundError, match="take restore_best or restore_latest of this path"):
        restore_checkpoint(run)


@pytest.mark.parametrize("restore", [restore_best, restore_latest, restore_checkpoint])
def test_a_path_without_checkpoints_is_an_error_that_says_what_is_there(
    restore: Callable[..., tfk.Model], run: pathlib.Path, epochs: list[list[bytes]]
) -> None:
    """A FileNotFoundError, with the name that was probably meant."""
    with pytest.raises(FileNotFoundError, match=f"Did you mean {run}"):
        restore(run.parent / "exp2")


def test_a_relative_path_works(run: pathlib.Path, epochs: list[list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts where the reader is."""
    monkeypatch.chdir(run.parent)

    assert weights_of(restore_best("exp1")) == epochs[1]


@pytest.mark.parametrize("carry", [shutil.move, shutil.copytree])
def test_a_run_directory_may_be_moved_and_copied(
    carry: Callable[..., object], run: pathlib.Path, tmp_path: pathlib.Path, epochs: list[list[bytes]]
) -> None:
    """Nothing in it says where it is."""
    carry(run, tmp_path / "archive")

    assert weights_of(restore_best(tmp_path / "archive")) == epochs[1]


def test_one_checkpoint_may_be_moved_out_of_its_run(
    run: pathlib.Path, tmp_path: pathlib.Path, epochs: list[list[bytes]]
) -> None:
    """It is whole by itself, under any name."""
    shutil.move(run / "step-0000000006", tmp_path / "released")

    assert weights_of(restore_checkpoint(tmp_path / "released")) == epochs[1]


def test_a_restored_model_is_compiled_and_goes_on_as_the_original_would(
    model: tfk.Sequential, run: pathlib.Path, epochs: list[list[bytes]]
) -> None:
    """Loss, optimizer and its state come along: the next epoch is the same to the last bit."""
    restored = restore_latest(run)

    fit(model, epochs=1, shuffle=False)
    fit(restored, epochs=1, shuffle=False)

    assert weights_of(restored) == weights_of(model)
    assert weights_of(restored) != epochs[2]
    assert int(restored.optimizer.iterations) == 12


def test_compile_false_leaves_the_model_uncompiled(run: pathlib.Path, epochs: list[list[bytes]]) -> None:
    """For who only wants predictions."""
    best = restore_best(run, compile=False)

    assert not best._is_compiled
    assert isinstance(best(X), tfp.distributions.Distribution)


def test_a_model_whose_loss_cannot_be_recorded_comes_back_uncompiled_with_the_reason(run: pathlib.Path) -> None:
    """The weights are worth more than the loss; what is lacking, and why, is said at the first save and here."""
    lines = (line for line in ["this loss reads from a generator"])
    model = new_model()
    model.compile("adam", loss=lambda y, prediction: (lines, -prediction.log_prob(y))[1])
    with pytest.warns(UserWarning, match="will come back uncompiled: .*cannot be pickled: .*generator"):
        fit(model, ProbCheckpoint(run, "loss"), epochs=1)

    with pytest.warns(UserWarning, match="comes back uncompiled: .*cannot be pickled: .*generator"):
        best = restore_best(run)

    assert not best._is_compiled
    assert weights_of(best) == weights_of(model)


@pytest.mark.parametrize(
    "file",
    ["manifest.json", "recipe.json", "model.safetensors", "optimizer.safetensors"],
)
def test_one_changed_bit_is_found_named_and_passed_over_if_wanted(
    file: str, run: pathlib.Path, epochs: list[list[bytes]]
) -> None:
    """In whatever file: nothing is loaded, and the next best is one argument away."""
    damaged = run / "step-0000000006" / file
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)

    with pytest.raises(DamagedCheckpointError, match=file) as caught:
        restore_best(run)
    with pytest.warns(UserWarning, match=f"Passed over: .*step-0000000006/{file}"):
        next_best = restore_best(run, skip_damaged=True)

    assert "skip_damaged=True" in str(caught.value)
    assert weights_of(next_best) == epochs[0]


def test_a_changed_weight_is_named_with_both_digests(run: pathlib.Path, epochs: list[list[bytes]]) -> None:
    """Where a `.weights.h5` would load silently wrong."""
    damaged = run / "step-0000000006" / "model.safetensors"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    recorded = list_checkpoints(run)[1].files["model.safetensors"].blake3

    with pytest.raises(
        DamagedCheckpointError, match=rf"the manifest records blake3 {recorded}, the file holds [0-9a-f]"
    ):
        restore_best(run)


def test_damage_to_another_checkpoint_does_not_matter(run: pathlib.Path, epochs: list[list[bytes]]) -> None:
    """Only what is loaded is read."""
    (run / "step-0000000003" / "model.safetensors").write_bytes(b"")

    assert weights_of(restore_best(run)) == epochs[1]


def test_with_every_checkpoint_damaged_the_last_error_is_raised(run: pathlib.Path, epochs: list[list[bytes]]) -> None:
    """`skip_damaged` passes over what it can and does not make a model up."""
    for info in list_checkpoints(run):
        (info.path / "model.safetensors").write_bytes(b"")

    with (
        pytest.warns(UserWarning, match="Passed over"),
        pytest.raises(DamagedCheckpointError, match=r"step-0000000009/model\.safetensors"),
    ):
        restore_best(run, skip_damaged=True)


def test_a_builder_stands_in_for_the_recorded_constructor(run: pathlib.Path, epochs: list[list[bytes]]) -> None:
    """Code that moved since can still be used: the weights go by path."""
    made = []

    def build() -> tfk.Model:
        made.append(new_model())
        return made[-1]

    best = restore_best(run, builder=build)

    assert made == [best]
    assert weights_of(best) == epochs[1]


def test_a_changed_architecture_is_an_error_that_lists_every_variable(
    run: pathlib.Path, epochs: list[list[bytes]]
) -> None:
    """Nothing is loaded into a model that is another."""
    with pytest.raises(VariableMismatchError) as caught:
        restore_best(run, builder=lambda: new_model(units=5))

    assert caught.value.unexpected == ("layer-1/bias (2,) float32", "layer-1/kernel (5, 2) float32")
    assert caught.value.different == (
        "layer-0/bias: saved (2,) float32, built (5,) float32",
        "layer-0/kernel: saved (1, 2) float32, built (1, 5) float32",
    )
    assert caught.value.missing == ()
    assert "skip_mismatch=True" in str(caught.value)


def test_skip_mismatch_loads_what_fits_and_warns_of_the_rest(run: pathlib.Path, epochs: list[list[bytes]]) -> None:
    """For a model that grew."""

    def grown() -> tfk.Model:
        added = tfk.layers.Dense(2, bias_initializer=tfk.initializers.Constant(7.0))
        return tfk.Sequential([tfk.Input((1,)), tfk.layers.Dense(2), added, tfp.layers.IndependentNormal(1)])

    with pytest.warns(UserWarning, match="what fits was loaded") as caught:
        best = restore_best(run, builder=grown, skip_mismatch=True, compile=False)

    assert weights_of(best.layers[0]) == epochs[1]
    assert best.layers[1].bias.numpy().tolist() == [7.0, 7.0]
    assert [warning.category for warning in caught].count(UserWarning) == 1


def test_a_builder_that_compiles_has_its_way(run: pathlib.Path, epochs: list[list[bytes]]) -> None:
    """The recorded optimizer's state goes into the optimizer it made, where that has the same variables."""

    def build() -> tfk.Model:
        model = new_model()
        model.compile("adam", loss=lambda y, prediction: -2 * prediction.log_prob(y))
        return model

    best = restore_best(run, builder=build)

    assert int(best.optimizer.iterations) == 6
    assert float(best.evaluate(X, Y, verbose=0)) == pytest.approx(
        2 * float(np.mean(negative_log_likelihood(Y, best(X)))), rel=1e-5
    )


def test_a_builder_that_makes_no_model_is_named(run: pathlib.Path, epochs: list[list[bytes]]) -> None:
    """A forgotten return is told from a checkpoint that is broken."""
    with pytest.raises(Exception, match="NoneType") as caught:
        restore_best(run, builder=lambda: None)

    assert type(caught.value).__module__ == "keras_probckpt.errors"


def test_restoring_leaves_the_directory_as_it_is(run: pathlib.Path, epochs: list[list[bytes]]) -> None:
    """A reader writes nothing, so a directory may be read-only."""

    def entries() -> dict[str, Any]:
        return {str(path): path.stat().st_mtime_ns for path in sorted(run.rglob("*"))}

    before = entries()

    restore_best(run)

    assert entries() == before


def test_a_model_is_restored_while_it_trains(model: tfk.Sequential, run: pathlib.Path) -> None:
    """A reader in the middle of a fit gets the best so far and does not disturb the writer."""
    seen = []
    weights = []

    class Reader(tfk.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            weights.append(weights_of(model))
            seen.append(weights_of(restore_best(run, compile=False)))

    callback = ProbCheckpoint(run)
    fit_scored(model, [1.0, 2.0, 0.5], callback, Finish(callback), Reader())

    assert seen == [weights[0], weights[0], weights[2]]


MADE: list[str] = []


def counted_kernel(shape: Any, dtype: Any = None) -> Any:
    """Begin with zeros, and count."""
    MADE.append("kernel")
    return tf.zeros(shape, dtype)


def counted_model() -> tfk.Model:
    """Build a model, and count."""
    MADE.append("model")
    hidden = tfk.layers.Dense(2, kernel_initializer=counted_kernel)
    return tfk.Sequential([tfk.Input((1,)), hidden, tfp.layers.IndependentNormal(1)])


def test_a_restore_builds_the_model_and_its_variables_once(run: pathlib.Path) -> None:
    """What is going to be overwritten is not made twice."""
    with CheckpointManager(counted_model(), run, builder=counted_model, rehearse=False) as manager:
        manager.save(1)
    MADE.clear()

    restore_latest(run)

    assert MADE == ["model", "kernel"]
