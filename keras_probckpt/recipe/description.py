"""What the layers of a live model are, as plain values to compare; nothing is ever made of them.

Every layer is described by its class, its configuration and its code, under its path. A function or class of the user's
is described once, in a list, by its name, its source text and what else decides what it does. Names and seeds are left
out: each process makes up its own.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk
from tf_keras.src.engine import functional, keras_tensor

from keras_probckpt.format.digest import digest_hex
from keras_probckpt.model.objects import is_of_library
from keras_probckpt.recipe.code_uses import label_of, used_by
from keras_probckpt.recipe.codec import KERAS_INSTRUCTION, TAG, Encoder, Kind, Node
from keras_probckpt.recipe.functions import REFERENCE_KINDS, is_referable
from keras_probckpt.recipe.graphs import GRAPH_KINDS, calls_in_order
from keras_probckpt.recipe.kinds import ALL_KINDS
from keras_probckpt.recipe.methods import METHOD_KINDS
from keras_probckpt.recipe.sources import source_of

__all__ = ["describe_layers"]

# Each process makes up its own names and seeds, and Keras writes the size of the first batch into the shapes.
_MADE_UP = frozenset({"name", "seed", "batch_input_shape", "batch_shape"})
# The optimizer's arguments change in a training, and are saved with its variables.
_COMPILED = ("loss", "metrics", "weighted_metrics", "loss_weights")
_SHOWN_NUMBERS = 16
_LONGEST_LIST = 100
_LIMIT_DIGEST_BYTES = 1 << 20

# Of a node with one of these tags, the field that says it all.
_ESSENCE = {
    **dict.fromkeys(("known", "policy", "enum", "np.dtype", "tf.DType"), "name"),
    **dict.fromkeys(("tuple", "set", "frozenset", "dict"), "items"),
    **dict.fromkeys(("slice", "range"), "bounds"),
    "float": "value",
    "bytes": "base64",
    "tf.TensorShape": "dimensions",
}


def describe_layers(
    layers: Mapping[str, tfk.layers.Layer], *, compiled: Mapping[str, Any], builder: Any = None
) -> dict[str, Node]:
    """Describe the layers of a model, and the losses and metrics it was compiled with.

    Args:
        layers: The model, at the path `""`, and the layers in it by path, parents before their children.
        compiled: The arguments of `compile`; empty for a model that was not compiled.
        builder: The function that built the model, if one did.

    Returns:
        `{"layers": {path: {"class", "config", "code"}}, "compile": {...}, "functions": [{"name", "source", "uses"}]}`,
        with `"builder"` where there is one.
    """
    describer = _Describer(layers)
    return {
        **({} if builder is None else {"builder": describer.value(builder)}),
        "layers": describer.layers(),
        "compile": {key: describer.value(compiled[key]) for key in _COMPILED if compiled.get(key) is not None},
        "functions": describer.functions(),
    }


class _Describer:
    """Describes one model."""

    def __init__(self, layers: Mapping[str, tfk.layers.Layer]) -> None:
        self._layers = {path: item for path, item in layers.items() if not isinstance(item, tfk.metrics.Metric)}
        self._paths = {id(layer): path for path, layer in self._layers.items()}
        self._current: Any = None
        self._referred: set[str] = set()
        self._functions: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._encoder = Encoder(self._kinds())

    def layers(self) -> dict[str, Node]:
        described: dict[str, Node] = {}
        for path, layer in self._layers.items():
            parent = self._parent(path)
            # What a layer of Keras or TFP makes for itself is its own affair, and differs from version to version.
            is_own = parent is None or (parent in described and not self._is_closed(parent))
            if is_own or path in self._referred:
                described[path] = self._layer(layer)
        return described

    def functions(self) -> list[Node]:
        """Describe the functions met so far, and those that they use."""
        described: list[Node] = []
        while len(described) < len(self._functions):  # Each may add further ones.
            value = self._functions[len(described)]
            uses = {name: self.value(item) for name, item in used_by(value)}
            source = "" if is_of_library(value) else source_of(value)
            described.append({"name": label_of(value), "source": source, "uses": uses})
        return described

    def value(self, value: Any) -> Node:
        """Describe any value; of what cannot be, its class."""
        try:
            return _plain(self._encoder.encode(value, "description"))
        except Exception:  # noqa: BLE001 - users' objects may do anything when they are asked; training goes on
            return _plain({TAG: "thing", **_class_alone(value, self._encoder, "description")})

    def _is_closed(self, path: str) -> bool:
        cls = type(self._layers[path])
        return is_of_library(cls) and cls not in (tfk.Sequential, functional.Functional)

    def _parent(self, path: str) -> str | None:
        parent: str | None = path or None
        while parent and (parent == path or parent not in self._layers):
            parent = parent.rpartition("/")[0]
        return parent

    def _layer(self, layer: tfk.layers.Layer) -> Node:
        described: dict[str, Node] = {"class": label_of(type(layer)), "config": self._config(layer)}
        if not is_of_library(type(layer)):
            described["code"] = self._number(type(layer))
        return described

    def _config(self, layer: tfk.layers.Layer) -> Node:
        if type(layer) is tfk.Sequential:
            return {}  # It is its layers, which have paths of their own.
        if type(layer) is functional.Functional:
            return {"calls": self._calls(layer)}
        self._current = layer
        described = self.value(layer)
        self._current = None
        return described.get("config", {key: item for key, item in described.items() if key not in _MADE_UP})

    def _calls(self, model: Any) -> list[str]:
        """Write which layer is called on what; the order in which that was done does not matter."""
        nodes = [node for node in calls_in_order(model) if not node.is_input]
        return sorted(
            f"{self._place(node.layer)}({', '.join(self._arguments(node.call_args, node.call_kwargs))})"
            for node in nodes
        )

    def _arguments(self, positional: Sequence[Any], keywords: Mapping[str, Any]) -> list[str]:
        named = [f"{key}={self._written(keywords[key])}" for key in sorted(keywords) if key not in _MADE_UP]
        return [*map(self._written, positional), *named]

    def _written(self, value: Any) -> str:
        if isinstance(value, keras_tensor.KerasTensor):
            history = value._keras_history
            return self._place(history.layer) + (f"[{history.tensor_index}]" if history.tensor_index else "")
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(map(self._written, value))}]"
        if isinstance(value, dict):
            return f"{{{', '.join(f'{key}: {self._written(value[key])}' for key in sorted(value, key=str))}}}"
        return json.dumps(self.value(value), sort_keys=True)

    def _place(self, layer: Any) -> str:
        return self._paths.get(id(layer), type(layer).__name__)

    def _number(self, value: Any) -> int:
        """Note a function or class for the list of them, once; return its place there."""
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._functions)
            self._functions.append(value)
        return self._numbers[id(value)]

    def _kinds(self) -> Sequence[Kind]:
        left_out = {kind.tag for kind in (*METHOD_KINDS, *REFERENCE_KINDS, *GRAPH_KINDS)}
        return (
            _kind("layer", self._is_at_path, self._refer),
            # One that stands for no layer of the model, such as an argument as it was given.
            _kind("graph", lambda value: type(value) in (tfk.Sequential, functional.Functional), _class_alone),
            _kind("array", lambda value: isinstance(value, (np.ndarray, np.generic)) or _is_eager(value), _array),
            _kind("instruction", _is_instruction, _instruction),
            _kind("variable", lambda value: isinstance(value, tf.Variable), _shape),
            *(_kind(kind.tag, kind.matches, kind.encode) for kind in ALL_KINDS if kind.tag not in left_out),
            _kind("function", is_referable, self._function),
            _kind("thing", lambda value: type(value) not in (list, dict), _class_alone),
        )

    def _is_at_path(self, value: Any) -> bool:
        return isinstance(value, tfk.layers.Layer) and value is not self._current and id(value) in self._paths

    def _refer(self, value: Any, _encoder: Encoder, _where: str) -> dict[str, Node]:
        self._referred.add(self._paths[id(value)])
        return {"layer": self._paths[id(value)]}

    def _function(self, value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
        if isinstance(value, types.MethodType):
            return {"function": self._number(value.__func__), "self": encoder.encode(value.__self__, where)}
        return {"function": self._number(value)}


def _kind(tag: str, matches: Callable[[Any], bool], encode: Callable[[Any, Encoder, str], dict[str, Node]]) -> Kind:
    """Make a kind that is only ever written; what cannot be written otherwise is written as its class."""

    def encode_or_class(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
        try:
            return encode(value, encoder, where)
        except Exception:  # noqa: BLE001 - as in `_Describer.value`
            return _class_alone(value, encoder, where)

    return Kind(tag=tag, matches=matches, encode=encode_or_class, decode=lambda node, _decoder, _where: node)


def _class_alone(value: Any, _encoder: Encoder, _where: str) -> dict[str, Node]:
    return {"class": label_of(type(value)), "arguments": {}}


def _is_eager(value: Any) -> bool:
    return isinstance(value, tf.Tensor) and hasattr(value, "numpy")


def _shape(value: Any, _encoder: Encoder, _where: str) -> dict[str, Node]:
    return {type(value).__name__.lower(): f"{value.dtype.name} {value.shape}"}


def _array(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    array = np.asarray(value)
    described = {"array": f"{array.dtype.name} {array.shape}"}
    if array.size <= _SHOWN_NUMBERS:
        described["values"] = encoder.encode(array.tolist(), where)
    elif array.nbytes <= _LIMIT_DIGEST_BYTES and not array.dtype.hasobject:
        described["digest"] = digest_hex(np.ascontiguousarray(array).tobytes())
    return described


def _is_instruction(value: Any) -> bool:
    return type(value) is dict and KERAS_INSTRUCTION in value and isinstance(value.get("config"), dict)


def _instruction(value: dict[str, Any], encoder: Encoder, where: str) -> dict[str, Node]:
    arguments = {key: encoder.encode(item, f"{where}.{key}") for key, item in value["config"].items()}
    is_keras = str(value.get("module", "keras")).partition(".")[0] in ("keras", "tf_keras")
    return {"class": ("tf_keras." if is_keras else "") + str(value[KERAS_INSTRUCTION]), "arguments": arguments}


def _plain(node: Node) -> Node:
    """Take the tags off a node: what is left is told apart by its keys."""
    if isinstance(node, list) and len(node) > _LONGEST_LIST:
        return {"items": len(node), "digest": digest_hex(json.dumps([_plain(item) for item in node]).encode())}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get(TAG) in _ESSENCE:
        essence = _plain(node[_ESSENCE[node[TAG]]])
        return sorted(essence, key=json.dumps) if "set" in node[TAG] else essence
    plain = {key: _plain(item) for key, item in node.items() if key != TAG}
    if TAG in node and "arguments" in plain:
        arguments = plain.pop("arguments")
        plain["config"] = {key: item for key, item in arguments.items() if key not in _MADE_UP}
    return plain
