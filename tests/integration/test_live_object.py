from __future__ import annotations

import pathlib
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_probckpt import CheckpointManager, ProbModelMixin, restore_latest
from keras_probckpt.errors import OutputMismatchError
from keras_probckpt.recipe import document

layers, tfd, tfpl = tfk.layers, tfp.distributions, tfp.layers
X = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)


class Net(ProbModelMixin, tfk.Model):
    """Reads an attribute of each kind in its call."""

    FACTOR = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head, self.normal = layers.Dense(3, "tanh"), layers.Dense(2), tfpl.IndependentNormal(1)
        self.scale, self.offsets, self.table = 1.0, [0.0, 0.0], {"k": 1.0}
        self.array, self.function = np.ones(2, "float32"), tf.identity
        self.mask = tf.constant(np.random.default_rng().uniform(0.5, 1.5, 3), tf.float32)

    def call(self, x: Any) -> Any:  # noqa: D102
        scale = self.scale * self.table["k"] * self.FACTOR * tf.reduce_sum(self.array)
        return self.normal(self.function(self.head(self.hidden(x * self.mask))) * scale + sum(self.offsets))


def doubled(x: Any) -> Any:
    """Double."""
    return 2.0 * x


def replaced_call(self: Any, x: Any) -> Any:
    """Be put in place of a layer's own call."""
    return 3.0 * layers.Dense.call(self, x)


def kl_of_half(q: Any, p: Any, _: Any) -> Any:
    """Weigh a divergence."""
    return 0.5 * tfd.kl_divergence(q, p)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "number": lambda m: setattr(m, "scale", 0.3),
    "item of a list": lambda m: m.offsets.__setitem__(1, 4.0),
    "item of a dict": lambda m: m.table.update(k=5.0),
    "array in place": lambda m: m.array.__setitem__(0, 9.0),
    "function": lambda m: setattr(m, "function", doubled),
    "activation of a layer": lambda m: setattr(m.hidden, "activation", tf.nn.relu),
    "method of a layer": lambda m: setattr(m.head, "call", types.MethodType(replaced_call, m.head)),
    "attribute of the class": lambda m: setattr(type(m), "FACTOR", 0.7),
}


def outputs(model: Any) -> Any:
    """Give the mean of what a model returns."""
    return model(X).mean().numpy()


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_set_between_two_saves_comes_back(change: str, tmp_path: pathlib.Path) -> None:
    """The second checkpoint is of the model as it is then; what was drawn in the constructor is the same in both."""
    model = Net()
    before = outputs(model)
    with CheckpointManager(model, tmp_path, save_last=2) as manager:
        manager.save(1)
        CHANGES[change](model)
        expected = outputs(model)
        manager.save(2)
    Net.FACTOR = 1.0

    restored = restore_latest(tmp_path)

    assert np.array_equal(outputs(restored), expected)
    assert not np.array_equal(expected, before)


@pytest.mark.filterwarnings("ignore:`layer.add_variable` is deprecated:UserWarning")
@pytest.mark.filterwarnings("ignore:The initializer RandomNormal is unseeded:UserWarning")
def test_a_divergence_that_was_replaced_comes_back(tmp_path: pathlib.Path) -> None:
    """It changes no output, but what the layer adds to the loss."""
    model = tfk.Sequential([layers.InputLayer((3,)), tfpl.DenseReparameterization(1)])
    model.layers[0].kernel_divergence_fn = kl_of_half
    model(X)
    with CheckpointManager(model, tmp_path) as manager:
        manager.save(1)

    restored = restore_latest(tmp_path)
    restored(X)

    assert np.array_equal(sum(restored.losses), sum(model.losses))


def test_layers_are_trained_as_they_were(tmp_path: pathlib.Path) -> None:
    """One that is frozen after `compile` is trained until the next, and shows what its user set."""
    model = Net()
    model.compile("sgd", lambda y, d: -d.log_prob(y))
    model.hidden.trainable = False
    with CheckpointManager(model, tmp_path) as manager:
        model.fit(X, X[:, :1], epochs=1, verbose=0)
        manager.save(1)

    restored = restore_latest(tmp_path)

    assert [layer.trainable for layer in restored.layers] == [False, True, True]
    assert len(restored.trainable_variables) == 2
    assert restored._compiled_trainable_state[restored.hidden]


