from __future__ import annotations

import argparse
import collections
import copy
import dataclasses
import functools
import pathlib
import pickle
import threading
import types
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from keras_probckpt.errors import UnrecordableError, UnsupportedModelError
from keras_probckpt.recipe.arguments import recorded_arguments
from keras_probckpt.recipe.document import require_tf_keras_model
from tests.parameter_ids import without_address
from tests.recipe.journeys import round_trip

INPUT = tf.constant([[1.0, 2.0]])


class Net(ProbModelMixin, tfk.Model):
    """A model with required, optional and keyword-only arguments."""

    def __init__(self, units: int, activation: Any = "relu", *, name: str = "net", **extra: Any) -> None:
        super().__init__(name=name)
        self.hidden = tfk.layers.Dense(units, activation)
        self.extra = extra

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Apply the layer."""
        return self.hidden(inputs)


class NetWithoutArguments(ProbModelMixin, tfk.Model):
    """A model as people first write it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = tfk.layers.Dense(3)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Apply the layer."""
        return self.hidden(inputs)


class Stack(ProbModelMixin, tfk.Model):
    """A model of any number of widths."""

    def __init__(self, first: Any, /, second: int = 2, *widths: int, final: int = 1) -> None:
        super().__init__()
        self.order = [first, second, *widths, final]


class DeeperNet(Net):
    """A subclass that fixes an argument of its parent."""

    def __init__(self, depth: int) -> None:
        super().__init__(units=4 * depth)
        self.depth = depth


class DeepestNet(DeeperNet):
    """A subclass of a subclass that has no constructor of its own."""


class Wrapper(ProbModelMixin, tfk.Model):
    """A model that is made with another."""

    def __init__(self, inner: Any, layers_by_name: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.inner = inner
        self.by_name = layers_by_name

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Apply the inner model."""
        return self.inner(inputs)


