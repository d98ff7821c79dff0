"""The picture of README.md: the stall of a save against the size of the state, for every tool."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

from tests.benchmarks.figures import Row
from tests.benchmarks.peers import OURS

__all__ = ["draw"]

# Models that differ in their size alone.
MODELS = ("tiny", "small", "medium", "large")


def draw(rows: Iterable[Row], path: pathlib.Path) -> None:
    """Draw the rows of the section "stall" into a file."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.what == "stall per save" and row.model in MODELS and row.median:
            lines.setdefault(row.tool, []).append((row.state_bytes / 1e6, row.median * 1e3))
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for tool, points in lines.items():
        is_ours = tool == OURS
        axes.plot(
            *zip(*sorted(points), strict=True),
            marker="o",
            label=tool,
            linewidth=3.0 if is_ours else 1.2,
            color="black" if is_ours else None,
            zorder=3 if is_ours else 2,
        )
    axes.set(xscale="log", yscale="log", xlabel="weights and optimizer state (MB)", ylabel="stall per save (ms)")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=120)
    plt.close(figure)
