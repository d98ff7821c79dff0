from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.kinds import new_encoder
from tests.recipe.journeys import read, round_trip, trust_of, written
from tests.recipe.keras_examples import EXAMPLES, NOT_MADE, classes_in, difference_of_squares

NAMESPACES = [
    tfk.layers,
    tfk.constraints,
    tfk.initializers,
    tfk.losses,
    tfk.metrics,
    tfk.mixed_precision,
    tfk.optimizers,
    tfk.optimizers.legacy,
    tfk.optimizers.schedules,
    tfk.regularizers,
]


def comparable(value: Any) -> Any:
    """Take off the wrappers of TensorFlow, and make arrays and tuples lists."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [comparable(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def keys_in(node: Any) -> Iterator[str]:
    """Give every key of every object in a recipe."""
    if isinstance(node, dict):
        for key, item in node.items():
            yield key
            yield from keys_in(item)
    elif isinstance(node, list):
        for item in node:
            yield from keys_in(item)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_object_of_tf_keras_comes_back_as_it_was_made(example: Any) -> None:
    """Same class, same configuration, another object."""
    config = comparable(example.get_config())

    again = round_trip(example)

    assert type(again) is type(example)
    assert again is not example
    assert comparable(again.get_config()) == config


def test_every_class_of_tf_keras_has_an_example_or_a_reason() -> None:
    """A class that a newer tf_keras adds is not forgotten."""
    shown = {type(example) for example in EXAMPLES} | set(NOT_MADE) | {tfk.mixed_precision.LossScaleOptimizer}

    missing = {found.__name__ for namespace in NAMESPACES for found in classes_in(namespace)} - {
        found.__name__ for found in shown
    }

    assert missing == set()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda value: type(value).__name__)
def test_no_recipe_of_an_object_gives_keras_an_instruction(example: Any) -> None:
    """What Keras would import by its own rules is not in the file."""
    stored = written(example)

    assert "class_name" not in set(keys_in(stored.document))


def test_a_layer_used_backwards_keeps_its_direction() -> None:
    """Of a pair of recurrent layers each keeps its own arguments."""
    pair = tfk.layers.Bidirectional(tfk.layers.GRU(3), backward_layer=tfk.layers.GRU(3, go_backwards=True, dropout=0.5))

    again = round_trip(pair)

    assert (again.forward_layer.go_backwards, again.forward_layer.dropout) == (False, 0.0)
    assert (again.backward_layer.go_backwards, again.backward_layer.dropout) == (True, 0.5)


def test_the_arguments_that_a_metric_passes_on_to_its_function_are_kept() -> None:
    """They are in no signature: a metric without them would measure something else."""
    metric = tfk.metrics.MeanMetricWrapper(tfk.losses.huber, name="huber", delta=2.0)

    again = round_trip(metric)

    again.update_state([[0.0]], [[4.0]])
    assert float(again.result()) == 6.0


def test_recording_a_legacy_optimizer_makes_no_variables() -> None:
    """Looking at a model does not change it."""
    optimizer = tfk.optimizers.legacy.Adam(0.1)

    new_encoder().encode(optimizer, "optimizer")

    assert optimizer.variables() == []
    assert optimizer._hyper["learning_rate"] == 0.1


def test_a_learning_rate_that_was_changed_is_recorded_as_it_is() -> None:
    """A schedule is recorded as such, a plain rate at its present value."""
    optimizer = tfk.optimizers.Adam(0.1)
    optimizer.learning_rate.assign(0.25)

    again = round_trip(optimizer)

    assert float(again.learning_rate) == 0.25


def test_a_lambda_inside_an_object_of_tf_keras_stays_a_function() -> None:
    """Its `get_config` would marshal it."""
    layer = tfk.layers.Dense(2, activation=lambda x: x + 1.0, kernel_initializer="zeros")

    again = round_trip(layer)

    assert again(tf.zeros((1, 3))).numpy().tolist() == [[1.0, 1.0]]


def test_a_lambda_layer_keeps_its_function_and_arguments() -> None:
    """Without marshal: the function goes with the others that have no name."""
    factor = 3.0
    layer = tfk.layers.Lambda(lambda x, offset: factor * x + offset, arguments={"offset": 1.0}, name="line")

    again = round_trip(layer)

    assert again.name == "line"
    assert again(tf.constant([2.0])).numpy().tolist() == [7.0]


def test_an_object_in_two_places_is_one_object_again() -> None:
    """Shared layers share weights; so do wrappers around one layer."""
    dense = tfk.layers.Dense(3, name="shared")
    pair = [tfk.layers.TimeDistributed(dense), tfk.layers.TimeDistributed(dense), dense]

    first, second, third = round_trip(pair)

    assert first.layer is second.layer is third


def test_two_equal_objects_stay_two() -> None:
    """Only identity is shared."""
    first, second = round_trip([tfk.layers.Dense(3), tfk.layers.Dense(3)])

    assert first is not second


def test_a_configuration_that_a_user_serialized_comes_back_as_one() -> None:
    """A `get_config` that calls `serialize_keras_object` gets in `from_config` what it wrote."""
    config = {"inner": tfk.saving.serialize_keras_object(tfk.layers.Dense(3, name="inner"))}

    again = round_trip(config)

    assert again == config


@pytest.mark.parametrize(
    "node",
    [
        {
            "$": "keras",
            "class": {"$": "known", "name": "tf_keras.layers.Lambda"},
            "arguments": {"function": ["4wEAAAAA"]},
        },
        {
            "$": "keras",
            "class": {"$": "known", "name": "tf_keras.layers.Lambda"},
            "arguments": {"function": "4wEAAAAA"},
        },
        {
            "$": "keras",
            "class": {"$": "known", "name": "tf_keras.layers.Dense"},
            "positional": [3],
            "arguments": {"units": 3},
        },
        {"$": "keras", "class": {"$": "known", "name": "tf_keras.layers.Dense"}, "arguments": {"units": "many"}},
        {"$": "keras", "class": {"$": "known", "name": "tf_keras.layers.Dense"}, "arguments": {"units": 3, "huh": 1}},
        {"$": "keras", "class": {"$": "known", "name": "tf.math.abs"}, "arguments": {"x": 1}},
        {"$": "keras", "class": {"$": "known", "name": "tf_keras.losses.mse"}, "arguments": {}},
        {"$": "keras", "class": {"$": "known", "name": "tfp.layers.IndependentNormal"}, "arguments": {}},
        {"$": "keras", "class": {"$": "known", "name": "tf_keras.layers.StringLookup"}, "arguments": {}},
        {"$": "policy", "name": "float33"},
        {"$": "policy"},
        {"$": "instruction"},
    ],
)
def test_a_node_that_no_keras_object_writes_is_malformed(node: dict[str, Any]) -> None:
    """Even with all trust: what cannot be meant is not guessed."""
    with pytest.raises(MalformedRecipeError):
        read(node, trust=trust_of("own"))


def test_a_users_function_is_no_class_of_tf_keras() -> None:
    """The node for Keras's own objects makes no others."""
    node = {
        "$": "keras",
        "class": {"$": "import", "module": difference_of_squares.__module__, "name": "difference_of_squares"},
        "arguments": {},
    }

    with pytest.raises(MalformedRecipeError, match="is not a class of tf_keras"):
        read(node)
