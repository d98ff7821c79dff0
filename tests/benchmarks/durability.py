"""How long a checkpoint takes to be durable, how large it is, and how much memory it takes meanwhile."""

from __future__ import annotations

import functools
import os
import pathlib
import time

from keras_probckpt import CheckpointManager, list_checkpoints
from tests.benchmarks.figures import Budget, Case, Row, compared, in_turns, seconds_of
from tests.benchmarks.fresh import run_fresh
from tests.benchmarks.peers import KERAS, OURS, empty
from tests.benchmarks.scales import Trained
from tests.benchmarks.settings import Settings

SECTION = "durability"
RAW = "write and fsync of the same bytes"
DURABLE_BUDGET = Budget(limit=1.25, text="<= 1.25 x raw")
MEMORY_BUDGET = Budget(limit=1.1, text="<= 1.1 x state", is_ratio=False)


def measure(settings: Settings) -> list[Row]:
    """Save the tiny and the largest model, and look at what a save takes."""
    rows = []
    for name in dict.fromkeys(("tiny", settings.largest)):
        subject = Trained(name)
        rows += _durable(subject, settings)
        del subject
    return rows + _memory(settings)


def _durable(subject: Trained, settings: Settings) -> list[Row]:
    directory = empty(settings.directory / "durable")
    durable_at = []
    manager = CheckpointManager(
        subject.model, directory / "run", on_commit=[lambda _: durable_at.append(time.perf_counter())]
    )
    step = 0

    def save() -> dict[str, float]:
        nonlocal step
        step += 1
        start = time.perf_counter()
        manager.save(step)
        manager.wait_until_finished()
        return {"seconds": durable_at[-1] - start}

    save()
    files = _bytes_of(list_checkpoints(manager.directory)[-1].path)
    cases = {RAW: lambda: {"seconds": _write(directory / "raw", files)}, OURS: save}
    found, _ = in_turns(cases, turns=settings.turns, limit_seconds=settings.limit_seconds)
    manager.close()
    empty(directory)
    raw, ours = (found[tool]["seconds"] for tool in (RAW, OURS))
    size_bytes = sum(len(data) for data in files)
    is_large = subject.name == "large"
    return [
        Row(
            section=SECTION,
            model=subject.name,
            tool=OURS,
            what="save call to durable",
            values=tuple(ours),
            ratio=compared(ours, raw),
            reference=RAW,
            budget=DURABLE_BUDGET if is_large else None,
            note="" if is_large else "one small file against five in a directory that is renamed",
        ),
        Row(section=SECTION, model=subject.name, tool=RAW, what="raw write", values=tuple(raw)),
        Row(
            section=SECTION,
            model=subject.name,
            tool=OURS,
            what="bytes on disk",
            unit="B",
            values=(size_bytes,),
            ratio=size_bytes / subject.state_bytes,
            reference="bytes of state",
        ),
    ]


def _bytes_of(path: pathlib.Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(path.iterdir())]


def _write(path: pathlib.Path, files: list[bytes]) -> float:
    """Write bytes to one new file, as durably as a checkpoint; remove it when the time is taken."""

    def write() -> None:
        with path.open("xb", buffering=0) as file:
            for data in files:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        descriptor = os.open(path.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    seconds = seconds_of(write)
    path.unlink()
    return seconds


def _memory(settings: Settings) -> list[Row]:
    """Compare the peak memory of a training with saves with that of one without, in a process for each figure."""
    cases: dict[str, Case] = {
        tool: functools.partial(_memory_of, tool, settings) for tool in (OURS, KERAS)[: 2 if settings.has_peers else 1]
    }
    found, _ = in_turns(cases, turns=settings.fresh_turns, limit_seconds=settings.limit_seconds, is_warmed_up=False)
    return [
        Row(
            section=SECTION,
            model=settings.largest,
            tool=tool,
            what="peak memory of a training with saves, beyond one without",
            unit="x state",
            values=tuple(figures["extra"]),
            budget=MEMORY_BUDGET if tool == OURS and settings.largest == "large" else None,
        )
        for tool, figures in found.items()
    ]


def _memory_of(tool: str, settings: Settings) -> dict[str, float]:
    place = empty(settings.directory / "memory")
    figures = run_fresh("memory", settings.largest, tool, str(place))
    empty(place)
    return figures
