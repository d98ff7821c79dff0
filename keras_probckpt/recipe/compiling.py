"""The arguments of `Model.compile`, recorded and applied again."""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError, UnrecordableError
from keras_probckpt.recipe.arguments import CallArguments, bound_arguments
from keras_probckpt.recipe.codec import Decoder, Encoder, Node, field
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.strangers import check_arguments

__all__ = ["RecordedCompile", "compile_arguments", "compile_as_recorded", "record_compile"]

_ATTRIBUTE = "_keras_probckpt_compile"
_OPTIMIZERS = (tfk.optimizers.Optimizer, tfk.optimizers.legacy.Optimizer)


def compile_arguments(model: tfk.Model) -> Mapping[str, Any]:
    """Return the arguments a model was compiled with; empty where it was not, or where that is not known."""
    recorded = getattr(model, "_compile_config", None)
    return {} if recorded is None or not model._is_compiled else dict(recorded.config)


class RecordedCompile:
    """A user's method `compile` that leaves the arguments it was called with on the model.

    Args:
        function: The method; what it passes on to `tf_keras.Model.compile` need not be all that it takes.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., Any]:
        return self.__wrapped__ if instance is None else functools.partial(self._call, instance)

    def _call(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        method = types.MethodType(self.__wrapped__, model)
        arguments = bound_arguments(method, args, kwargs)
        returned = method(*args, **kwargs)
        object.__setattr__(model, _ATTRIBUTE, arguments)  # Last, so that the outermost of several counts.
        return returned


def record_compile(model: tfk.Model, encoder: Encoder) -> dict[str, Node]:
    """Write how a model was compiled.

    Returns:
        `{"arguments": {...}}`, with `"positional"` where a user's `compile` takes `*args`; `{"config": {...}}` for a
        model that describes it by a `get_compile_config` of its own; `{"arguments": null}` for a model that was not
        compiled, with `"reason"` for one whose arguments cannot be recorded: it will come back uncompiled.
    """
    if not model._is_compiled or getattr(model, "_compile_config", None) is None:
        return {"arguments": None}
    try:
        with _as_they_were_named(model), encoder.undone_on_error():
            return _recorded(model, encoder)
    except UnrecordableError as error:
        return {"arguments": None, "reason": f"{error.where}: {error.problem}"}


def _recorded(model: tfk.Model, encoder: Encoder) -> dict[str, Node]:
    if _describes_compile(model):
        return {"config": encoder.encode(model.get_compile_config(), "compile")}
    is_own = type(model).compile is not tfk.Model.compile
    arguments = vars(model).get(_ATTRIBUTE) if is_own else CallArguments([], model._compile_config.config)
    if arguments is None:
        problem = f"{type(model).__qualname__} has a compile of its own, whose arguments only ProbModelMixin records"
        return {"arguments": None, "reason": problem}
    node: dict[str, Node] = {
        "arguments": {key: encoder.encode(value, f"compile.{key}") for key, value in arguments.keywords.items()}
    }
    iterations = vars(_innermost(model.optimizer)).get("_iterations") if model.optimizer is not None else None
    if iterations is not None and encoder.is_written(iterations):  # A layer has it too, to count by.
        node["iterations"] = encoder.encode(iterations, "compile.optimizer.iterations")
    if arguments.positional:
        node["positional"] = encoder.encode_items(list(arguments.positional), "compile[*]")
    return node


def _innermost(optimizer: Any) -> Any:
    """Return the optimizer that one wraps which scales the loss; any other is itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _share_iterations(model: tfk.Model, node: Node, decoder: Decoder) -> None:
    """Let an optimizer count in the variable that a part of the model has as well."""
    optimizer, variable = _innermost(model.optimizer), decoder.decode(node, "compile.optimizer.iterations")
    if not isinstance(optimizer, _OPTIMIZERS) or not isinstance(variable, tf.Variable):
        raise MalformedRecipeError(where="compile.optimizer.iterations", problem="an optimizer counts in a variable")
    own = vars(optimizer).get("_iterations")
    call(setattr, [optimizer, "iterations", variable], {}, "compile.optimizer")
    if isinstance(optimizer, tfk.optimizers.legacy.Optimizer):
        optimizer._track_trackable(variable, name="iter", overwrite=True)  # As it does with one that it makes.
    variables = getattr(optimizer, "_variables", [])  # Where there is this list, the setter leaves it as it is.
    for place, item in enumerate(variables):
        if item is own:
            variables[place] = variable


def _own_names(container: Any) -> Iterator[tuple[tfk.metrics.Metric, str]]:
    outputs = container._output_names if getattr(container, "built", False) else []
    if len(outputs) > 1:
        for output, *metrics in zip(outputs, container._metrics, container._weighted_metrics, strict=False):
            found = (metric for metric in tf.nest.flatten(metrics) if metric is not None)
            yield from ((metric, metric._name.removeprefix(f"{output}_")) for metric in found)


@contextlib.contextmanager
def _as_they_were_named(model: tfk.Model) -> Iterator[None]:
    """Give metrics the names they were made with: Keras puts that of their output before it, at each compilation."""
    renamed = {metric: (metric._name, own) for metric, own in _own_names(getattr(model, "compiled_metrics", None))}
    for metric, (_, own) in renamed.items():
        metric._name = own
    try:
        yield
    finally:
        for metric, (shown, _) in renamed.items():
            metric._name = shown


def _describes_compile(model: tfk.Model) -> bool:
    """Whether a class has the two methods by which Keras lets a `compile` of its own be described."""
    names = ("get_compile_config", "compile_from_config")
    return all(getattr(type(model), name) is not getattr(tfk.Model, name) for name in names)


def compile_as_recorded(model: tfk.Model, recorded: dict[str, Node], decoder: Decoder) -> None:
    """Compile a model with the recorded arguments; leaves it as it is where there are none."""
    if "config" in recorded:
        if not _describes_compile(model):  # Keras's own would import what a configuration names.
            problem = f"{type(model).__qualname__} has no compile_from_config of its own"
            raise MalformedRecipeError(where="compile", problem=problem)
        config = decoder.decode_mapping(field(recorded, "config", dict, "compile"), "compile")
        call(model.compile_from_config, [config], {}, "compile")
    elif recorded.get("arguments") is not None:
        positional = (
            decoder.decode(field(recorded, "positional", list, "compile"), "compile")
            if "positional" in recorded
            else []
        )
        arguments = decoder.decode_mapping(field(recorded, "arguments", dict, "compile"), "compile")
        if not decoder.is_trusted:
            check_arguments(tfk.Model.compile, positional, arguments, "compile", is_latent=False)
        call(model.compile, positional, arguments, "compile")
        if "iterations" in recorded:
            _share_iterations(model, recorded["iterations"], decoder)
