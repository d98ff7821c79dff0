"""How long it takes to list the checkpoints of a run, and how that grows with their number."""

from __future__ import annotations

import pathlib
import shutil

from keras_probckpt import CheckpointManager, list_checkpoints
from tests.benchmarks.figures import Row, compared, in_turns, seconds_of
from tests.benchmarks.peers import OURS, empty
from tests.benchmarks.scales import Trained
from tests.benchmarks.settings import Settings

SECTION = "list"
READING = "reading their manifests"


def measure(settings: Settings) -> list[Row]:
    """List runs of different lengths in turns, beside reading the same files."""
    directory = empty(settings.directory / "list")
    with CheckpointManager(Trained("tiny").model, directory / "one") as manager:
        manager.save(1)
    original = list_checkpoints(directory / "one")[0].path
    cases = {}
    for count in settings.counts:
        run = directory / f"run-{count}"
        for number in range(count):
            shutil.copytree(original, run / f"step-{number:010d}")
        cases[f"{OURS} {count}"] = lambda run=run: {"seconds": seconds_of(lambda: list_checkpoints(run))}
        cases[f"{READING} {count}"] = lambda run=run: {"seconds": seconds_of(lambda: _read_manifests(run))}
    found, _ = in_turns(cases, turns=settings.turns, limit_seconds=settings.limit_seconds)
    empty(directory)
    seconds = {tool: figures["seconds"] for tool, figures in found.items()}
    return [_row(count, settings.counts, seconds) for count in settings.counts]


def _read_manifests(run: pathlib.Path) -> None:
    for checkpoint in run.iterdir():
        (checkpoint / "manifest.json").read_bytes()


def _row(count: int, counts: tuple[int, ...], seconds: dict[str, list[float]]) -> Row:
    values = seconds[f"{OURS} {count}"]
    growth = ""
    if count != counts[0]:
        fewer = counts[counts.index(count) - 1]
        times = compared(values, seconds[f"{OURS} {fewer}"]) or 0.0
        growth = f"{times:.1f} x the time for {count / fewer:.0f} x the checkpoints"
    return Row(
        section=SECTION,
        model=f"{count:,} checkpoints",
        tool=OURS,
        what="list_checkpoints",
        values=tuple(values),
        ratio=compared(values, seconds[f"{READING} {count}"]),
        reference=READING,
        note=growth,
    )
