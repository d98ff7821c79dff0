"""The arguments of `Model.compile`, recorded and applied again."""

from __future__ import annotations

import tf_keras as tfk

from keras_probckpt.errors import UnrecordableError
from keras_probckpt.recipe.codec import Decoder, Encoder, Node, field
from keras_probckpt.recipe.construction import call

__all__ = ["compile_as_recorded", "record_compile"]


def record_compile(model: tfk.Model, encoder: Encoder) -> dict[str, Node]:
    """Write how a model was compiled.

    Returns:
        `{"arguments": {...}}`, `{"arguments": null}` for a model that was not compiled, and `{"arguments": null,
        "reason": ...}` for one whose arguments cannot be recorded: it will come back uncompiled.
    """
    recorded = getattr(model, "_compile_config", None)
    if not model._is_compiled or recorded is None:
        return {"arguments": None}
    if type(model).compile is not tfk.Model.compile:
        return {"arguments": None, "reason": f"{type(model).__qualname__} has a compile of its own"}
    arguments = recorded.config
    pickled_before = len(encoder.by_value)
    try:
        return {"arguments": {key: encoder.encode(value, f"compile.{key}") for key, value in arguments.items()}}
    except UnrecordableError as error:
        encoder.forget_code(pickled_before)
        return {"arguments": None, "reason": f"{error.where}: {error.problem}"}


def compile_as_recorded(model: tfk.Model, recorded: dict[str, Node], decoder: Decoder) -> None:
    """Compile a model with the recorded arguments; leaves it as it is where there are none."""
    if recorded.get("arguments") is not None:
        arguments = decoder.decode_mapping(field(recorded, "arguments", dict, "compile"), "compile")
        call(model.compile, [], arguments, "compile")
