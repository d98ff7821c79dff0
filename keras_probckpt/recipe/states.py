"""Objects of users' classes by their state, where nobody knows the arguments that they were made with.

The class of Keras, TFP or TensorFlow that such a class derives from makes the object; then its attributes are set, in
the order in which they were. What `build` makes is left to `build`. What is in an object may lead back to it, as the
function does that a `DistributionLambda` makes its distributions with.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from tf_keras.src.engine import functional, keras_tensor

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.recipe.aliases import is_alias
from keras_probckpt.recipe.attribute_names import is_bookkeeping, set_by, shadows_method
from keras_probckpt.recipe.bases import CONTAINERS, base_named, base_of, constructor_arguments, name_of_base
from keras_probckpt.recipe.codec import BUILDER_ADVICE, TAG, Decoder, Encoder, Kind, Node, field
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.graphs import build_graph, encode_graph, encode_layers
from keras_probckpt.recipe.known import known_name
from keras_probckpt.recipe.plain import decode_pairs, encode_pairs

__all__ = ["STATE_KINDS", "encode_state"]

_TRACKED = (tf.Variable, tf.Module)
# Where a layer makes what it has; it does so again.
_MAKES_LATER = ("build", "call", "build_from_config")
_BY_BASE = frozenset({"built", "trainable"})
# Settings of a layer that are attributes to its user and private to Keras.
_SETTINGS = ("supports_masking", "stateful")
_REPARAMETERIZATIONS = {
    "reparameterized": tfp.distributions.FULLY_REPARAMETERIZED,
    "not reparameterized": tfp.distributions.NOT_REPARAMETERIZED,
}
_OPTIMIZERS = (tfk.optimizers.Optimizer, tfk.optimizers.legacy.Optimizer)
_CUSTOM_PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")


def encode_state(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    """Write an object by its state.

    Returns:
        The whole node.

    Raises:
        UnrecordableError: If some of it cannot be written. Names that.
    """
    cls, base = type(value), base_of(type(value))
    if base is None or cls is base:
        problem = f"a {cls.__module__}.{cls.__qualname__} derives from no class that could make it"
        raise UnrecordableError(where=where, problem=problem, advice=BUILDER_ADVICE)
    node: dict[str, Node] = {TAG: "state", "base": name_of_base(base)}
    encoder.announce(value, node)
    node["class"] = encoder.encode(cls, f"{where}.class")
    if base in CONTAINERS.values():
        node.update(_contents(value, base, encoder, where))
        attributes = list(getattr(value, "__dict__", {}).items())
    else:
        node.update(_made_by_base(value, base, encoder, where))
        attributes = list(_attributes(value, base))
    node["attributes"] = [[name, encoder.encode(item, f"{where}.{name}")] for name, item in attributes]
    if isinstance(value, tfk.layers.Layer):
        node.update(_penalties(value, base, encoder, where))
        node.update(_names_of_weights(value, base, encoder, where))
    return node


def _contents(value: Any, base: type, encoder: Encoder, where: str) -> dict[str, Node]:
    native: Any = _native(type(value))
    if base is not dict:
        return {"items": encoder.encode_items(list(native.__iter__(value)), where)}
    factory = value.default_factory if issubclass(native, collections.defaultdict) else None
    extra = {} if factory is None else {"factory": encoder.encode(factory, f"{where}.default_factory")}
    return {**encode_pairs(dict(native.items(value)), encoder, where), **extra}


def _native(cls: type) -> type:
    """Return the class of Python's own that a user's class of containers derives from."""
    return next(owner for owner in cls.__mro__ if owner.__module__ in ("builtins", "collections"))


def _made_by_base(value: Any, base: type, encoder: Encoder, where: str) -> dict[str, Node]:
    try:
        arguments = constructor_arguments(value, base)
        extra = _optimizer_settings(value) if isinstance(value, _OPTIMIZERS) else {}
    except Exception as error:
        problem = f"what {name_of_base(base)} keeps of it cannot be told: {type(error).__name__}: {error}"
        raise UnrecordableError(where=where, problem=problem, advice=BUILDER_ADVICE) from error
    node: dict[str, Node] = {
        "arguments": {key: _encode_argument(item, encoder, f"{where}.{key}") for key, item in arguments.items()}
    }
    if extra:
        node["settings"] = {key: encoder.encode(item, f"{where}.{key}") for key, item in extra.items()}
    if base is tfk.Sequential:
        node["layers"] = encode_layers(value, encoder, where)
    if base is functional.Functional:
        node["graph"] = encode_graph(value, encoder, where)
    return node


def _encode_argument(value: Any, encoder: Encoder, where: str) -> Node:
    names = [name for name, item in _REPARAMETERIZATIONS.items() if item is value]
    return names[0] if names else encoder.encode(value, where)


def _optimizer_settings(optimizer: Any) -> dict[str, Any]:
    """Return what an optimizer turns into variables of its own."""
    if isinstance(optimizer, tfk.optimizers.legacy.Optimizer):
        return {name: _setting(value) for name, value in optimizer._hyper.items()}
    return {"learning_rate": _setting(optimizer._learning_rate)} if hasattr(optimizer, "_learning_rate") else {}


def _setting(value: Any) -> Any:
    return float(value.numpy()) if isinstance(value, (tf.Tensor, tf.Variable)) else value


def _attributes(value: Any, base: type) -> Iterator[tuple[str, Any]]:
    """Find the attributes that are the user's, in the order in which they were set."""
    cls = type(value)
    at_first, later = set_by(("__init__",), cls, base), set_by(_MAKES_LATER, cls, base)
    for name, item in vars(value).items():
        is_own = not is_bookkeeping(name, base) or (
            name in at_first - _BY_BASE and not name.startswith("_")  # The user's, and of a name that Keras has too.
        )
        # A function put in place of a method is no part of how the object is made.
        if not is_own or _is_symbolic(item) or (callable(item) and shadows_method(name, cls)):
            continue
        if name in later and isinstance(value, tfk.layers.Layer) and _holds(item, _TRACKED):
            if name in at_first:
                yield name, None  # As the constructor had it: `build` is to find out that there is none yet.
            continue
        if isinstance(value, tfk.layers.Layer) and is_alias(item, value):
            continue  # It is set when the layers have made these weights.
        yield name, item
    if isinstance(value, tfk.layers.Layer):
        yield from ((name, True) for name in _SETTINGS if getattr(value, name, False) is True and name in at_first)


