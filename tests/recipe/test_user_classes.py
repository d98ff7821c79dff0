from __future__ import annotations

import threading
from typing import Any

import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from keras_probckpt.errors import UnrecordableError
from tests.recipe.journeys import described, round_trip, written


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
    """The mixin, `get_config`, a builder; and what of it cannot be recorded is named."""
    with pytest.raises(UnrecordableError) as caught:
        described(Undescribed(threading.Lock()))

    assert caught.value.where == "model"
    assert "the constructor arguments of Undescribed were not recorded" in caught.value.problem
    assert "model.layer: a _thread.lock is of no kind" in caught.value.problem
    assert all(word in caught.value.advice for word in ("ProbModelMixin", "get_config", "builder="))


class Inheriting(tfk.layers.Dense):
    """A layer whose constructor is that of Keras."""


class Handing(tfk.layers.Dense):
    """A layer that hands on what it takes, by position and by name, and sets the rest."""

    def __init__(self, units: int, kernel_regularizer: Any = None, **kwargs: Any) -> None:
        super().__init__(units, activation="tanh", kernel_regularizer=kernel_regularizer, **kwargs)
        self.penalty = kernel_regularizer


class Further(Handing):
    """One that derives from that."""

    def __init__(self, **options: Any) -> None:
        super().__init__(kernel_initializer="ones", **options)


class OwnLoss(tfk.losses.Loss):
    """A loss whose constructor is that of Keras."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute."""
        return y_true - y_pred


class Penalty(tfk.regularizers.L2):
    """A regularizer whose constructor is that of Keras."""


L2 = tfk.regularizers.L2(0.25)


@pytest.mark.parametrize(
    "layer",
    [
        Inheriting(3, kernel_regularizer=L2, name="own", use_bias=False),
        Handing(3, kernel_regularizer=L2, name="own", use_bias=False),
        Further(units=3, kernel_regularizer=L2, name="own", use_bias=False),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_that_adds_no_arguments_is_known_by_the_configuration_it_inherits(layer: Any) -> None:
    """Objects among its arguments are no obstacle."""
    again = round_trip(layer)

    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


def test_losses_and_regularizers_that_add_no_arguments_are_known_too() -> None:
    """Whatever of Keras a class derives from."""
    loss, penalty = round_trip([OwnLoss(reduction="sum", name="own"), Penalty(0.5)])

    assert (type(loss), loss.reduction, loss.name) == (OwnLoss, "sum", "own")
    assert (type(penalty), float(penalty.l2)) == (Penalty, 0.5)


class Doubled(tfk.layers.Dense):
    """Its configuration would double the units again."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(2 * units, **kwargs)


class Renamed(tfk.layers.Dense):
    """What it takes is in no configuration under this name."""

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(size, **kwargs)


class Added(tfk.layers.Dense):
    """It takes more than it hands on."""

    def __init__(self, units: int, extra: Any, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.extra = extra


class Taking(tfk.layers.Dense):
    """It takes something out of the rest."""

    def __init__(self, **kwargs: Any) -> None:
        self.extra = kwargs.pop("extra", None)
        super().__init__(**kwargs)


class Setting(tfk.layers.Dense):
    """It changes what it hands on."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        units += 1
        super().__init__(units, **kwargs)


class Spreading(tfk.layers.Dense):
    """It takes by position what nobody names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class OwnLambda(tfk.layers.Lambda):
    """Its configuration is code in text."""


@pytest.mark.parametrize(
    ("made", "units"),
    [
        (Doubled(3, kernel_regularizer=L2), 6),
        (Renamed(3, kernel_regularizer=L2), 3),
        (Added(3, L2, kernel_regularizer=L2), 3),
        (Taking(units=3, kernel_regularizer=L2, extra="more"), 3),
        (Setting(3, kernel_regularizer=L2), 4),
        (Spreading(3, kernel_regularizer=L2), 3),
    ],
    ids=lambda made: type(made).__name__,
)
def test_a_configuration_that_may_not_be_the_truth_is_not_handed_to_the_constructor(made: Any, units: int) -> None:
    """What the class of Keras made of it is handed to that class, and the rest are attributes."""
    node = written(made).node

    again = round_trip(made)

    assert node["$"] == "state"
    assert (type(again), again.units, again.kernel_regularizer.get_config()) == (type(made), units, L2.get_config())
    assert getattr(again, "extra", None) == getattr(made, "extra", None) or again.extra.get_config() == L2.get_config()


def test_a_lambda_layer_of_a_users_class_keeps_its_function() -> None:
    """Its configuration is code in text, and is not asked for."""
    assert round_trip(OwnLambda(tf.abs)).function is tf.abs


class Raising(tfk.layers.Layer):
    """A layer with a `get_config` that raises what nobody expects."""

    def __init__(self, rate: Any) -> None:
        super().__init__()
        self.rate = rate

    def get_config(self) -> dict[str, Any]:
        """Fail."""
        raise KeyError("rate")


class Lying(Raising):
    """A layer with a `get_config` of other arguments than its constructor's."""

    def get_config(self) -> dict[str, Any]:
        """Name an argument that there is not."""
        return {"speed": 7}


class Recorded(ProbModelMixin, Raising):
    """Its mixin knows the arguments."""


class RecordedLying(ProbModelMixin, Lying):
    """Its mixin knows the arguments."""

    def get_config(self) -> dict[str, Any]:
        """Name an argument that there is not."""
        return {"speed": 7}


@pytest.mark.parametrize(
    ("cls", "tag"), [(Raising, "state"), (Lying, "state"), (Recorded, "object"), (RecordedLying, "object")]
)
def test_a_get_config_that_raises_or_does_not_fit_is_not_needed(cls: Any, tag: str) -> None:
    """The mixin's arguments come first, and the state last."""
    made = cls(tf.abs)  # Of a number, Keras would have recorded it.

    assert written(made).node["$"] == tag
    assert round_trip(made).rate is tf.abs


def test_a_layer_of_keras_is_asked_for_no_configuration_of_the_users_layers_in_it() -> None:
    """They are recorded themselves: whatever their `get_config` raises does not come up."""
    again = round_trip([tfk.layers.TimeDistributed(Raising(0.5)), tfk.layers.RNN([Cell(2, [3.0]), Cell(1, [4.0])])])

    assert again[0].layer.rate == 0.5
    assert [list(cell.rates) for cell in again[1].cell.cells] == [[3.0], [4.0]]


class Cell(tfk.layers.Layer):
    """A cell whose arguments Keras does not record."""

    def __init__(self, units: int, rates: Any) -> None:
        super().__init__()
        self.state_size, self.rates = units, rates

    def call(self, inputs: Any, states: Any) -> Any:
        """Do nothing."""
        return inputs, states
