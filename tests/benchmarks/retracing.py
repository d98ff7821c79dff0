"""What the wish to resume costs: an exact place in the data, and the new traces of `reproducible=True`."""

from __future__ import annotations

import functools

import tf_keras as tfk

from keras_probckpt import ProbCheckpoint
from tests.benchmarks.figures import Case, Row, compared, in_turns, seconds_of
from tests.benchmarks.peers import NOTHING, OURS, empty
from tests.benchmarks.scales import SCALES, Trained
from tests.benchmarks.settings import Settings

SECTION = "resume"
WISHES = {
    OURS: {},
    "resume=True": {"resume": True},
    "reproducible=True": {"resume": True, "reproducible": True},
}


def measure(settings: Settings) -> list[Row]:
    """Train with each wish in turns, a save in each epoch."""
    return [row for name in ("tiny", "small") if name in settings.scales for row in _measure_one(name, settings)]


def _measure_one(name: str, settings: Settings) -> list[Row]:
    tfk.utils.set_random_seed(1)
    subject = Trained(name)
    cases: dict[str, Case] = {NOTHING: lambda: _epoch_of(subject)}
    for tool in WISHES:
        cases[tool] = functools.partial(_train, subject, tool, settings)
    found, _ = in_turns(cases, turns=settings.turns, limit_seconds=settings.limit_seconds)
    return [
        Row(
            section=SECTION,
            model=name,
            tool=tool,
            what="epoch with a save",
            values=tuple(figures["epoch"]),
            ratio=compared(figures["epoch"], found[NOTHING]["epoch"]),
            reference=NOTHING,
            note="one new trace of the train step for each save" if tool.startswith("reproducible") else "",
        )
        for tool, figures in found.items()
    ]


def _train(subject: Trained, tool: str, settings: Settings) -> dict[str, float]:
    directory = empty(settings.directory / "resume")
    return _epoch_of(subject, ProbCheckpoint(directory / "run", monitor="loss", **WISHES[tool]))


def _epoch_of(subject: Trained, *callbacks: tfk.callbacks.Callback) -> dict[str, float]:
    epochs = SCALES[subject.name].epochs
    return {"epoch": seconds_of(lambda: subject.fit(epochs, *callbacks)) / epochs}