def _is_symbolic(value: Any) -> bool:
    """Whether a value is what a traced call left, of which nothing can be made."""
    return _holds(value, (keras_tensor.KerasTensor,)) or any(
        isinstance(item, tf.Tensor) and not hasattr(item, "numpy") for item in _leaves(value)
    )


def _holds(value: Any, kinds: tuple[type, ...]) -> bool:
    return any(isinstance(item, kinds) for item in _leaves(value))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(dict.values(value))
    if isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _penalties(layer: tfk.layers.Layer, base: type, encoder: Encoder, where: str) -> dict[str, Node]:
    """Write the losses that the constructor gave a layer: functions, and regularizers of its own weights."""
    own = {id(item) for _, item in _attributes(layer, base)}
    losses: list[Any] = []
    for tagged in layer._callable_losses:
        function = tagged.args[0]
        if not isinstance(function, functools.partial) or not function.func.__module__.startswith("tf_keras."):
            losses += [] if _is_made_later(function) else [function]
        elif id(function.args[0]) in own:
            cells = dict(zip(function.func.__code__.co_freevars, function.func.__closure__ or (), strict=True))
            losses.append([function.args[0], cells["regularizer"].cell_contents])
    return {"losses": encoder.encode_items(losses, f"{where}.losses")} if losses else {}


