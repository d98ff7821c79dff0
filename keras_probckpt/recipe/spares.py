"""The layers and variables that users' objects hold, as they are now, in reserve for what constructors make otherwise.

A layer may be appended to a list, or a head replaced, after the model was made: a constructor that is called again does
not know of it. Where a model that is rebuilt has other layers or variables than were saved, it is built once more, and
what its objects hold is then compared with what was recorded here: what is missing or other is made of its node.

The node is a list of `{"path": [...], "children": [[name, node], ...]}`, with `"size"` for a list, `"keys"` for a dict
that holds layers, and for a layer with `"order"`, in which Keras has its weights.
"""

from __future__ import annotations

import functools
import operator
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.model.attributes import COMPILE, closed_names, holding_ids, is_foreign
from keras_probckpt.model.objects import Place, children_of, is_atom, is_graph_network, is_of_library, is_tracked
from keras_probckpt.recipe.attribute_names import is_bookkeeping, set_by
from keras_probckpt.recipe.attributes import find_recorded
from keras_probckpt.recipe.bases import base_of
from keras_probckpt.recipe.codec import BUILDER_ADVICE, Decoder, Encoder, Node, field
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.same_nodes import NodeComparison

__all__ = ["put_spares", "record_spares"]

# Where an object makes what it has; it does so again.
_MAKES_LATER = ("build", "call", "build_from_config", "__call__")
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
_OPTIMIZERS = (tfk.optimizers.Optimizer, tfk.optimizers.legacy.Optimizer)
# A spare is rarely needed, so none makes a checkpoint large.
_LIMIT_BYTES = 1 << 18


def record_spares(places: Sequence[Place], encoder: Encoder) -> list[Node]:
    """Write the layers and variables that users' objects hold; what cannot be written is left out.

    Args:
        places: The walk over the model.
        encoder: Has written the model already.
    """
    holding = holding_ids(places)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What a spare would keep too much of is not kept.
        entries = [_entry(place, holding, encoder) for place in _open_places(places)]
    return [entry for entry in entries if len(entry) > 1]


def _open_places(places: Sequence[Place]) -> Iterator[Place]:
    """Give the users' objects, and the containers in them, of which others may have changed what they hold."""
    closed: set[tuple[str, ...]] = set()
    for place in places:
        is_closed = place.path in closed or place.path[:1] == (COMPILE,)
        is_users = not is_of_library(type(place.item)) and not isinstance(place.item, (list, dict))
        if is_closed and not is_users:
            closed.update((*place.path, name) for name in place.children)
            continue
        closed.update((*place.path, name) for name in closed_names(place.item, place.children))
        if is_users or isinstance(place.item, (list, dict)):
            yield place


def _entry(place: Place, holding: set[int], encoder: Encoder) -> dict[str, Node]:
    entry: dict[str, Node] = {"path": list(place.path)}
    # Of an object that is written by its state, its node has it all.
    if encoder.tag_of(place.item) in ("state", "pickle", "built"):
        return entry
    names = [name for name in _names_in(place.item) if name in place.children]
    held = {name: place.children[name] for name in names if _is_spared(place.children[name], holding)}
    nodes = {name: _written(item, encoder, "/".join((*place.path, name))) for name, item in held.items()}
    children = [[name, node] for name, node in nodes.items() if node is not None]
    if not held:
        return entry
    if children:
        entry["children"] = children
    if isinstance(place.item, dict):
        entry["keys"] = list(place.children)
    elif isinstance(place.item, list):
        entry["size"] = len(place.children)
    elif isinstance(place.item, tfk.layers.Layer):
        entry["order"] = _order_of(place.item)
    return entry


def _names_in(item: Any) -> list[str]:
    """Name what users' code puts into an object before it is called."""
    names = list(children_of(item) or {})
    if isinstance(item, (list, dict)):
        return names
    cls = type(item)
    base = base_of(cls) or object
    later = set_by(_MAKES_LATER, cls, base)
    own = [
        name for name in names if name not in later and not is_bookkeeping(name, base) and not is_foreign(item, name)
    ]
    return [name for name in own if not (is_graph_network(item) and name.startswith("layer-"))]


