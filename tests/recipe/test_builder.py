from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import builder
from keras_probckpt.errors import MalformedRecipeError, UnsupportedModelError
from keras_probckpt.recipe.builder import recorded_builder
from keras_probckpt.recipe.document import RecipeReader
from tests.recipe.journeys import described, trust_of


@builder
def build(units: int, *, activation: Any = None) -> tfk.Model:
    """Build a model, as a user would."""
    return tfk.Sequential([tfk.layers.Dense(units, activation, input_shape=(2,))])


@builder
def build_stack(first: int, /, *widths: int, **options: Any) -> tfk.Model:
    """Build a model from positional arguments."""
    return tfk.Sequential([tfk.layers.Dense(width, **options) for width in (first, *widths)])


def rebuilt(model: tfk.Model, **how: Any) -> tfk.Model:
    """Describe a model and build it from the description."""
    recipe = described(model, **how)
    trust = trust_of(code=recipe.code or b"")
    return RecipeReader(recipe.document, arrays=recipe.arrays, trust=trust).build(None)


def test_a_marked_function_is_recorded_with_its_arguments() -> None:
    """The layers it makes are not: it is called again."""
    model = build(3, activation=tf.nn.softplus)

    document = described(model).document["model"]

    assert document["$"] == "build"
    assert document["class"]["name"] == "build"
    assert document["arguments"] == {"units": 3, "activation": {"$": "known", "name": "tf.math.softplus"}}


def test_a_marked_function_is_called_again_with_its_arguments() -> None:
    """Whatever the kinds of its parameters; and what comes back is marked again."""
    again = rebuilt(build_stack(3, 4, 5, use_bias=False))

    assert [layer.units for layer in again.layers] == [3, 4, 5]
    assert [layer.use_bias for layer in again.layers] == [False] * 3
    assert recorded_builder(again) is not None


def test_a_marked_function_stays_the_function_it_was() -> None:
    """To its callers, and to those who read about it."""
    assert (build.__name__, build.__doc__) == ("build", "Build a model, as a user would.")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'units'"):
        build()


def plain_builder(units: int = 2) -> tfk.Model:
    """Build a model, without the mark."""
    return tfk.Sequential([tfk.layers.Dense(units, input_shape=(2,))])


def test_a_builder_that_is_named_at_the_save_comes_first() -> None:
    """Before what the model says of itself."""
    again = rebuilt(build(3), builder=plain_builder, builder_kwargs={"units": 5})

    assert again.output_shape == (None, 5)


def test_a_builder_that_returns_no_model_is_an_error() -> None:
    """The error says what it returned."""
    recipe = described(build(3), builder=dict)

    with pytest.raises(UnsupportedModelError, match=r"got builtins\.dict"):
        RecipeReader(recipe.document, arrays={}, trust=trust_of()).build(None)


def test_a_builder_whose_signature_has_changed_is_an_error_that_shows_it() -> None:
    """The code is not what it was at the save."""
    recipe = described(build(3), builder=plain_builder, builder_kwargs={"width": 5})

    with pytest.raises(MalformedRecipeError, match=r"plain_builder\(width\) fails with TypeError"):
        RecipeReader(recipe.document, arrays={}, trust=trust_of()).build(None)