def _names_of_weights(layer: tfk.layers.Layer, base: type, encoder: Encoder, where: str) -> dict[str, Node]:
    """Write the names that `add_weight` gave to weights, where these are not those of their attributes."""
    attributes = dict(_attributes(layer, base))
    has_build = type(layer).build not in (tfk.layers.Layer.build, tfk.Model.build)  # They make no weights.
    kept = {id(item) for item in attributes.values()}
    named = [
        [reference.name, reference.ref]
        for reference in getattr(layer, "_self_unconditional_checkpoint_dependencies", ())
        if isinstance(reference.ref, tf.Variable) and reference.name not in attributes
        if id(reference.ref) in kept or not has_build
    ]
    return {"weights": encoder.encode_items(named, f"{where}.weights")} if named else {}


def _is_made_later(function: Any) -> bool:
    name = str(getattr(function, "__qualname__", ""))
    return any(f".{method}.<locals>" in name for method in _MAKES_LATER)


def _decode_state(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    cls, base = decoder.decode(field(node, "class", dict, where), f"{where}.class"), _decode_base(node, where)
    # A class of Keras or TFP must come as their own kinds of node, which know which of its arguments would run code.
    if not isinstance(cls, type) or not issubclass(cls, base) or known_name(cls) is not None or cls is base:
        raise MalformedRecipeError(where=where, problem=f"{cls!r:.80} is no class that derives from {base!r:.80}")
    made = call((_native(cls) if base in CONTAINERS.values() else base).__new__, [cls], {}, where)
    decoder.announce(node, made)
    if base in CONTAINERS.values():
        _fill(made, base, node, decoder, where)
    else:
        _initialise(made, base, node, decoder, where)
    for index, pair in enumerate(field(node, "attributes", list, where)):
        _set_attribute(made, base, pair, decoder, f"{where}.attributes[{index}]")
    if isinstance(made, tfk.layers.Layer):
        _add_penalties(made, node, decoder, where)
        _name_weights(made, node, decoder, where)
    return made


def _decode_base(node: dict[str, Node], where: str) -> type:
    base = base_named(field(node, "base", str, where))
    if base is None:
        raise MalformedRecipeError(where=where, problem=f"{node['base']!r:.80} is no class that makes objects")
    return base


def _fill(made: Any, base: Any, node: dict[str, Node], decoder: Decoder, where: str) -> None:
    if base is not dict:
        items = decoder.decode(field(node, "items", list, where), where)
        call(base.__init__, [made, items], {}, where)
        return
    if "factory" in node:
        made.default_factory = decoder.decode(node["factory"], f"{where}.default_factory")
    native: Any = _native(type(made))
    for key, item in decode_pairs(node, decoder, where, is_dict=True).items():
        native.__setitem__(made, key, item)


def _initialise(made: Any, base: Any, node: dict[str, Node], decoder: Decoder, where: str) -> None:
    arguments = {
        key: _decode_argument(key, item, decoder, f"{where}.{key}")
        for key, item in field(node, "arguments", dict, where).items()
    }
    if base is functional.Functional:
        graph = field(node, "graph", dict, where)
        build_graph(made, arguments, graph, decoder, where)
    elif base is tfk.Sequential:
        layers = decoder.decode(field(node, "layers", list, where), f"{where}.layers")
        call(base.__init__, [made, layers], arguments, where)
    else:
        call(base.__init__, [made], arguments, where)
    if isinstance(made, tfk.layers.Layer):
        # Keras takes the arguments that an object is made with for those of its own constructor.
        object.__setattr__(made, "_auto_get_config", False)
    for name, item in (field(node, "settings", dict, where) if "settings" in node else {}).items():
        _set_setting(made, name, decoder.decode(item, f"{where}.{name}"), where)


def _decode_argument(name: str, node: Node, decoder: Decoder, where: str) -> Any:
    if name == "reparameterization_type":
        if node not in _REPARAMETERIZATIONS:
            raise MalformedRecipeError(where=where, problem=f"{node!r:.80} is no way to reparameterize")
        return _REPARAMETERIZATIONS[node]
    value = decoder.decode(node, where)
    # Text in place of a function would be unpickled, or looked up where nothing may be looked up.
    if (name.endswith("_fn") or name == "function") and value is not None and not callable(value):
        raise MalformedRecipeError(where=where, problem="a function is needed here")
    return value


def _set_setting(made: Any, name: str, value: Any, where: str) -> None:
    if isinstance(made, tfk.optimizers.legacy.Optimizer):
        call(made._set_hyper, [name, value], {}, where)
    elif isinstance(made, tfk.optimizers.Optimizer) and name == "learning_rate":
        made._learning_rate = call(made._build_learning_rate, [value], {}, where)
    else:
        raise MalformedRecipeError(where=where, problem=f"{name!r:.80} is no setting of a {type(made).__name__}")


def _set_attribute(made: Any, base: type, pair: Node, decoder: Decoder, where: str) -> None:
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):  # noqa: PLR2004 - name and value
        raise MalformedRecipeError(where=where, problem="an attribute is a name and a value")
    name, cls = pair[0], type(made)
    is_private = name.startswith("__") or (base not in CONTAINERS.values() and _is_librarys(name, base))
    value = decoder.decode(pair[1], f"{where}.{name}")
    if is_private or (callable(value) and shadows_method(name, cls)):
        raise MalformedRecipeError(where=where, problem=f"{name!r:.80} is no attribute that a {cls.__name__} is given")
    if base in CONTAINERS.values():
        made.__dict__[name] = value  # Its own way of setting attributes may set items.
    else:
        call(setattr, [made, name, value], {}, where)


