"""What a model of the zoo is: how it is made, and what it is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk

__all__ = ["Case", "Cases", "Made", "anneal", "batch", "compiled", "negative_log_likelihood"]

ROWS = 6

_SHAPES = {
    "rows": (2,),
    "points": (1,),
    "series": (5, 2),
    "images": (4, 4, 1),
    "volumes": (3, 3, 3, 1),
    "movies": (3, 4, 4, 1),
}
_LISTED = {
    "tokens": np.int32([[1, 2, 3, 0, 0], [4, 1, 0, 0, 0], [2, 2, 2, 2, 2], [3, 4, 1, 2, 0], [1, 0, 0, 0, 0], [4] * 5]),
    "words": np.array([["red"], ["green"], ["blue"], ["red"], ["unseen"], ["green"]]),
}
_JOINED: dict[str, Any] = {
    "pair": ["rows", "points"],
    "twice": ["rows", "rows"],
    "named": {"left": "rows", "right": "points"},
    "grouped": ["series", "tokens"],
}

# A compiled or plain model, or one with the callbacks it is to be trained with.
Made = tfk.Model | tuple[tfk.Model, list[tfk.callbacks.Callback]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A model of the zoo.

    Attributes:
        make: Makes it, compiled or not, as new.
        inputs: Name of what it is called with, see `batch`.
        targets: Shape of one row's target; a list or dict of shapes for several outputs.
        parts: Names of the attributes that are called to compare outputs; none is the model itself.
        epochs: How long it is trained; each epoch ends with a save, and the last is restored.
        control: What has to look different: the model `"made anew"` and given all variables, or the same model
            `"a step further"`; nothing for models whose comparison needs no control of their own.
    """

    make: Callable[[], Made]
    inputs: str = "rows"
    targets: Any = (1,)
    parts: tuple[str, ...] = ()
    epochs: int = 1
    control: str = ""


class Cases(dict[str, Case]):
    """The models of one module, by what they are for."""

    def add(self, name: str, **options: Any) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
        """Add what the decorated function makes.

        Raises:
            ValueError: If the name is taken: one case would hide another.
        """
        if name in self:
            raise ValueError(f"Two cases are called {name!r}: give one of them another name.")

        def enter(make: Callable[[], Made]) -> Callable[[], Made]:
            self[name] = Case(make=make, **options)
            return make

        return enter


def batch(inputs: str, targets: Any) -> tuple[Any, Any]:
    """Make inputs and targets, the same in each process.

    Args:
        inputs: `"rows"` is `(6, 2)`, `"series"` `(6, 5, 2)`, `"images"` `(6, 4, 4, 1)`, `"volumes"` `(6, 3, 3, 3, 1)`,
            `"movies"` `(6, 3, 4, 4, 1)`, `"tokens"` `(6, 5)` of whole numbers, `"points"` `(6, 1)`, `"pair"` a list of
            two, `"named"` a dict of the same, `"twice"` a list of two equal ones, `"grouped"` a list of a series and
            tokens, `"words"` `(6, 1)` of text, and `"ragged"` rows of different lengths.
        targets: As in `Case`.
    """
    return _inputs(inputs), _targets(targets)


def _inputs(name: str) -> Any:
    if name in _JOINED:
        return tf.nest.map_structure(_inputs, _JOINED[name])
    if name == "ragged":
        return tf.RaggedTensor.from_row_lengths(np.linspace(-1, 1, 12, dtype="float32"), [1, 3, 2, 1, 4, 1])
    return _LISTED[name] if name in _LISTED else _counted(_SHAPES[name])


def _counted(shape: tuple[int, ...]) -> np.ndarray:
    return np.linspace(-1, 1, ROWS * int(np.prod(shape)), dtype="float32").reshape((ROWS, *shape))


def _targets(shapes: Any) -> Any:
    if isinstance(shapes, dict):
        return {name: _targets(shape) for name, shape in shapes.items()}
    if shapes and not isinstance(shapes[0], int):
        return [_targets(shape) for shape in shapes]
    shape = (ROWS, *shapes)
    return (np.arange(np.prod(shape)) % 2).reshape(shape).astype("float32")


def negative_log_likelihood(y: Any, prediction: Any) -> Any:
    """Score a prediction that is a distribution; this loss has an importable name."""
    return -prediction.log_prob(y)


def compiled(model: tfk.Model, **options: Any) -> tfk.Model:
    """Compile for a likelihood, and eagerly: tracing would take longer than these trainings."""
    given = {"optimizer": tfk.optimizers.Adam(0.05), "loss": negative_log_likelihood, "run_eagerly": True}
    model.compile(**{**given, **options})
    return model


def anneal(weight: Any) -> list[tfk.callbacks.Callback]:
    """Make the callback that changes a variable as one that anneals a divergence does; the model does not track it."""
    return [tfk.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: weight.assign_add(0.125))]
