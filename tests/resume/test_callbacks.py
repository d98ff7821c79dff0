from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tf_keras as tfk

from tests.resume.trainings import attempt, attempts, plain_model


class Average(tfk.callbacks.Callback):
    """Averages weights, and lowers the rate by a counter that is an attribute of the class at first."""

    count = 0

    def __init__(self) -> None:
        super().__init__()
        self.mean: list[Any] | None = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count, and average."""
        self.count += 1
        weights = self.model.get_weights()
        old = self.mean or weights
        self.mean = [mean + (new - mean) / self.count for mean, new in zip(old, weights, strict=True)]
        self.model.optimizer.learning_rate = 0.1 / self.count


class Noise(tfk.callbacks.Callback):
    """Keeps what nobody can write."""

    def __init__(self, values: Iterator[int]) -> None:
        super().__init__()
        self.values = values


@pytest.mark.parametrize("crash", [(2, 0), (1, 4)], ids=["at an epoch", "within one"])
def test_a_callback_that_tells_nothing_goes_on_as_if_nothing_had_been(
    crash: tuple[int, int], run: pathlib.Path
) -> None:
    """Without get_state and set_state: its attributes are taken, and put back once it has reset itself."""
    script: dict[str, Any] = {"new_model": plain_model, "new_callbacks": lambda: [Average()], "save_freq": 2}
    whole = attempt(run.with_name("whole"), **script)

    resumed = attempts(run, crashes=[crash], **script)

    assert resumed.result == whole.result
    assert resumed.callbacks[0].count == 18
    assert [np.asarray(item).tobytes() for item in resumed.callbacks[0].mean] == [
        np.asarray(item).tobytes() for item in whole.callbacks[0].mean
    ]


def test_what_cannot_be_gone_on_with_is_named_once_at_the_first_save(run: pathlib.Path) -> None:
    """And not at the resume, when it is too late."""
    with pytest.warns(UserWarning, match="begins anew") as caught:
        attempt(run, new_model=plain_model, new_callbacks=lambda: [Noise(iter([1, 2]))])

    (message,) = [str(item.message) for item in caught if "begins anew" in str(item.message)]
    assert message == (
        "A resumed training begins anew with what callbacks keep and is no data: Noise.values (list_iterator). Give "
        "the callback get_state and set_state, or let it keep numbers, texts, arrays and lists of them."
    )
