"""Objects of users' classes by their state: through the files of a checkpoint, and models to their outputs."""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import CheckpointManager, restore_latest
from keras_probckpt.errors import MalformedRecipeError, UntrustedCheckpointError
from keras_probckpt.recipe.registry import register_class
from tests.recipe.journeys import read, round_trip, trust_of, written

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers
INPUT = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")


class Encoded(tfk.layers.Layer):
    """A layer that takes a prior and an encoder."""

    def __init__(self, prior: Any, encoder: Any) -> None:
        super().__init__(name="encoded")
        self.prior, self.encoder = prior, encoder

    def call(self, inputs: Any) -> Any:
        """Encode, and let the prior judge."""
        code = self.encoder(inputs)
        self.add_loss(-tf.reduce_mean(self.prior.log_prob(code)))
        return code


class Coupling(tfb.Bijector):
    """A bijector with a Keras layer in it, of which TFP records no parameters."""

    def __init__(self, net: Any) -> None:
        super().__init__(forward_min_event_ndims=1, name="coupling")
        self.net, self.shift = net, 0.5

    def _forward(self, x: Any) -> Any:
        return tf.concat([x[:, :1], x[:, 1:] + self.net(x[:, :1]) + self.shift], 1)

    def _inverse(self, y: Any) -> Any:
        return tf.concat([y[:, :1], y[:, 1:] - self.net(y[:, :1]) - self.shift], 1)

    def _forward_log_det_jacobian(self, x: Any) -> Any:
        return tf.zeros(tf.shape(x)[:1])


class Latent(tfd.Distribution):
    """A distribution with a layer and a variable in it."""

    def __init__(self, net: Any, loc: Any) -> None:
        super().__init__(tf.float32, tfd.FULLY_REPARAMETERIZED, validate_args=False, allow_nan_stats=True)
        self._net, self._parameters = net, None
        self.loc = tf.Variable(loc, name="loc")

    def _log_prob(self, x: Any) -> Any:
        return tf.reduce_sum(-((self._net(x) - self.loc) ** 2), -1)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([3])

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])


class Shifted(tfd.Normal):
    """It hands on other arguments than it takes, under the same names, and does not say so to TFP."""

    def __init__(
        self,
        loc: Any,
        scale: Any,
        validate_args: bool = False,  # noqa: FBT001, FBT002 - as TFP's
        allow_nan_stats: bool = True,  # noqa: FBT001, FBT002
        name: str = "shifted",
    ) -> None:
        super().__init__(loc + 1.0, scale, validate_args, allow_nan_stats, name)


class NetKernel(tfp.math.psd_kernels.PositiveSemidefiniteKernel):
    """A kernel on what a layer makes of its inputs."""

    def __init__(self, net: Any) -> None:
        super().__init__(feature_ndims=1, dtype=tf.float32, name="net_kernel")
        self.net = net

    def _apply(self, x1: Any, x2: Any, example_ndims: int = 0) -> Any:
        return tf.exp(-tf.reduce_sum((self.net(x1) - self.net(x2)) ** 2, -1))


class Holding(tfk.Model):
    """A model without the mixin that calls a function of what it is given."""

    def __init__(self, held: Any, function: Any) -> None:
        super().__init__()
        self.held, self.function = held, function

    def call(self, inputs: Any) -> Any:
        """Apply it."""
        return tf.reshape(self.function(self.held, inputs), [len(INPUT), -1])


