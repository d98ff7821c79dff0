"""What a run of the benchmarks takes in, and how often it repeats."""

from __future__ import annotations

import dataclasses
import pathlib

__all__ = ["Settings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How much is measured.

    Attributes:
        directory: Where the checkpoints of the run are written.
        scales: Models for the sections that take several.
        turns: Repetitions of each figure.
        fresh_turns: Repetitions of what takes a process of its own.
        has_peers: Whether to measure more than ours and `.keras`.
        epochs: Of the long training of the tiny model.
        long_turns: Repetitions of that. There are machines where a `fit` of its short epochs now and then takes 1.5 to
            two times as long from its first epoch to its last, with a callback or without.
        largest: The model that bytes, memory and reading are measured on.
        counts: Numbers of checkpoints to list.
        limit_seconds: What one turn of one tool may take.
    """

    directory: pathlib.Path
    scales: tuple[str, ...] = ("tiny", "small", "medium", "large", "fewer", "many")
    turns: int = 5
    fresh_turns: int = 5
    has_peers: bool = True
    epochs: int = 500
    long_turns: int = 11
    largest: str = "large"
    counts: tuple[int, ...] = (10, 1_000, 10_000)
    limit_seconds: float = 90.0

    @classmethod
    def quick(cls, directory: pathlib.Path) -> Settings:
        """Take just enough to see that every part still runs."""
        return cls(
            directory=directory,
            scales=("tiny",),
            turns=2,
            fresh_turns=1,
            has_peers=False,
            epochs=20,
            long_turns=2,
            largest="tiny",
            counts=(10, 100),
        )
