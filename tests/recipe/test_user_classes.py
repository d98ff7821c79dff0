from __future__ import annotations

from typing import Any

import pytest
import tf_keras as tfk

from keras_probckpt.errors import UnrecordableError
from tests.recipe.journeys import described, round_trip


class Undescribed(tfk.Model):
    """A model that nobody can describe."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer


class Simple(tfk.layers.Layer):
    """A layer whose arguments Keras records, because all are simple."""

    def __init__(self, rate: float, label: str = "a") -> None:
        super().__init__()
        self.rate, self.label = rate, label


class Described(tfk.layers.Layer):
    """A layer with a `get_config` of its own, in Keras's way."""

    def __init__(self, inner: Any, size: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner, self.size = inner, size

    def get_config(self) -> dict[str, Any]:
        """Serialize the inner layer, as Keras's guides say."""
        inner = tfk.saving.serialize_keras_object(self.inner)
        return {**super().get_config(), "inner": inner, "size": self.size}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Described:
        """Make one again."""
        return cls(**{**config, "inner": tfk.saving.deserialize_keras_object(config["inner"])})


def test_a_layer_without_the_mixin_is_rebuilt_where_keras_knows_its_arguments() -> None:
    """All of them numbers, strings, booleans or None."""
    again = round_trip(Simple(0.5, label="b"))

    assert (again.rate, again.label) == (0.5, "b")


def test_a_layer_that_describes_itself_is_rebuilt_its_own_way() -> None:
    """By its `get_config` and `from_config`."""
    again = round_trip(Described(tfk.layers.Dense(3, name="inner"), (1, 2), name="outer"))

    assert (again.name, again.inner.name, again.inner.units, again.size) == ("outer", "inner", 3, (1, 2))


def test_a_model_that_nobody_can_describe_is_an_error_with_three_ways_out() -> None:
    """The mixin, `get_config`, a builder."""
    with pytest.raises(UnrecordableError) as caught:
        described(Undescribed(tfk.layers.Dense(2)))

    assert caught.value.where == "model"
    assert "nobody knows the arguments that this Undescribed was made with" in caught.value.problem
    assert all(word in caught.value.advice for word in ("ProbModelMixin", "get_config", "builder="))
