from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.model.own_names import argument_names, global_names, is_made_by, names_set_by

UNIT = 1.0


class Base(tfk.layers.Layer):
    """Sets attributes in several methods."""

    kind: str

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units, self.make = units, lambda x: x * UNIT

    def build(self, shape: Any) -> None:  # noqa: D102
        self.made_late = shape
        super().build(shape)


class AnyName(Base):
    """Sets attributes by their names."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(1)
        for name, value in kwargs.items():
            setattr(self, name, value)


def test_names_that_any_method_sets_are_a_class_s_own() -> None:
    """Those of its bases and annotations included; what somebody else puts on an object is not."""
    names = names_set_by(Base)

    assert names is not None
    assert {"units", "make", "made_late", "kind"} <= names
    assert "extra" not in names


def test_a_class_that_sets_attributes_by_name_may_set_any() -> None:
    """Nothing can be told of it."""
    assert names_set_by(AnyName) is None


def test_weights_that_a_decorated_build_of_keras_sets_are_its_own() -> None:
    """The method is in the closure of its decorator."""
    names = names_set_by(tfk.layers.LSTMCell)

    assert names is not None
    assert {"kernel", "recurrent_kernel", "bias"} <= names


class Decorated:
    """Sets attributes in methods that something else was made of."""

    @tf.function
    def graph(self) -> None:  # noqa: D102
        self.by_graph = 1

    @functools.cached_property
    def cached(self) -> int:  # noqa: D102
        self.by_cached = 1
        return 1

    @classmethod
    def make(cls) -> None:  # noqa: D102
        cls.by_class = 1

    @functools.lru_cache  # noqa: B019 - what it keeps is nothing here
    def kept(self) -> None:  # noqa: D102
        self.by_kept = 1

    @property
    def plain(self) -> int:  # noqa: D102
        self.by_property = 1
        return 1


def test_names_that_decorated_methods_set_are_a_class_s_own() -> None:
    """Of whatever a decorator made: the function in it is looked at."""
    assert names_set_by(Decorated) == {"by_graph", "by_cached", "by_class", "by_kept", "by_property"}


def test_a_lambda_of_a_constructor_is_made_by_the_class() -> None:
    """It comes again with the constructor; a function from elsewhere does not."""
    layer = Base(2)

    assert is_made_by(Base, layer.make)  # type: ignore[arg-type] # a lambda
    assert not is_made_by(Base, test_a_lambda_of_a_constructor_is_made_by_the_class)


def test_arguments_are_those_of_all_constructors() -> None:
    """With and without the underscore under which many classes keep them."""
    assert {"units", "_units", "trainable", "dtype"} <= argument_names(Base)


def test_an_attribute_is_no_global() -> None:
    """A method that reads `self.UNIT` reads no global of this name."""

    def reads(item: Any) -> Any:
        return item.UNIT

    assert global_names(reads.__code__) == ()
    assert global_names(Base.__init__.__code__) == ("super", "UNIT")