class Scale(ProbModelMixin, tfk.layers.Layer):
    """A layer with the mixin."""

    def __init__(self, factor: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Multiply."""
        return inputs * self.factor


@pytest.mark.parametrize(
    ("made", "config"),
    [
        (Net(3), {"units": 3}),
        (Net(3, "tanh"), {"units": 3, "activation": "tanh"}),
        (Net(units=3, name="mine", rate=0.5), {"units": 3, "name": "mine", "rate": 0.5}),
        (NetWithoutArguments(), {}),
        (Stack(1), {"positional": [1]}),
        (Stack(1, second=3), {"positional": [1], "second": 3}),
        (Stack(1, 2, 3, 4, final=5), {"positional": [1, 2, 3, 4], "final": 5}),
        (DeeperNet(2), {"depth": 2}),
        (DeepestNet(depth=3), {"depth": 3}),
        (Scale(2.0, name="twice", dtype="float64"), {"factor": 2.0, "name": "twice", "dtype": "float64"}),
    ],
    ids=without_address,
)
def test_the_arguments_are_recorded_as_they_were_given(made: Any, config: dict[str, Any]) -> None:
    """By name as far as the signature allows; what was not given is not recorded, so defaults may change."""
    assert made.get_config() == config
    assert type(made).from_config(config).get_config() == config


@pytest.mark.parametrize(
    "made",
    [Stack(1, 2, 3, final=4), Stack([1], second=3), DeepestNet(3), Net(2, tf.nn.softplus, rate=0.1)],
    ids=without_address,
)
def test_an_object_is_rebuilt_by_the_same_call(made: Any) -> None:
    """Whatever the kinds of its parameters."""
    again = round_trip(made)

    assert type(again) is type(made)
    assert again.get_config() == made.get_config()


def test_positional_arguments_keep_their_places() -> None:
    """They have no other name."""
    assert list(round_trip(Stack("a", 5, 6, 7, final=8)).order) == ["a", 5, 6, 7, 8]


ARGUMENTS: list[Any] = [
    0.1,
    "text",
    None,
    [1, (2, [3])],
    {"a": {1: (2,)}},
    {1, 2},
    np.arange(6.0).reshape(2, 3),
    np.float32(0.1),
    tf.float16,
    np.dtype("int8"),
    tfk.initializers.RandomNormal(stddev=0.1, seed=1),
    tfk.regularizers.L2(0.1),
    tf.constant([1.0, 2.0]),
    tf.TensorShape([None, 2]),
]


@pytest.mark.parametrize("argument", ARGUMENTS, ids=lambda value: type(value).__name__)
def test_an_argument_of_each_kind_comes_back(argument: Any) -> None:
    """Numbers, strings, None, containers, arrays, dtypes, Keras objects, tensors."""
    again = round_trip(Scale(argument)).get_config()["factor"]

    assert type(again) is type(argument) or isinstance(again, tf.Tensor)
    if hasattr(argument, "get_config"):
        assert again.get_config() == argument.get_config()
    elif isinstance(argument, (np.ndarray, np.generic, tf.Tensor)):
        assert np.asarray(again).tobytes() == np.asarray(argument).tobytes()
    else:
        assert again == argument


@pytest.mark.parametrize("copies", [list, tuple])
def test_what_is_done_to_an_argument_afterwards_is_not_recorded(copies: Any) -> None:
    """The model was made with what it held at the time."""
    array, numbers, mapping, members = np.zeros(2), [1], {"a": [1]}, {1}
    made = Scale(copies([array, numbers, mapping, members]))

    array[:] = 7.0
    numbers.append(2)
    mapping["a"].append(2)
    mapping["b"] = []
    members.add(2)

    kept_array, *others = made.get_config()["factor"]
    assert kept_array.tolist() == [0.0, 0.0]
    assert others == [[1], {"a": [1]}, {1}]


def test_the_object_itself_gets_the_argument_and_not_a_copy() -> None:
    """Recording does not come between the caller and the constructor."""
    array = np.zeros(2)

    assert Scale(array).factor is array


class Locked(ProbModelMixin, tfk.layers.Layer):
    """It keeps what it makes of its argument, and not the argument; or both."""

    def __init__(self, lock: Any, *, keeps: bool) -> None:
        super().__init__()
        self.name_of_lock = type(lock).__name__
        if keeps:
            self.lock = lock


def test_an_argument_that_cannot_be_stored_does_not_come_between_the_caller_and_the_constructor() -> None:
    """The object is made, and recorded by its state."""
    made = Locked(threading.Lock(), keeps=False)

    assert round_trip(made).name_of_lock == "lock"


def test_what_can_be_recorded_in_no_way_is_refused_when_it_is_written() -> None:
    """The argument is named."""
    made = Locked(threading.Lock(), keeps=True)

    with pytest.raises(UnrecordableError) as caught:
        round_trip([made])

    assert caught.value.where == "value[0]"
    assert "value[0].lock: a _thread.lock is of no kind" in caught.value.problem


@dataclasses.dataclass
class Settings:
    """What several models are made with, and what is changed between them."""

    k: float = 1.0
    sizes: list[int] = dataclasses.field(default_factory=lambda: [1])


@pytest.mark.parametrize(
    ("settings", "change", "look"),
    [
        (Settings(), lambda s: s.sizes.append(2), lambda s: s.sizes),
        (types.SimpleNamespace(sizes=[1]), lambda s: s.sizes.append(2), lambda s: s.sizes),
        (argparse.Namespace(k=[1]), lambda s: setattr(s, "k", [2]), lambda s: s.k),
        (
            functools.partial(max, default=[1]),
            lambda s: s.keywords.update(default=[2]),
            lambda s: s.keywords["default"],
        ),
        (collections.OrderedDict(k=[1]), lambda s: s["k"].append(2), lambda s: s["k"]),
        (collections.defaultdict(list, k=[1]), lambda s: s["k"].append(2), lambda s: s["k"]),
        (collections.deque([[1]]), lambda s: s[0].append(2), lambda s: s[0]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_settings_that_are_changed_for_the_next_model_are_recorded_as_they_were(
    settings: Any, change: Any, look: Any
) -> None:
    """A copy of them is, made with the first model."""
    made = Scale(settings)

    change(settings)

    assert look(round_trip(made).factor) == [1]


def test_settings_that_are_not_changed_are_one_object_for_all_that_have_them() -> None:
    """No copy of theirs is recorded."""
    settings = argparse.Namespace(k=1, inner=types.SimpleNamespace(sizes=[1]))

    first, second = round_trip([Scale(settings), Scale([settings])])

    assert second.factor[0] is first.factor


class Distance(ProbModelMixin, tfk.losses.Loss):
    """Keras's losses have no `__new__` that takes arguments."""

    def __init__(self, power: Any) -> None:
        super().__init__()
        self.power = power


def test_the_mixin_goes_before_any_class_of_keras() -> None:
    """One without a `__new__` too."""
    assert round_trip(Distance([2])).power == [2]


def test_a_model_that_is_an_argument_is_recorded_with_it() -> None:
    """Models in models, by whatever way they describe themselves."""
    inner = tfk.Sequential([tfk.layers.Dense(2, name="only", input_shape=(2,))])
    made = Wrapper(inner, layers_by_name={"scale": Scale(3.0), "inner": inner})

    again = round_trip(made)

    assert again.inner.layers[0].name == "only"
    assert again.by_name["scale"].factor == 3.0
    assert again.by_name["inner"] is again.inner


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (Net, "missing 1 required positional argument: 'units'"),
        (lambda: NetWithoutArguments(3), "takes 1 positional argument but 2 were given"),
        (lambda: NetWithoutArguments(units=3), "unexpected keyword argument 'units'"),
        (lambda: Stack(first=1), "positional-only"),
    ],
)
def test_wrong_arguments_are_pythons_own_error(call: Any, message: str) -> None:
    """As without the mixin."""
    with pytest.raises(TypeError, match=message):
        call()


