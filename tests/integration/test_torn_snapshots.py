"""Training at full speed with a save every step: no checkpoint is of two moments."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pytest
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint, list_checkpoints, verify_checkpoint
from keras_probckpt.records import CheckpointInfo
from tests.integration.held import digests_of

FILES = ("model.safetensors", "optimizer.safetensors")
WORDS = np.random.default_rng(0).integers(0, 400, (20, 8))
TARGETS = np.random.default_rng(1).normal(size=(20, 1)).astype("float32")


class Reference(tfk.callbacks.Callback):
    """Records after each step, before anything is saved of it, what a checkpoint of it must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.digests: dict[int, dict[str, str]] = {}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Copy and digest every value, while training waits."""
        self.digests[int(self.model.optimizer.iterations)] = digests_of(self.model)


class Auditor:
    """Reads each checkpoint back, byte by byte, as soon as it is committed."""

    def __init__(self) -> None:
        self.digests: dict[int, dict[str, str]] = {}

    def __call__(self, info: CheckpointInfo) -> None:
        """Read and record, in the thread that wrote it."""
        read = verify_checkpoint(info.path)
        self.digests[info.step] = {file: read.files[file].blake3 for file in FILES}


@dataclasses.dataclass(frozen=True)
class Case:
    """A training.

    Attributes:
        options: Of `compile`.
        arguments: Of `ProbCheckpoint`.
        writes_all: Whether every step is written; otherwise one that a newer supersedes may be dropped.
    """

    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    writes_all: bool = True


# Of the six newest, one is being written, four wait and one is new: none is ever dropped.
EVERY_STEP = {"save_top_k": 0, "save_last": 6}
CASES = {
    "every step": Case(arguments=EVERY_STEP),
    "every step in one kernel": Case({"jit_compile": True}, EVERY_STEP),
    "every step in the training's own thread": Case(arguments={**EVERY_STEP, "save_on_background": False}),
    "what is not superseded": Case(writes_all=False),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("steps", [100, pytest.param(2000, marks=pytest.mark.long)])
def test_each_checkpoint_is_bit_for_bit_the_state_of_its_step(case: Case, steps: int, run: pathlib.Path) -> None:
    """With sparse and dense updates and moving averages, whatever the next steps do while it is written."""
    layers = [tfk.layers.Embedding(400, 32, input_length=8), tfk.layers.Flatten(), tfk.layers.Dense(64, "relu")]
    model = tfk.Sequential([*layers, tfk.layers.BatchNormalization(), tfk.layers.Dense(1)])
    model.compile(tfk.optimizers.Adam(0.01, use_ema=True, jit_compile=False), "mse", **case.options)
    reference, auditor = Reference(), Auditor()
    checkpoint = ProbCheckpoint(run, "loss", save_freq=1, on_commit=[auditor], **case.arguments)

    model.fit(WORDS, TARGETS, batch_size=1, epochs=steps // 20, verbose=0, callbacks=[reference, checkpoint])

    assert sorted(reference.digests) == list(range(1, steps + 1))
    assert auditor.digests == {step: reference.digests[step] for step in auditor.digests}
    assert len({digests["model.safetensors"] for digests in reference.digests.values()}) == steps
    assert list_checkpoints(run)[-1].step == steps
    if case.writes_all:
        assert sorted(auditor.digests) == sorted(reference.digests)