class Holder:
    """A plain object that may hold a layer."""

    def __init__(self) -> None:
        self.layer: Any = None

    def __call__(self, x: Any) -> Any:
        """Call the layer, if there is one."""
        return x if self.layer is None else self.layer(x)


class Blocks(ProbModelMixin, tfk.Model):
    """Makes layers and a prior that others replace."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [layers.Dense(3, "tanh"), layers.Dense(3, "relu")]
        self.heads = {"params": layers.Dense(2)}
        self.prior, self.normal, self.holder = tfd.Normal(0.0, 1.0), tfpl.IndependentNormal(1), Holder()

    def call(self, x: Any) -> Any:  # noqa: D102
        for block in self.blocks:
            x = block(x)
        x = self.holder(x)
        self.add_loss(-tf.reduce_mean(self.prior.log_prob(x)))
        return self.normal(self.heads["params"](x)[:, :2])


def _share(model: Any) -> None:
    model.heads["params"] = layers.Dense(3)
    model.blocks.append(model.heads["params"])


def _replace(model: Any) -> None:
    model.blocks = [layers.Dense(5), layers.LayerNormalization()]
    model.heads.update(params=layers.Dense(4), more=layers.Dense(2))
    model.blocks[1] = tfk.Sequential([layers.Dense(4)])


def _hold(model: Any) -> None:
    model.holder.layer = layers.Dense(3)
    model.prior = tfd.Normal(tf.Variable(0.5, name="loc"), 1.0)


ATTACHED: dict[str, Callable[[Any], Any]] = {
    "a layer put before others": lambda m: m.blocks.insert(0, layers.Dense(3)),
    "a layer taken away": lambda m: m.blocks.pop(0),
    "others in place of layers": _replace,
    "a layer in a plain object, and a prior that is trained": _hold,
    "one layer in two places": _share,
}


@pytest.mark.parametrize("change", ATTACHED)
def test_layers_and_variables_that_were_attached_come_back(change: str, tmp_path: pathlib.Path) -> None:
    """The constructor knows nothing of them; the model is built as it was when it was saved."""
    model = Blocks()
    ATTACHED[change](model)
    expected = outputs(model)
    with CheckpointManager(model, tmp_path, rehearse=False) as manager:
        manager.save(1)

    restored = restore_latest(tmp_path)

    assert np.array_equal(outputs(restored), expected)
    assert [weight.shape for weight in restored.weights] == [weight.shape for weight in model.weights]
    assert (restored.heads["params"] is restored.blocks[-1]) == (model.heads["params"] is model.blocks[-1])


class Listing(tfk.Model):
    """Keeps a list of the weights of its layers; nobody knows its arguments."""

    def __init__(self, first: Any, last: Any) -> None:
        super().__init__()
        self.first, self.last, self.gain = first, last, tf.Variable(1.0, name="gain")
        self.trained = [*first.weights, self.gain]

    def call(self, x: Any) -> Any:  # noqa: D102
        return self.last(self.first(x)) * self.gain


def test_a_list_of_layers_weights_holds_the_weights_of_the_layers(tmp_path: pathlib.Path) -> None:
    """As many models keep one for an optimizer of their own: other variables in it would be trained in vain."""
    model = Listing(tfk.Sequential([layers.InputLayer((3,)), layers.Dense(2)]), layers.Dense(1))
    expected = model(X)
    with CheckpointManager(model, tmp_path, rehearse=False) as manager:
        manager.save(1)

    restored = restore_latest(tmp_path)

    assert np.array_equal(restored(X), expected)
    assert restored.trained[0] is restored.first.layers[0].kernel
    assert restored.trained[2] is restored.gain
    assert len(restored.trained) == 3


def words_table() -> Any:
    """Make a table of two words, and one more place for all others."""
    words = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([0, 1], tf.int64))
    return tf.lookup.StaticVocabularyTable(words, 1)


class Words(ProbModelMixin, tfk.Model):
    """Has a table only after it was given one."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Any = None
        self.embedding = layers.Embedding(3, 2)

    def call(self, words: Any) -> Any:  # noqa: D102
        return self.embedding(self.table.lookup(words))


