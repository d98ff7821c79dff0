"""How long it takes to have the best model again: in a process of its own, and in a model that is there already."""

from __future__ import annotations

import functools
import pathlib

from keras_probckpt import CheckpointManager, list_checkpoints
from tests.benchmarks.figures import Budget, Case, Row, compared, in_turns, seconds_of
from tests.benchmarks.fresh import READING, loader, run_fresh
from tests.benchmarks.peers import KERAS, LOADABLE, OURS, callbacks, empty
from tests.benchmarks.scales import Trained
from tests.benchmarks.settings import Settings

SECTION = "restore"
BUILT = "restore into a built model"
FRESH = "load in a fresh process, after its imports"
READING_BUDGET = Budget(limit=1.5, text="<= 1.5 x reading")
KERAS_BUDGET = Budget(limit=20.0, text=">= 20 x faster than .keras", is_least=True)


def measure(settings: Settings) -> list[Row]:
    """Save the tiny and the largest model in each format that can be loaded, and load it."""
    return [row for name in dict.fromkeys(("tiny", settings.largest)) for row in _measure_one(name, settings)]


def _measure_one(name: str, settings: Settings) -> list[Row]:
    directory = empty(settings.directory / "restore")
    subject = Trained(name)
    for tool, make in callbacks(are_all=settings.has_peers).items():
        if tool in {OURS, *LOADABLE}:
            subject.fit(1, make(directory))
    paths = {tool: directory / file for tool, file in LOADABLE.items() if (directory / file).exists()}
    paths[READING] = list_checkpoints(directory / "ours")[-1].path
    rows = _rows(name, BUILT, _built(subject, directory / "built", paths, settings), is_judged=name == "large")
    paths[OURS] = directory / "ours"
    fresh: dict[str, Case] = {
        tool: functools.partial(run_fresh, "restore", tool, str(path)) for tool, path in paths.items()
    }
    found, left_out = in_turns(
        fresh, turns=settings.fresh_turns, limit_seconds=settings.limit_seconds, is_warmed_up=False
    )
    empty(directory)
    rows += _rows(name, FRESH, found, is_judged=False)
    return rows + [Row(section=SECTION, model=name, tool=tool, what=FRESH, note=why) for tool, why in left_out.items()]


def _built(
    subject: Trained, run: pathlib.Path, paths: dict[str, pathlib.Path], settings: Settings
) -> dict[str, dict[str, list[float]]]:
    with CheckpointManager(subject.model, run, monitor="loss") as manager:
        manager.save(1, metrics={"loss": 1.0})
        manager.wait_until_finished()
        cases: dict[str, Case] = {OURS: lambda: {"seconds": seconds_of(manager.restore_best)}}
        cases |= {tool: functools.partial(_load, tool, path) for tool, path in paths.items()}
        return in_turns(cases, turns=settings.turns, limit_seconds=settings.limit_seconds)[0]


def _load(tool: str, path: pathlib.Path) -> dict[str, float]:
    return {"seconds": seconds_of(lambda: loader(tool, path))}


def _rows(name: str, what: str, found: dict[str, dict[str, list[float]]], *, is_judged: bool) -> list[Row]:
    """Compare every tool with reading, and ours with `.keras` besides."""
    seconds = {tool: figures["seconds"] for tool, figures in found.items()}
    rows = [
        Row(
            section=SECTION,
            model=name,
            tool=tool,
            what=what,
            values=tuple(values),
            ratio=compared(values, seconds.get(READING)),
            reference=READING,
            budget=READING_BUDGET if is_judged and tool == OURS else None,
        )
        for tool, values in sorted(seconds.items(), key=lambda item: item[0] != OURS)
    ]
    speed_up = Row(
        section=SECTION,
        model=name,
        tool=OURS,
        what=f"{what}, .keras against ours",
        values=tuple(seconds.get(OURS, ())),
        ratio=compared(seconds.get(KERAS, []), seconds.get(OURS)),
        reference=OURS,
        budget=KERAS_BUDGET if is_judged else None,
    )
    return [*rows, speed_up]
