"""What `tfp.layers` offers: layers, the regularizer, the initializer; and the two layers TFP keeps elsewhere.

Their `get_config` pickles or marshals functions and several have none. Their constructors' arguments are read from
where the objects keep them instead: attributes of the same name, or the closures of the functions they made of them.
An argument that is its default is left out, for some defaults are functions without a name.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import Decoder, Encoder, Kind, Node
from keras_probckpt.recipe.construction import call, decode_keywords_call, encode_call
from keras_probckpt.recipe.keras_objects import base_arguments
from keras_probckpt.recipe.known import known_name

__all__ = ["TFP_LAYER_KINDS", "tfp_arguments"]

# Where an argument is kept under a name that is not its own; a dot leads through an attribute.
_KEPT_AS: dict[str, dict[str, str]] = {
    "AutoregressiveNetwork": {"conditional_input_layers": "_conditional_layers", "input_order": "_input_order_param"},
    "KLDivergenceAddLoss": {
        name: f"_regularizer._{name}"
        for name in ("distribution_b", "use_exact_kl", "test_points_reduce_axis", "test_points_fn", "weight")
    },
    "VariableLayer": {"shape": "_var.shape", "dtype": "_var.dtype"},
}
_FUNCTIONS_WITH_ARGUMENTS = ("_make_distribution_fn", "_kl_divergence_fn")

_ABSENT = object()


def _is_tfp_layer(value: Any) -> bool:
    return (known_name(type(value)) or "").startswith(("tfp.layers.", "tfp.bijectors.Autoregressive")) and isinstance(
        value, (tfk.layers.Layer, tfk.regularizers.Regularizer, tfk.initializers.Initializer)
    )


def _encode_layer(value: Any, encoder: Encoder, where: str) -> dict[str, Node]:
    return encode_call(type(value), dict(tfp_arguments(value, type(value))), encoder, where)


def tfp_arguments(value: Any, cls: type) -> Iterator[tuple[str, Any]]:
    """Find the arguments of a constructor of TFP where the object keeps them.

    Args:
        value: An object.
        cls: The class whose constructor it is, the object's own or one that it derives from.
    """
    base = base_arguments(value) if isinstance(value, tfk.layers.Layer) else {}
    kept_as = _KEPT_AS.get(cls.__name__, {})
    closed_over = _closed_over(value, cls)
    for name in _argument_names(value, cls):
        found = _attribute(value, kept_as.get(name, f"_{name}"))
        found = closed_over.get(name, getattr(value, name, _ABSENT) if found is _ABSENT else found)
        found = base.get(name, found) if name not in kept_as else found
        if found is not _ABSENT and not _is_default(cls, name, found) and not _is_made_by_build(value, found):
            yield name, found


def _argument_names(value: Any, cls: type) -> list[str]:
    constructor = vars(cls).get("__init__", cls.__init__)  # type: ignore[misc] # the class is exact
    parameters = inspect.signature(constructor).parameters.values()
    names = {item.name for item in parameters if item.kind is not item.VAR_KEYWORD}
    if len(names) < len(parameters) and isinstance(value, tfk.layers.Layer):
        names.update(base_arguments(value))
        if isinstance(value, tfp.layers.DistributionLambda):
            names.add("convert_to_tensor_fn")
    return sorted(names - {"self"})


def _is_made_by_build(value: Any, argument: Any) -> bool:
    """Whether `build` put a function of its own where the argument was None."""
    return getattr(argument, "__qualname__", "").startswith(f"{type(value).__qualname__}.build.<locals>.")


def _closed_over(value: Any, cls: type) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for name in _FUNCTIONS_WITH_ARGUMENTS:
        function = getattr(value, name, None)
        if function is not None and inspect.isfunction(function):
            found.update(inspect.getclosurevars(function).nonlocals)
    if cls is tfp.layers.DenseVariational:
        is_exact = found["kl_divergence_fn"] is tfp.distributions.kl_divergence
        return {"kl_weight": found["weight"], "kl_use_exact": is_exact}
    return found


def _attribute(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = getattr(value, name, _ABSENT)
    return value


def _is_default(cls: type, name: str, value: Any) -> bool:
    for owner in cls.__mro__:
        parameter = (
            inspect.signature(vars(owner)["__init__"]).parameters.get(name) if "__init__" in vars(owner) else None
        )
        if parameter is not None:
            return parameter.default is value
    return False


def _decode_layer(node: dict[str, Node], decoder: Decoder, where: str) -> Any:
    cls, arguments = decode_keywords_call(node, decoder, where)
    if not (known_name(cls) or "").startswith("tfp."):
        raise MalformedRecipeError(where=where, problem=f"{cls!r:.80} is not a class of tfp.layers")
    for name, argument in arguments.items():
        # Text in place of a function would be unpickled, or looked up where nothing may be looked up.
        if name.endswith("_fn") and argument is not None and not callable(argument):
            raise MalformedRecipeError(where=f"{where}.{name}", problem="a function is needed here")
    return call(cls, [], arguments, where)


TFP_LAYER_KINDS = (Kind(tag="tfp", matches=_is_tfp_layer, encode=_encode_layer, decode=_decode_layer, is_shared=True),)
