from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from keras_probckpt.errors import CheckpointNotFoundError, CheckpointWriteError
from keras_probckpt.storage.store import CheckpointStore
from tests.storage.memory_filesystem import FaultyFileSystem, MemoryFileSystem
from tests.storage.samples import OWN_KEYS, as_if_the_writer_died, files_of, manifest_of

NAMES = st.sampled_from(["a", "b", "best", "step-0000000001"])
STEPS = st.integers(min_value=0, max_value=5)


class StoreMachine(RuleBasedStateMachine):
    """Whatever the order of commits, failures, removals and sweeps, the store holds what a dict would."""

    def __init__(self) -> None:
        super().__init__()
        self.filesystem = MemoryFileSystem()
        self.store = CheckpointStore(self.filesystem, keys=OWN_KEYS)
        self.model: dict[str, int] = {}

    @rule(name=NAMES, step=STEPS)
    def commit(self, name: str, step: int) -> None:
        """Save, over an older one or not."""
        self.store.commit(name, manifest=manifest_of(step), files=files_of(step))
        self.model[name] = step

    @rule(name=NAMES, step=STEPS, moment=st.integers(min_value=0, max_value=9))
    def commit_on_a_full_disk(self, name: str, step: int, moment: int) -> None:
        """Fail to save."""
        store = CheckpointStore(FaultyFileSystem(self.filesystem, fails_at=moment), keys=OWN_KEYS)
        with pytest.raises(CheckpointWriteError):
            store.commit(name, manifest=manifest_of(step), files=files_of(step))

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        """Remove what is there, and find nothing where nothing is."""
        if name in self.model:
            self.store.remove(self.store.open(name))
            del self.model[name]
        else:
            with pytest.raises(CheckpointNotFoundError):
                self.store.open(name)

    @rule()
    def sweep(self) -> None:
        """Find nothing to clear up: no writer died."""
        assert self.store.sweep() == ()

    @rule()
    def cut_the_power(self) -> None:
        """Lose what is not durable: between two calls that is nothing but the deletion of what is hidden."""
        self.filesystem = self.filesystem.after_power_cut(choose=lambda _states: 0)
        self.store = CheckpointStore(self.filesystem, keys=OWN_KEYS)
        as_if_the_writer_died(self.filesystem)
        self.store.sweep()

    @invariant()
    def the_listing_is_the_model(self) -> None:
        """Each name once, in order of steps, every byte as written, and no file beside."""
        found = self.store.scan().checkpoints
        assert {info.name: info.step for info in found} == self.model
        assert [info.step for info in found] == sorted(self.model.values())
        assert sorted(self.filesystem.list_names()) == sorted(self.model)
        for info in found:
            assert bytes(self.store.read_file(info, "model.safetensors")) == b"".join(
                files_of(info.step)["model.safetensors"]
            )


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
