"""`ProbModelMixin`: a subclassed model that describes itself."""

from __future__ import annotations

import types
from typing import Any

from keras_probckpt.recipe.arguments import CallArguments, bound_arguments, recorded_arguments, remember_arguments
from keras_probckpt.recipe.compiling import RecordedCompile
from keras_probckpt.recipe.kinds import new_encoder
from keras_probckpt.recipe.registry import register_class

__all__ = ["ProbModelMixin"]


class ProbModelMixin:
    """Makes a subclassed `tf_keras.Model` or layer describe itself, so that checkpoints of it can be rebuilt.

    Put it first among the bases. It records the arguments each object is made with, registers the class under its
    module and qualified name, and supplies `get_config` and `from_config`, so that Keras's own tools find their way
    too.

    Arguments may be numbers, strings, None, lists, tuples, dicts, sets, dtypes, numpy arrays, tf_keras objects, other
    models and functions. The signature of the inputs a model is called with is recorded by tf_keras and saved with it.
    A `compile` of the class's own has its arguments recorded too, and is called with them on restore.

    Raises:
        UnrecordableError: When an object is made with an argument that cannot be stored. It names the argument.

    Example:
        >>> import tf_keras as tfk
        >>> from keras_probckpt import ProbModelMixin
        >>> class Net(ProbModelMixin, tfk.Model):
        ...     def __init__(self, units):
        ...         super().__init__()
        ...         self.hidden = tfk.layers.Dense(units)
        ...     def call(self, inputs):
        ...         return self.hidden(inputs)
        >>> Net(3).get_config()
        {'units': 3}
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register each class that takes the mixin."""
        super().__init_subclass__(**kwargs)
        if isinstance(vars(cls).get("compile"), types.FunctionType):
            setattr(cls, "compile", RecordedCompile(vars(cls)["compile"]))  # noqa: B010 - the mixin itself has none
        register_class(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Record the arguments; here and not in `__init__`, which subclasses override."""
        instance = super().__new__(cls, *args, **kwargs)
        arguments = bound_arguments(instance.__init__, args, kwargs)  # type: ignore[misc] # as Python itself will
        if arguments is not None:
            encoder = new_encoder()
            encoder.encode_items(list(arguments.positional), f"{cls.__qualname__}(*args)")
            for name, value in arguments.keywords.items():
                encoder.encode(value, f"{cls.__qualname__}({name}=...)")
            remember_arguments(instance, arguments)
        return instance

    def get_config(self) -> dict[str, Any]:
        """Return the arguments this object was made with, by name."""
        arguments = recorded_arguments(self) or CallArguments([], {})
        config = dict(arguments.keywords)
        if arguments.positional:
            config["positional"] = list(arguments.positional)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:  # noqa: ARG003 - Keras's signature
        """Make an object from what `get_config` returned."""
        keywords = dict(config)
        positional = keywords.pop("positional", [])
        return cls(*positional, **keywords)
