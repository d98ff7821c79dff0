"""The classes of Keras, TFP and TensorFlow that users derive theirs from, and the arguments of their constructors.

An object of a user's class is one of theirs too: its name, dtype and the like are kept where the library's class keeps
them, whatever the user's constructor takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from tf_keras.src.engine import functional

from keras_probckpt.recipe.construction import accepted_arguments
from keras_probckpt.recipe.keras_objects import accepted_of, base_arguments, keras_arguments
from keras_probckpt.recipe.known import known_name, known_object
from keras_probckpt.recipe.tfp_layers import tfp_arguments

__all__ = ["CONTAINERS", "base_named", "base_of", "constructor_arguments", "name_of_base"]

# Python's own, in the order in which a class is asked for them: an OrderedDict is a dict too.
CONTAINERS: dict[str, type] = {"dict": dict, "list": list, "set": set}

_UNLISTED: dict[str, type] = {
    "tf_keras.Model": tfk.Model,
    "tf_keras.Sequential": tfk.Sequential,
    "tf_keras.Functional": functional.Functional,
}
_UNLISTED_NAMES = {cls: name for name, cls in (*_UNLISTED.items(), *CONTAINERS.items())}

# Where classes that only users' or TFP's own derive from keep their arguments; a dot leads through an attribute.
_KEPT_AS: dict[type, Mapping[str, str]] = {
    tfp.distributions.Distribution: {
        name: name for name in ("dtype", "reparameterization_type", "validate_args", "allow_nan_stats", "name")
    },
    tfp.bijectors.Bijector: {
        **{name: name for name in ("dtype", "is_constant_jacobian", "validate_args", "name")},
        **{name: name for name in ("forward_min_event_ndims", "inverse_min_event_ndims")},
        "experimental_use_kahan_sum": "_use_kahan_sum",
    },
    tfp.math.psd_kernels.PositiveSemidefiniteKernel: {
        name: name for name in ("feature_ndims", "dtype", "name", "validate_args")
    },
    tf.linalg.LinearOperator: {
        name: name
        for name in ("dtype", "is_non_singular", "is_self_adjoint", "is_positive_definite", "is_square", "name")
    },
}
_PARAMETRIZED = tuple(_KEPT_AS)


def base_of(cls: type) -> type | None:
    """Return the first of the classes that a class derives from of which it is known how it is made."""
    return next((owner for owner in cls.__mro__ if name_of_base(owner) is not None), None)


def name_of_base(cls: type) -> str | None:
    """Name a class as a recipe does; `None` if it is none of those."""
    return _UNLISTED_NAMES.get(cls) or known_name(cls)


def base_named(name: str) -> type | None:
    """Return the class that a recipe names; `None` if there is no such class."""
    found = _UNLISTED.get(name) or CONTAINERS.get(name) or known_object(name)
    return found if isinstance(found, type) else None


def constructor_arguments(value: Any, base: type) -> dict[str, Any]:
    """Return the arguments by which the constructor of a base class gives an object what that class keeps of it.

    Args:
        value: An object.
        base: One of the classes that its class derives from, neither a container nor one made of other layers.
    """
    if issubclass(base, _PARAMETRIZED):
        return _parameters(value, base)
    if base is tfk.Model or issubclass(base, (tfk.Sequential, functional.Functional)):
        return {"name": value.name}
    if base is tfk.layers.Layer:
        return {**base_arguments(value), **_unusual(value)}
    if (known_name(base) or "").startswith("tfp."):
        return dict(tfp_arguments(value, base))
    try:
        return keras_arguments(value, accepted_of(base), base=base)
    except NotImplementedError:  # Abstract ones leave `get_config` to the others, and take no arguments.
        return {}


def _parameters(value: Any, base: type) -> dict[str, Any]:
    if base in _KEPT_AS:
        return {name: getattr(value, attribute) for name, attribute in _KEPT_AS[base].items()}
    accepted = accepted_arguments(base) - {"parameters"}
    return {name: item for name, item in value.parameters.items() if name in accepted}


def _unusual(layer: tfk.layers.Layer) -> dict[str, bool]:
    found = {"dynamic": layer._dynamic, "autocast": layer._autocast}
    return {name: value for name, value in found.items() if value is not (name == "autocast")}