def test_a_model_can_be_cloned() -> None:
    """`clone_model` of a Functional model clones each layer from its configuration."""
    inputs = tfk.Input((2,))
    model = tfk.Model(inputs, Scale(3.0, name="thrice")(inputs))

    again = tfk.models.clone_model(model)

    assert again.get_layer("thrice").factor == 3.0
    assert again(INPUT).numpy().tolist() == [[3.0, 6.0]]


def test_keras_can_save_and_load_it_by_its_own_means(tmp_path: pathlib.Path) -> None:
    """The class is registered and describes itself: no `custom_objects` is needed."""
    model = Net(3, "tanh", name="mine")
    outputs = model(INPUT)
    model.save(tmp_path / "model.keras")

    again = tfk.models.load_model(tmp_path / "model.keras")

    assert type(again) is Net
    assert again(INPUT).numpy().tobytes() == outputs.numpy().tobytes()


def pickled(model: tfk.Model) -> tfk.Model:
    """Send a model through pickle."""
    return pickle.loads(pickle.dumps(model))  # noqa: S301 - our own, made in this line


@pytest.mark.parametrize(
    ("duplicate", "is_built"),
    [
        (copy.copy, False),
        (copy.copy, True),
        (copy.deepcopy, False),
        (copy.deepcopy, True),
        (pickled, True),  # Keras cannot pickle a model that has not been built, with the mixin or without.
    ],
)
def test_a_copy_knows_its_arguments_too(*, duplicate: Any, is_built: bool) -> None:
    """However Python or Keras makes it."""
    model = Net(3, rate=0.5)
    if is_built:
        model(INPUT)

    again = duplicate(model)

    assert again is not model
    assert again.get_config() == {"units": 3, "rate": 0.5}
    assert again.hidden.units == 3


def test_a_copied_layer_knows_its_arguments_too() -> None:
    """Layers are copied by Python's own protocol."""
    again = copy.deepcopy(Scale([1.0, 2.0]))

    assert again.get_config() == {"factor": [1.0, 2.0]}


def test_two_classes_of_one_name_are_told_apart() -> None:
    """A function that makes classes makes each with the same name; only one of them is in the registry."""

    def make(units: int) -> type:
        class Local(ProbModelMixin, tfk.Model):
            """Defined in a function."""

            def __init__(self) -> None:
                super().__init__()
                self.dense = tfk.layers.Dense(units)

        return Local

    first, second = make(1), make(2)

    assert [round_trip(cls()).dense.units for cls in (first, second)] == [1, 2]


def test_the_record_is_out_of_sight_of_keras() -> None:
    """It is no tracked attribute: a list in it is no dependency of a TensorFlow checkpoint."""
    made = Scale([tfk.layers.Dense(2)])

    names = set(tf.train.TrackableView.children(made))

    assert recorded_arguments(made) is not None
    assert not any("probckpt" in name for name in names)


@pytest.mark.parametrize("model", [None, object(), tfk.layers.Dense(2), Net], ids=without_address)
def test_what_is_no_model_of_tf_keras_is_named(model: Any) -> None:
    """With the way to tf_keras, for those who have a Keras 3 model."""
    with pytest.raises(UnsupportedModelError, match="TF_USE_LEGACY_KERAS=1"):
        require_tf_keras_model(model)