def test_a_static_table_comes_back_where_the_constructor_makes_none(tmp_path: pathlib.Path) -> None:
    """A vocabulary is often read when the model is there already."""
    model, words = Words(), tf.constant(["b", "else"])
    model.table = words_table()
    expected = model(words)
    with CheckpointManager(model, tmp_path, rehearse=False) as manager:
        manager.save(1)

    restored = restore_latest(tmp_path)

    assert np.array_equal(restored(words), expected)


PENALTIES: dict[str, Callable[[Any], Any]] = {
    "given too late": lambda dense: setattr(dense, "bias_regularizer", tfk.regularizers.l2(0.5)),
    "taken away too late": lambda dense: setattr(dense, "kernel_regularizer", None),
    "a constraint given too late": lambda dense: setattr(dense, "kernel_constraint", tfk.constraints.MaxNorm(0.01)),
}


@pytest.mark.parametrize("change", PENALTIES)
def test_weights_are_punished_and_constrained_as_they_were(change: str, tmp_path: pathlib.Path) -> None:
    """Keras asks a layer for regularizers and constraints when it makes its weights, and never again."""
    given = {"kernel_regularizer": tfk.regularizers.l2(0.1), "bias_constraint": tfk.constraints.NonNeg()}
    model = tfk.Sequential([layers.InputLayer((3,)), layers.Dense(1, **given)])
    PENALTIES[change](model.layers[0])
    model.compile("sgd", "mse")
    with CheckpointManager(model, tmp_path, rehearse=False) as manager:
        manager.save(1)

    restored = restore_latest(tmp_path)
    for one in (model, restored):
        one.train_on_batch(X, X[:, :1] - 5.0)

    assert [float(loss) for loss in restored.losses] == [float(loss) for loss in model.losses]
    assert np.array_equal(restored.get_weights()[0], model.get_weights()[0])
    assert np.array_equal(restored.get_weights()[1], model.get_weights()[1])


def test_an_optimizer_that_counts_in_python_goes_on_as_it_was(tmp_path: pathlib.Path) -> None:
    """Nadam begins to count anew where its variables are made, and its next update is by that count."""
    model = tfk.Sequential([layers.InputLayer((3,)), layers.Dense(1)])
    model.compile(tfk.optimizers.Nadam(0.1), "mse")
    model.fit(X, X[:, :1], batch_size=2, epochs=2, verbose=0)
    with CheckpointManager(model, tmp_path, rehearse=False) as manager:
        manager.save(1)

    restored = restore_latest(tmp_path)
    for one in (model, restored):
        one.make_train_function(force=True)
        one.train_on_batch(X, X[:, :1])

    assert np.array_equal(restored.get_weights()[0], model.get_weights()[0])
    assert restored.optimizer._u_product_counter == model.optimizer._u_product_counter == 7


def test_a_model_that_comes_back_as_another_function_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers in a checkpoint are those of its own weights: another function of them is not taken for it."""
    model = Net()
    model(X)
    model.scale = 0.3
    with CheckpointManager(model, tmp_path) as manager:
        manager.save(1)
    monkeypatch.setattr(document, "put_attributes", lambda *_args, **_kwargs: ([], []))

    with pytest.raises(OutputMismatchError) as caught:
        restore_latest(tmp_path)

    assert "model().mean: saved [" in str(caught.value)
    assert restore_latest(tmp_path, verify_outputs=False).scale == 1.0


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=3),
    st.tuples(st.integers(0, 9), st.text(max_size=2)),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.tuples(st.sampled_from(["", "hidden", "head"]), PLAIN), min_size=1, max_size=4))
def test_plain_attributes_of_any_layer_come_back(values: list[tuple[str, Any]], tmp_path_factory: Any) -> None:
    """Set between two saves, on the model or on a layer of Keras in it, under names that no class knows."""
    model, directory = Net(), tmp_path_factory.mktemp("attributes")
    model(X)
    with CheckpointManager(model, directory, rehearse=False) as manager:
        manager.save(1)
        for index, (owner, value) in enumerate(values):
            setattr(getattr(model, owner) if owner else model, f"note_{index}", value)
        manager.save(2)

    restored = restore_latest(directory, verify_outputs=False)

    for index, (owner, value) in enumerate(values):
        found = getattr(getattr(restored, owner) if owner else restored, f"note_{index}")
        assert (found, type(found).__name__.replace("ListWrapper", "list")) in [
            (value, type(value).__name__),
            (value, f"_{type(value).__name__.title()}Wrapper"),
        ]
