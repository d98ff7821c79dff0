"""`ProbModelMixin`: a subclassed model that describes itself."""

from __future__ import annotations

import types
from typing import Any

from keras_probckpt.recipe.arguments import CallArguments, bound_arguments, recorded_arguments, remember_arguments
from keras_probckpt.recipe.compiling import RecordedCompile
from keras_probckpt.recipe.registry import register_class

__all__ = ["ProbModelMixin"]


class ProbModelMixin:
    """Makes a subclassed `tf_keras.Model` or layer describe itself, so that checkpoints of it can be rebuilt.

    Put it first among the bases. It records the arguments each object is made with, registers the class under its
    module and qualified name, and supplies `get_config` and `from_config`, so that Keras's own tools find their way
    too.

    Arguments may be numbers, strings, None, containers, settings objects such as an `argparse.Namespace` or a
    dataclass, dtypes, numpy arrays, tensors, tf_keras and TFP objects, other models and functions. They are recorded as
    they are when the object is made, and written when a checkpoint is; an object with one that cannot be written is
    recorded by its state, and the checkpoint refused only where that cannot be written either. The signature of the
    inputs a model is called with is recorded by tf_keras and saved with it. A `compile` of the class's own has its
    arguments recorded too, and is called with them on restore.

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
        make = super().__new__
        # Python's own takes no further arguments, once a class has a `__new__` of its own.
        instance = make(cls) if make is object.__new__ else make(cls, *args, **kwargs)
        arguments = bound_arguments(instance.__init__, args, kwargs)  # type: ignore[misc] # as Python itself will
        if arguments is not None:
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
