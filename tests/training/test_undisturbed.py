from __future__ import annotations

import gc
import logging
import random
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk
from tf_keras.src import backend

from keras_probckpt.training.undisturbed import undisturbed

# The oldest tf_keras asks Python's generator for a whole number up to 1e9.
pytestmark = pytest.mark.filterwarnings("ignore:non-integer arguments to randrange:DeprecationWarning")

draw = tf.function(lambda: tf.random.uniform(()))


def begin() -> None:
    """Put all random states and names where they were at the beginning, and draw a few numbers."""
    tfk.backend.clear_session()
    tfk.utils.set_random_seed(7)
    tf.random.get_global_generator().reset_from_seed(7)
    draw()


def drawn_next() -> dict[str, Any]:
    """Draw from everything that a training may draw from, and take the next names."""
    return {
        "Python": random.random(),  # noqa: S311 - no secret
        "numpy": np.random.uniform(),  # noqa: NPY002 - the generator that all code shares
        "an operation": float(tf.random.uniform(())),
        "an operation with a seed": float(tf.random.uniform((), seed=5)),
        "a compiled operation": float(draw()),
        "the global generator": float(tf.random.get_global_generator().uniform(())),
        "an initializer": float(tfk.initializers.RandomUniform()(())),
        "a layer's name": tfk.layers.Dense(1).name,
        "a name of its own": tfk.backend.get_uid("own"),
        "a functional model's name": tfk.Model(x := tfk.Input((1,)), x).name,
    }


DISTURBANCES: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "Python's random": random.random,
    "Python's seed": lambda: random.seed(0),
    "numpy's random": lambda: np.random.uniform(size=3),  # noqa: NPY002 - the user's
    "numpy's seed": lambda: np.random.seed(0),  # noqa: NPY002 - the user's
    "a random operation": lambda: tf.random.uniform(()),
    "an operation with a seed": lambda: tf.random.uniform((), seed=5),
    "many random operations": lambda: [tf.random.uniform(()) for _ in range(100)],
    "a traced random operation": tf.function(lambda: tf.random.uniform(())),
    "TensorFlow's seed": lambda: tf.random.set_seed(0),
    "TensorFlow's old seed": lambda: tf.random.set_seed(7) or tf.random.uniform(()),
    "all seeds": lambda: tfk.utils.set_random_seed(0),
    "the global generator": lambda: tf.random.get_global_generator().uniform(()),
    "another global generator": lambda: tf.random.set_global_generator(tf.random.Generator.from_seed(1)),
    "layers": lambda: [tfk.layers.Dense(2).build((None, 2)), tfk.layers.Dense(1, name="dense")],
    "a functional model": lambda: tfk.Sequential([tfk.Input((2,)), tfk.layers.Dense(2)]).compile("adam", "mse"),
    "names": lambda: tfk.backend.get_uid("own"),
    "forgotten names": tfk.backend.reset_uids,
    "a new session": tfk.backend.clear_session,
    "a variable of the old kind": lambda: tf.compat.v1.get_default_graph().add_to_collection("left", 1),
}


@pytest.mark.parametrize("disturb", DISTURBANCES.values(), ids=DISTURBANCES.keys())
def test_what_comes_after_is_what_would_have_come(disturb: Callable[[], Any]) -> None:
    """Whatever was drawn, seeded, named, reset inside."""
    begin()
    expected = drawn_next()
    begin()

    with undisturbed():
        disturb()

    assert drawn_next() == expected


@pytest.mark.parametrize("disturb", DISTURBANCES.values(), ids=DISTURBANCES.keys())
def test_graphs_hold_nothing_more(disturb: Callable[[], Any]) -> None:
    """The default graphs are the same objects, with the same operations and collections."""
    drawn_next()
    graphs = [tf.compat.v1.get_default_graph(), backend.get_graph()]
    before = [(len(graph.get_operations()), graph.get_all_collection_keys()) for graph in graphs]

    with undisturbed():
        disturb()

    assert [tf.compat.v1.get_default_graph(), backend.get_graph()] == graphs
    assert [(len(graph.get_operations()), graph.get_all_collection_keys()) for graph in graphs] == before


def test_without_seeds_there_are_none_afterwards() -> None:
    """Code that sets seeds inside does not make a training reproducible, nor TensorFlow ask for seeds."""
    tf.random.set_seed(None)

    with undisturbed():
        tfk.utils.set_random_seed(0)

    with tf.__internal__.FuncGraph("graph").as_default() as graph:
        assert graph.seed is None


def test_an_error_inside_passes_and_the_state_is_put_back() -> None:
    """A model that cannot be rebuilt is the case this is for."""
    state = random.getstate()

    def fail() -> None:
        random.seed(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), undisturbed():
        fail()

    assert random.getstate() == state


def test_no_gradient_is_recorded() -> None:
    """A loop may save inside of its tape."""
    variable = tf.Variable(2.0)

    with tf.GradientTape() as tape:
        with undisturbed():
            unrecorded = variable * 3
        result = variable * 5 + unrecorded

    assert float(tape.gradient(result, variable)) == 5.0


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Show each warning once for each place that gives it, as Python does by default; give what was shown."""
    texts: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        monkeypatch.setattr(warnings, "showwarning", lambda message, *_args, **_kwargs: texts.append(str(message)))
        yield texts


def warn_of(text: str) -> None:
    """Warn, always at this place."""
    warnings.warn(text, stacklevel=1)


def test_a_warning_is_shown_once_whatever_is_warned_of_inside(shown: list[str]) -> None:
    """Not a second time inside, nor after it; and one that came up inside first is shown when it comes up again."""
    warn_of("early")

    with undisturbed():
        warn_of("early")
        warn_of("late")
    warn_of("early")
    warn_of("late")

    assert shown == ["early", "late"]


@pytest.mark.parametrize("name", ["absl", "tensorflow"])
def test_what_tensorflow_logs_inside_is_dropped(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The training had it logged when it built the same layers; the user's own loggers go on."""
    with undisturbed():
        logging.getLogger(name).warning("again")
        logging.getLogger("own").warning("heard inside")
    logging.getLogger(name).warning("heard outside")

    assert [record.message for record in caplog.records if record.name in {name, "own"}] == [
        "heard inside",
        "heard outside",
    ]


def test_a_model_that_is_not_held_is_gone() -> None:
    """At once, although its parts hold each other; what the user froze or left to the collector stays so."""
    frozen = gc.get_freeze_count()

    with undisturbed():
        model = tfk.Sequential([tfk.Input((2,)), tfk.layers.Dense(2)])
        model.compile("adam", "mse")
        seen = weakref.ref(model)
        del model

    assert seen() is None
    assert gc.get_freeze_count() == frozen


def test_what_the_user_froze_stays_frozen() -> None:
    """A program that freezes its objects has reasons."""
    gc.freeze()
    frozen = gc.get_freeze_count()
    try:
        with undisturbed():
            pass

        assert gc.get_freeze_count() > 0.9 * frozen  # A few are let go of in the meantime.
    finally:
        gc.unfreeze()
