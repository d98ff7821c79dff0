"""A long training of the tiny model, with a checkpoint each epoch and without any."""

from __future__ import annotations

from keras_probckpt import ProbCheckpoint, list_checkpoints
from tests.benchmarks.figures import Budget, Case, Row, compared, in_turns, seconds_of
from tests.benchmarks.peers import NOTHING, OURS, callbacks, empty
from tests.benchmarks.scales import Trained
from tests.benchmarks.settings import Settings

SECTION = "epochs"
BUDGET = Budget(limit=1.1, text="<= 1.1 x")


def measure(settings: Settings) -> list[Row]:
    """Train all epochs with each tool in turns."""
    subject = Trained("tiny")
    tools = callbacks(are_all=False)
    cases: dict[str, Case] = {NOTHING: lambda: {"fit": seconds_of(lambda: subject.fit(settings.epochs))}}
    for tool in tools:
        cases[tool] = lambda tool=tool: _train(subject, tool, settings)
    found, left_out = in_turns(cases, turns=settings.long_turns, limit_seconds=settings.limit_seconds)
    rows = [
        Row(
            section=SECTION,
            model="tiny",
            tool=tool,
            what=f"{settings.epochs} epochs, a save in each",
            values=tuple(figures["fit"]),
            ratio=compared(figures["fit"], found[NOTHING]["fit"]),
            reference=NOTHING,
            budget=BUDGET if tool == OURS else None,
            note="the last and the best are on disk at the end" if tool == OURS else "",
        )
        for tool, figures in found.items()
    ]
    return rows + [
        Row(section=SECTION, model="tiny", tool=tool, what="left out", note=why) for tool, why in left_out.items()
    ]


def _train(subject: Trained, tool: str, settings: Settings) -> dict[str, float]:
    directory = empty(settings.directory / "epochs")
    callback = callbacks(are_all=False)[tool](directory)
    seconds = seconds_of(lambda: subject.fit(settings.epochs, callback))
    if isinstance(callback, ProbCheckpoint):
        _require_last_and_best(callback, settings.epochs)
    return {"fit": seconds}


def _require_last_and_best(callback: ProbCheckpoint, epochs: int) -> None:
    found = list_checkpoints(callback.filepath)
    scores = {info.logs["loss"] for info in found}
    if found[-1].epoch != epochs or callback.best not in scores:
        raise RuntimeError(f"the last or the best is not there: {[info.epoch for info in found]}")
