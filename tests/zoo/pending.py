"""The models of the zoo that do not come back yet: name and reason of each."""

from __future__ import annotations

__all__ = ["PENDING"]

PENDING: tuple[tuple[str, str], ...] = (
    (
        "public: a soft actor-critic with four optimizers and a list of past returns",
        "comes back, but its `call` is a `tf.function` that samples, and the trace of the proof keeps its seeds",
    ),
)