def _is_librarys(name: str, base: type) -> bool:
    return name in _BY_BASE or (name.startswith("_") and is_bookkeeping(name, base))


def _add_penalties(layer: tfk.layers.Layer, node: dict[str, Node], decoder: Decoder, where: str) -> None:
    losses = decoder.decode(field(node, "losses", list, where), where) if "losses" in node else []
    for loss in losses:
        if isinstance(loss, list) and len(loss) == 2 and isinstance(loss[0], tf.Variable):  # noqa: PLR2004
            call(layer._handle_weight_regularization, [loss[0].name.partition(":")[0], *loss], {}, where)
        elif callable(loss):
            call(layer.add_loss, [loss], {}, where)
        else:
            problem = f"a {type(loss).__name__} is neither a function nor a variable and its regularizer"
            raise MalformedRecipeError(where=where, problem=problem)


def _name_weights(layer: tfk.layers.Layer, node: dict[str, Node], decoder: Decoder, where: str) -> None:
    named = decoder.decode(field(node, "weights", list, where), where) if "weights" in node else []
    for pair in named:
        is_pair = isinstance(pair, list) and len(pair) == 2  # noqa: PLR2004
        if not is_pair or not isinstance(pair[0], str) or not isinstance(pair[1], tf.Variable):
            raise MalformedRecipeError(where=where, problem="a weight is a name and a variable")
        layer._track_trackable(pair[1], name=pair[0], overwrite=True)
        weights = layer._trainable_weights if pair[1].trainable else layer._non_trainable_weights
        if not any(weight is pair[1] for weight in weights):
            weights.append(pair[1])


def _is_users_container(value: Any) -> bool:
    """Whether a value is of a user's class of dicts, lists or sets that leaves it to Python how it is pickled."""
    cls = type(value)
    if not isinstance(value, tuple(CONTAINERS.values())) or cls.__module__.partition(".")[0] in ("tensorflow", "wrapt"):
        return False
    owners = cls.__mro__[: cls.__mro__.index(_native(cls))]
    return bool(owners) and not any(name in vars(owner) for owner in owners for name in _CUSTOM_PICKLING)


STATE_KINDS = (
    Kind(tag="state", matches=_is_users_container, encode=encode_state, decode=_decode_state, is_shared=True),
)
