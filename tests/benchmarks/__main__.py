"""Measure what checkpoints cost, ours and others', and print a table of ratios.

    python -m tests.benchmarks                                 # everything; more than an hour on two cores
    python -m tests.benchmarks --few-tools                     # ours and .keras alone; some 25 minutes
    python -m tests.benchmarks --quick                         # the tiny model alone, to see that every part runs
    python -m tests.benchmarks --only stall,restore --json figures.json --markdown --picture stall.png

Each tool is measured in turns with the others, A B C A B C, in one run; a figure is the median of at least five turns,
and a ratio the median of the ratios within the turns. The budgets are those of the design. The other tools are what
TensorFlow brings, and orbax where it is installed: `pip install .[benchmarks]`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import pathlib
import sys
import tempfile
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.benchmarks import durability, epochs, listing, report, restoring, retracing, stall
from tests.benchmarks.figures import Row
from tests.benchmarks.picture import draw
from tests.benchmarks.settings import Settings

SECTIONS = {module.SECTION: module.measure for module in (epochs, retracing, durability, restoring, listing, stall)}


def parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure what checkpoints cost.")
    made.add_argument("--quick", action="store_true", help="the tiny model, two turns, no tools but ours and .keras")
    made.add_argument("--few-tools", action="store_true", help="no tools but ours and .keras")
    made.add_argument("--only", type=lambda text: text.split(","), default=list(SECTIONS), help=", ".join(SECTIONS))
    made.add_argument("--models", type=lambda text: tuple(text.split(",")), help="of the section stall")
    made.add_argument("--json", type=pathlib.Path, help="write every figure to this file")
    made.add_argument("--markdown", action="store_true", help="print the tables as README.md shows them")
    made.add_argument("--picture", type=pathlib.Path, help="draw stall against state size into this file")
    place = pathlib.Path("/var/tmp")  # noqa: S108 - the run makes a new directory in it; /tmp may be memory
    made.add_argument("--directory", type=pathlib.Path, default=place, help="where checkpoints go: a disk, not memory")
    return made


def settings_for(arguments: argparse.Namespace, directory: pathlib.Path) -> Settings:
    """Choose how much is measured."""
    settings = Settings.quick(directory) if arguments.quick else Settings(directory=directory)
    settings = dataclasses.replace(settings, has_peers=settings.has_peers and not arguments.few_tools)
    return dataclasses.replace(settings, scales=arguments.models) if arguments.models else settings


def measure(arguments: argparse.Namespace, settings: Settings, told: dict[str, str]) -> list[Row]:
    """Run the sections that were asked for, each to its end before the next; show and keep what each found at once."""
    rows: list[Row] = []
    for section in arguments.only:
        print(f"measuring: {section}", file=sys.stderr, flush=True)
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints where nobody asked.
            found = SECTIONS[section](settings)
        rows += found
        print(f"\n{section}\n\n{(report.markdown if arguments.markdown else report.table)(found)}", flush=True)
        if arguments.json:
            arguments.json.write_text(report.to_json(rows, told), encoding="utf-8")
    return rows


def main() -> int:
    """Measure and print; return 1 if the arguments name no section."""
    arguments = parser().parse_args()
    if not set(arguments.only) <= set(SECTIONS):
        print(f"--only takes {', '.join(SECTIONS)}, got {', '.join(arguments.only)}")
        return 1
    warnings.simplefilter("ignore")  # the stock savers warn of what is measured here
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="keras-probckpt-") as name:
        directory = pathlib.Path(name)
        os.environ["XDG_CONFIG_HOME"] = str(directory / "config")  # a signing key for this run alone
        told = report.conditions(directory)
        print("\n".join(f"{title}: {text}" for title, text in told.items()), flush=True)
        rows = measure(arguments, settings_for(arguments, directory), told)
    if arguments.picture:
        draw(rows, arguments.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