class Head(tfpl.DistributionLambda):
    """A layer of tfp.layers whose function needs the layer itself."""

    def __init__(self, least: float, **kwargs: Any) -> None:
        self.least = least
        super().__init__(lambda t: tfd.Normal(t[..., :1], self.least + tf.nn.softplus(t[..., 1:])), **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Tell the arguments."""
        return {"least": self.least, "name": self.name}


class Flipout(tfpl.DenseFlipout):
    """A layer of tfp.layers that makes its divergence of its own argument."""

    def __init__(self, units: int, weights: list[float]) -> None:
        super().__init__(units, kernel_divergence_fn=lambda q, p, _: tfd.kl_divergence(q, p) * weights[0])


class Stack(tfk.Sequential):
    """A Sequential model with arguments and an attribute of its own."""

    def __init__(self, sizes: Any, activation: Any) -> None:
        super().__init__([tfk.layers.Dense(size, activation) for size in sizes])
        self.last = tfk.layers.Dense(1)
        self.add(self.last)


class Graph(tfk.Model):
    """A Functional model that is made in the constructor of a class."""

    def __init__(self, units: int, function: Any) -> None:
        inputs = tfk.Input((3,))
        super().__init__(inputs, tfk.layers.Dense(1)(function(tfk.layers.Dense(units)(inputs))))
        self.function = function


class Building(tfk.layers.Layer):
    """A layer that makes a weight at first, and others and a layer when it is built."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.kernel, self.supports_masking = function, None, True
        penalty, sign = tfk.regularizers.L2(0.5), tfk.constraints.NonNeg()
        self.scale = self.add_weight("sc", (1,), initializer="ones", regularizer=penalty, constraint=sign)
        self.add_loss(lambda: 3.0 * tf.reduce_sum(self.scale))

    def build(self, input_shape: Any) -> None:
        """Make the rest."""
        self.kernel = self.add_weight("kernel", (3, 2), regularizer=tfk.regularizers.L2(0.1))
        self.inner = tfk.layers.Dense(2)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Apply all."""
        return self.function(self.inner(inputs @ self.kernel) * self.scale)


class AttrDict(dict):  # type: ignore[type-arg]
    """A mapping that raises KeyError for an attribute that it has not."""

    __getattr__ = dict.__getitem__


class Agent:
    """A plain object that leads back to the model."""

    factor = 3.0
    model: Any = None


def of_an_agent() -> tfk.Model:
    """Make a model with a function in it that leads to an object that leads to the model."""
    agent = Agent()
    agent.model = tfk.Sequential([tfk.layers.Dense(2), tfk.layers.Lambda(lambda x: x * agent.factor)])
    return agent.model


def dense(units: int) -> Any:
    """Make a layer."""
    return tfk.layers.Dense(units)


MODELS: dict[str, Callable[[], tfk.Model]] = {
    "layer": lambda: tfk.Sequential([Encoded(tfd.Normal(0.5, 2.0), tfk.Sequential([dense(2)])), dense(1)]),
    "bijector": lambda: Holding(Coupling(dense(2)), lambda held, x: held.forward(x)),
    "distribution": lambda: Holding(Latent(dense(3), [1.0, 2.0, 3.0]), lambda held, x: held.log_prob(x)),
    "subclass of Normal": lambda: Holding([Shifted(tf.zeros(3), 2.0)], lambda held, x: held[0].log_prob(x)),
    "kernel": lambda: Holding(NetKernel(dense(2)), lambda held, x: held.apply(x, x[::-1])),
    "subclass of DistributionLambda": lambda: tfk.Sequential([dense(2), Head(0.5)]),
    "subclass of DenseFlipout": lambda: tfk.Sequential([Flipout(2, [0.1])]),
    "subclass of Sequential": lambda: Stack([3, 4], tf.nn.tanh),
    "subclass that is Functional": lambda: Graph(4, tf.nn.tanh),
    "layer with build": lambda: tfk.Sequential([Building(tf.abs)]),
    "AttrDict": lambda: Holding(
        [AttrDict(inner=AttrDict(k=2.0)), dense(2)], lambda held, x: held[1](x) * held[0].inner.k
    ),
    "cycle through a plain object": of_an_agent,
}


def looked_at(model: tfk.Model) -> dict[str, Any]:
    """Tell what a model returns, its losses, and its weights in their order."""
    tf.random.set_seed(1)
    output = tf.convert_to_tensor(model(INPUT)).numpy().tolist()
    return {
        "output": output,
        "losses": [float(loss) for loss in model.losses],
        "weights": [weight.numpy().tolist() for weight in model.weights],
        "trainable": [weight.shape.as_list() for weight in model.trainable_weights],
        "constraints": [type(weight.constraint).__name__ for weight in model.weights],
    }


@pytest.mark.filterwarnings(
    "ignore:Exception encountered:UserWarning", "ignore:.*add_variable", "ignore:The initializer"
)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_model_of_which_nobody_knows_the_arguments_comes_back_by_its_state(
    make: Callable[[], tfk.Model], tmp_path: pathlib.Path
) -> None:
    """It returns the same, has the same losses and weights, and so has one that is saved again."""
    tfk.utils.set_random_seed(1)
    model = make()
    before = looked_at(model)

    again = through_a_checkpoint(model, tmp_path / "first")
    last = through_a_checkpoint(again, tmp_path / "second")

    assert type(again) is type(model)
    assert looked_at(again) == before
    assert looked_at(last) == before


def through_a_checkpoint(model: tfk.Model, directory: pathlib.Path) -> Any:
    """Save a model and restore it."""
    with CheckpointManager(model, directory) as manager:
        manager.save(1)
    return restore_latest(directory)


class Summed(tfk.metrics.Metric):
    """A metric that takes a function."""

    def __init__(self, function: Any) -> None:
        super().__init__(name="summed")
        self.function, self.total = function, self.add_weight("total", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add."""
        self.total.assign_add(self.function(y_true - y_pred))

    def result(self) -> Any:
        """Tell."""
        return self.total * 2.0


class Judged(tfk.losses.Loss):
    """A loss that makes something of its argument."""

    def __init__(self, scale: float) -> None:
        super().__init__(name="judged", reduction="sum")
        self.distribution = tfd.Normal(0.0, scale)


class Penalty(tfk.regularizers.Regularizer):
    """A regularizer likewise."""

    def __init__(self, rates: Any) -> None:
        self.rate = sum(rates)


class Halving(tfk.optimizers.schedules.LearningRateSchedule):
    """A schedule likewise."""

    def __init__(self, parts: Any) -> None:
        self.first = parts["first"]

    def __call__(self, step: Any) -> Any:
        """Tell the rate."""
        return self.first * 0.5 ** tf.cast(step, tf.float32)


class Descent(tfk.optimizers.SGD):
    """An optimizer likewise."""

    def __init__(self, rates: Any) -> None:
        super().__init__(Halving({"first": rates[0]}), momentum=0.5)
        self.rates = rates

    def get_config(self) -> dict[str, Any]:
        """Fail as nobody expects."""
        raise ValueError("rates")


def test_losses_metrics_regularizers_schedules_and_optimizers_come_back_by_their_state() -> None:
    """Each as the class of Keras makes it that it derives from."""
    metric, loss, penalty, optimizer = round_trip([Summed(tf.reduce_sum), Judged(2.0), Penalty([1, 2]), Descent([0.5])])

    metric.update_state(tf.constant([3.0]), tf.constant([1.0]))
    assert (metric.name, float(metric.result()), [v.shape for v in metric.variables]) == ("summed", 4.0, [()])
    assert (loss.name, loss.reduction, float(loss.distribution.scale)) == ("judged", "sum", 2.0)
    assert penalty.rate == 3
    assert (optimizer.momentum, float(optimizer.learning_rate), list(optimizer.rates)) == (0.5, 0.5, [0.5])


class Doubled(collections.OrderedDict):  # type: ignore[type-arg]
    """A user's ordered dict, with an attribute and a way of its own to set items."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, 2 * value)


def test_containers_of_users_classes_come_back_with_what_they_hold() -> None:
    """In their order, by no method of theirs."""
    made, numbers = Doubled(), collections.defaultdict.__new__(Listing)
    made["b"], made["a"] = 1, 2
    made.move_to_end("b")
    made.label = "text"
    numbers.default_factory = list
    numbers["x"].append(1)

    again, others = round_trip([made, numbers])

    assert (type(again), list(again.items()), again.label) == (Doubled, [("a", 4), ("b", 2)], "text")
    assert (type(others), dict(others), others["new"]) == (Listing, {"x": [1]}, [])


class Listing(collections.defaultdict):  # type: ignore[type-arg]
    """A user's defaultdict."""


def test_what_two_objects_share_is_one_again() -> None:
    """A variable, a layer and a plain object's place in both."""
    shared = dense(2)

    first, second = round_trip([Encoded([shared], AttrDict(net=shared)), Encoded(shared, None)])

    assert first.prior[0] is second.prior
    assert first.encoder.net is second.prior


STRANGERS = trust_of("unsigned")


@register_class
class Registered(tfk.layers.Layer):
    """A class that this process registered."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def helper(self) -> None:
        """Do nothing."""


@register_class
class RegisteredLambda(tfpl.DistributionLambda):
    """One whose objects would be made of text."""


def state(cls: type, base: str, attributes: Any, **more: Any) -> dict[str, Any]:
    """Write a node by hand."""
    reference = {"$": "import", "module": cls.__module__, "name": cls.__qualname__}
    return {"$": "state", "class": reference, "base": base, "arguments": {}, "attributes": attributes, **more}


def test_a_strangers_file_may_make_objects_of_a_registered_class() -> None:
    """Of data alone."""
    made = read(state(Registered, "tf_keras.layers.Layer", [["function", 3.0]]), trust=STRANGERS)

    assert (type(made), made.function) == (Registered, 3.0)


@pytest.mark.parametrize(
    "node",
    [
        state(Judged, "tf_keras.losses.Loss", []),
        state(RegisteredLambda, "tfp.layers.DistributionLambda", [], arguments={"make_distribution_fn": "gASV"}),
        state(AttrDict, "dict", [], items=[]),
    ],
    ids=["not registered", "a Lambda layer", "a dict"],
)
def test_a_strangers_file_may_make_no_other(node: Any) -> None:
    """It needs the trust that an import of the class needs."""
    with pytest.raises(UntrustedCheckpointError):
        read(node, trust=STRANGERS)


KNOWN = {"$": "known", "name": "tf.math.abs"}


@pytest.mark.parametrize(
    "node",
    [
        state(Registered, "tf_keras.layers.Dense", []),
        state(Registered, "os.system", []),
        state(Registered, "dict", [], items=[]),
        state(Registered, "tf_keras.layers.Layer", [["call", KNOWN]]),
        state(Registered, "tf_keras.layers.Layer", [["helper", KNOWN]]),
        state(Registered, "tf_keras.layers.Layer", [["_callable_losses", [KNOWN]]]),
        state(Registered, "tf_keras.layers.Layer", [["_self_tracked_trackables", []]]),
        state(Registered, "tf_keras.layers.Layer", [["__class__", 1]]),
        state(Registered, "tf_keras.layers.Layer", [["built", True]]),
        state(Registered, "tf_keras.layers.Layer", [["a", 1, 2]]),
        state(Registered, "tf_keras.layers.Layer", {"a": 1}),
        state(Registered, "tf_keras.layers.Layer", [], losses=[1]),
        state(Registered, "tf_keras.layers.Layer", [], losses=[[1, None]]),
        state(Registered, "tf_keras.layers.Layer", [], weights=[["a", 1]]),
        state(Registered, "tf_keras.layers.Layer", [], settings={"rate": 1}),
        {**state(Registered, "tf_keras.layers.Layer", []), "class": {"$": "known", "name": "tf_keras.layers.Dense"}},
    ],
)
def test_a_state_that_no_writer_writes_is_refused(node: Any) -> None:
    """What is Keras's own is not set, and no method replaced."""
    with pytest.raises(MalformedRecipeError):
        read(node, trust=STRANGERS)


def test_what_a_layer_holds_for_keras_is_not_recorded() -> None:
    """Its caches, its graph and its bookkeeping are made again."""
    layer = Encoded(None, dense(2))
    layer.encoder(INPUT)

    node = written(layer).node

    assert [name for name, _ in node["attributes"]] == ["prior", "encoder"]


class Annealed(tfk.layers.Layer):
    """A layer that counts by the optimizer's count of steps."""

    def __init__(self, step: tf.Variable) -> None:
        super().__init__()
        self.step = step

    def call(self, inputs: Any) -> Any:
        """Grow with the steps."""
        return inputs * tf.cast(self.step + 1, tf.float32)


@pytest.mark.parametrize("make", [tfk.optimizers.Adam, tfk.optimizers.legacy.Adam])
def test_a_layer_and_an_optimizer_that_count_in_one_variable_do_so_again(
    make: Callable[[], Any], tmp_path: pathlib.Path
) -> None:
    """What the one counts the other sees."""
    optimizer = make()
    model = tfk.Sequential([tfk.layers.Dense(2, input_shape=(3,)), Annealed(optimizer.iterations)])
    model.compile(optimizer, "mse")
    model.fit(INPUT, INPUT[:, :2], verbose=0)

    again = through_a_checkpoint(model, tmp_path)
    again.fit(INPUT, INPUT[:, :2], verbose=0)

    assert again.layers[1].step is again.optimizer.iterations
    assert int(again.layers[1].step) == 2
