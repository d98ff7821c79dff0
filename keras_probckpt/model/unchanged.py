"""Call a model without changing it: whatever its code sets, counts or collects is as it was afterwards."""

from __future__ import annotations

import contextlib
import operator
import types
from collections.abc import Iterator, Mapping
from typing import Any

import tf_keras as tfk

from keras_probckpt.model.attributes import roots_of
from keras_probckpt.model.members import filled_cells, member
from keras_probckpt.model.objects import Place, walk

__all__ = ["set_losses", "unchanged"]


@contextlib.contextmanager
def unchanged(model: tfk.layers.Layer) -> Iterator[None]:
    """Put back what a call of a layer or model changes: attributes of all objects in it, containers, closures, losses.

    Variables keep what a call assigns to them: a traced call assigns nothing.
    """
    places = list(walk(roots_of(model)))
    kept = [_keep(place) for place in places]
    layers = [place.item for place in places if isinstance(place.item, tfk.layers.Layer)]
    eager_losses = [getattr(layer._thread_local, "_eager_losses", []) for layer in layers]
    generators = [item for layer in layers if (item := getattr(layer, "_random_generator", None)) is not None]
    seeds = [generator._seed for generator in generators]
    try:
        yield
    finally:
        for put_back in kept:
            put_back()
        for layer, losses in zip(layers, eager_losses, strict=True):
            layer._thread_local._eager_losses = losses
        for generator, seed in zip(generators, seeds, strict=True):
            generator._seed = seed


def set_losses(layer: tfk.layers.Layer, losses: list[Any]) -> None:
    """Set the losses that a layer has collected, and not as an attribute that Keras would track from then on."""
    object.__setattr__(layer, "_losses", losses)


def _keep(place: Place) -> Any:
    """Return what puts an object back as it is now."""
    item = place.item
    if isinstance(item, types.FunctionType):
        return _kept_cells(item)
    parts = [part for part in (_contents_of(item), *map(_contents_of, _bookkeeping_lists(item))) if part is not None]
    copies = [dict(part) if isinstance(part, dict) else list(part) for part in parts]

    def put_back() -> None:
        for part, copy in zip(parts, copies, strict=True):
            if not _are_same(part, copy):
                part.clear()
                part.update(copy) if isinstance(part, dict) else part.extend(copy)

    return put_back


def _bookkeeping_lists(item: Any) -> list[Any]:
    """Give the lists and dicts that an object keeps among its attributes, those that the walk does not show too."""
    if isinstance(item, (Mapping, list, tuple)) or not hasattr(item, "__dict__"):
        return []
    return [value for value in vars(item).values() if isinstance(value, (list, dict))]


def _contents_of(item: Any) -> Any:
    """Give the list or dict in which an object keeps what it holds."""
    if isinstance(item, list):
        return getattr(item, "_storage", item)
    if isinstance(item, dict):
        return member(item, "__wrapped__", item)
    return getattr(item, "__dict__", None) if not isinstance(item, (tuple, type)) else None


def _are_same(part: Any, copy: Any) -> bool:
    if len(part) != len(copy):
        return False
    if isinstance(part, dict):
        return all(map(operator.is_, part.values(), copy.values())) and all(map(operator.eq, part, copy))
    return all(map(operator.is_, part, copy))


def _kept_cells(function: types.FunctionType) -> Any:
    cells = [(cell, cell.cell_contents) for cell in filled_cells(function).values()]

    def put_back() -> None:
        for cell, content in cells:
            if cell.cell_contents is not content:
                cell.cell_contents = content

    return put_back
