"""Runs to decide about: a checkpoint with only what the policies look at, and strategies that make runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from keras_probckpt.policy.retention import Retention
from keras_probckpt.records import Objective

LEAST_LOSS = Objective(monitor="val_loss", mode="min")
MOST_LOG_PROB = Objective(monitor="val_loss", mode="max")


@dataclasses.dataclass(frozen=True)
class Saved:
    """What the policies look at of a checkpoint."""

    step: int
    epoch: int | None
    batch: int | None
    logs: Mapping[str, float]


def as_infos(scores: Mapping[int, float | None]) -> list[Saved]:
    """Make a run that saved at each epoch's end, from its `val_loss` by step; the first step is epoch 1's.

    A score of `None` is a checkpoint whose logs lack the monitor.
    """
    return [
        Saved(step=step, epoch=number, batch=None, logs={} if score is None else {"val_loss": score})
        for number, (step, score) in enumerate(scores.items(), start=1)
    ]


def steps_of(infos: list[Saved]) -> list[int]:
    """Read the steps, in the order given."""
    return [info.step for info in infos]


# Few and coarse, so that ties and changes of exactly min_delta are common.
scores = st.one_of(
    st.none(),
    st.sampled_from([math.nan, math.inf, -math.inf]),
    st.integers(0, 12).map(lambda tenths: tenths / 8),
)


def runs(*, min_size: int = 0, max_size: int = 12) -> st.SearchStrategy[list[Saved]]:
    """Make runs of some epochs, in order."""
    return st.lists(scores, min_size=min_size, max_size=max_size).map(
        lambda drawn: as_infos(dict(enumerate(drawn, start=1)))
    )


def objectives(**fixed: Any) -> st.SearchStrategy[Objective]:
    """Make meanings of "best"."""
    given = {
        "mode": st.sampled_from(["min", "max"]),
        "min_delta": st.sampled_from([0.0, 0.125, 0.3]),
        "start_from_epoch": st.integers(0, 3),
    }
    return st.builds(Objective, monitor=st.just("val_loss"), **{**given, **fixed})


def retentions(**fixed: Any) -> st.SearchStrategy[Retention]:
    """Make rules that may remove something."""
    given = {
        "save_top_k": st.integers(0, 4),
        "save_last": st.integers(0, 3),
        "keep_every_n_epochs": st.one_of(st.none(), st.integers(1, 4)),
    }
    return st.builds(Retention, **{**given, **fixed})