def _is_spared(value: Any, holding: set[int]) -> bool:
    if isinstance(value, (*_FUNCTIONS, *_OPTIMIZERS)):
        return False
    return is_tracked(value) or (id(value) in holding and not is_atom(value))


def _written(value: Any, encoder: Encoder, where: str) -> Node | None:
    try:
        with encoder.undone_on_error():
            before = encoder.size_bytes
            node = encoder.encode(value, where)
            _require_small(encoder.size_bytes - before, where)
            return node
    except UnrecordableError:
        return None


def _require_small(size_bytes: int, where: str) -> None:
    if size_bytes > _LIMIT_BYTES:
        raise UnrecordableError(where=where, problem="it is too large for a spare", advice=BUILDER_ADVICE)


def put_spares(model: tfk.Model, entries: Sequence[Node], decoder: Decoder) -> None:
    """Give the objects of a model what they held, where their constructors made something else.

    Args:
        model: The model; it was not called yet.
        entries: What `record_spares` wrote.
        decoder: Reads the nodes.

    Raises:
        MalformedRecipeError: If the entries are not of the form that `record_spares` gives them.
    """
    for where, entry, item in find_recorded(model, entries, "spares"):
        if item is None:
            continue
        children = _checked(entry.get("children", []), where)
        present = children_of(item) or {}
        put = {name: made for name, node in children for made in _other(present, name, node, decoder, where)}
        if isinstance(item, (list, dict)):
            _fill(item, entry, put, where)
            continue
        for name, value in put.items():
            call(setattr, [item, name, value], {}, f"{where}.{name}")
        if "order" in entry and isinstance(item, tfk.layers.Layer):
            _put_in_order(item, field(entry, "order", list, where))


def _checked(recorded: Node, where: str) -> list[Any]:
    pairs = recorded if isinstance(recorded, list) else [None]
    if not all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):  # noqa: PLR2004
        raise MalformedRecipeError(where=where, problem=f"a list of names and nodes is needed: {recorded!r:.80}")
    return pairs


def _other(present: Mapping[str, Any], name: str, node: Node, decoder: Decoder, where: str) -> list[Any]:
    """Make what a node stands for, unless what is there is like it; then that is what the node stands for."""
    if name in present and NodeComparison(decoder).adopts(node, present[name]):
        return []
    return [decoder.decode(node, f"{where}.{name}")]


def _fill(item: Any, entry: dict[str, Node], put: Mapping[str, Any], where: str) -> None:
    """Let a list or dict hold what it held. It stays the same object, which Keras has tracked since it was made."""
    if isinstance(item, dict):
        keys = field(entry, "keys", list, where)
        known = {str(key): key for key in item}
        for name in known.keys() - set(keys):
            del item[known[name]]
        for name, value in put.items():
            item[known.get(name, name)] = value
        return
    size, now = field(entry, "size", int, where), list(item)
    # What is no layer is put there with the other attributes.
    wanted = [put.get(str(index), now[index] if index < len(now) else None) for index in range(max(0, size))]
    is_longer = len(wanted) >= len(now) and all(map(operator.is_, wanted, now))
    if not is_longer:
        item.clear()
    item.extend(wanted[len(item) :])


def _order_of(layer: Any) -> list[str]:
    """Name what Keras tracks of a layer, in the order of its weights."""
    names = {id(child): name for name, child in (children_of(layer) or {}).items()}
    return [names[id(item)] for item in layer._self_tracked_trackables if id(item) in names]


def _put_in_order(layer: Any, order: list[Any]) -> None:
    """Sort what Keras tracks of a layer: what was put in place of something else has come last."""
    names = {id(child): name for name, child in (children_of(layer) or {}).items()}
    ranks = {name: rank for rank, name in enumerate(order)}
    layer._self_tracked_trackables.sort(key=lambda item: ranks.get(names.get(id(item)), len(ranks)))
