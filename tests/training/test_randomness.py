from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.training.randomness import (
    begin_anew,
    find_trace_counters,
    global_seed,
    leave_old_noise,
    put_back_random_state,
    put_back_trace_counters,
    random_state,
    seed_order,
    trace_counter_values,
)


def noisy_model() -> tfk.Sequential:
    """Make a model whose training draws."""
    model = tfk.Sequential([tfk.Input((1,)), tfk.layers.GaussianNoise(1.0, seed=7), tfk.layers.Dense(1)])
    model.compile(tfk.optimizers.Nadam(0.1), "mse")
    return model


def draws() -> list[Any]:
    """Draw from each generator that a process has."""
    return [
        random.random(),  # noqa: S311 - no secret
        np.random.rand(),  # noqa: NPY002 - the generator in question
        float(tf.random.get_global_generator().normal(())),
        tfk.initializers.GlorotUniform()((2,)).numpy().tolist(),
    ]


def test_every_generator_of_a_process_goes_on_where_it_was() -> None:
    """Python's, numpy's, TensorFlow's and the one tf_keras's initializers draw their seeds from."""
    tfk.utils.set_random_seed(1)
    tf.random.set_global_generator(tf.random.Generator.from_seed(1))
    draws()
    random.gauss(0, 1)
    state = random_state()
    expected = draws()

    put_back_random_state(state)

    assert draws() == expected


def test_a_process_without_a_seed_has_a_state_all_the_same() -> None:
    """What is not there is None, and none of it is made by looking."""
    tfk.utils.set_random_seed(1)
    state = random_state()

    assert state["seed"] == 1
    assert global_seed() == 1
    put_back_random_state({**state, "keras": None, "tensorflow": None})


def half_a_pair() -> None:
    """Draw a normal deviate, of which numpy makes two: the other is kept."""
    np.random.normal()  # noqa: NPY002 - the generator in question


@pytest.mark.parametrize(
    "use",
    [
        lambda: None,
        lambda: np.random.rand(),  # noqa: NPY002, PLW0108 - the generator in question, looked up when it is called
        lambda: np.random.seed(3),  # noqa: NPY002 - the generator in question
        lambda: np.random.rand(2000),  # noqa: NPY002 - the generator in question
        half_a_pair,
        lambda: np.random.set_bit_generator(np.random.MT19937(3)),
        lambda: np.random.set_bit_generator(np.random.PCG64(3)),
    ],
    ids=["nothing", "a number", "a seed", "many numbers", "half a pair", "another", "another kind"],
)
@pytest.mark.parametrize("is_a_deviate_kept", [False, True], ids=["none is kept", "one is kept"])
def test_the_state_of_numpy_is_the_one_it_has_now(use: Callable[[], object], *, is_a_deviate_kept: bool) -> None:
    """Though it is only taken anew where something was drawn since the last time."""
    kept = np.random.get_bit_generator()

    def now() -> str:
        is_usual = isinstance(np.random.get_bit_generator(), np.random.MT19937)
        return repr(np.random.get_state(legacy=is_usual))  # noqa: NPY002 - the generator in question

    np.random.seed(1)  # noqa: NPY002 - the generator in question
    if is_a_deviate_kept:
        half_a_pair()
    try:
        for _ in range(2):
            state = random_state()["numpy"]
            assert repr(state) == now()
            use()

        state = random_state()["numpy"]
        assert repr(state) == now()
    finally:
        np.random.set_bit_generator(kept)


def test_a_deviate_that_is_kept_is_noticed_where_all_else_is_the_same() -> None:
    """Of who seeds anew before each save, as many numbers are drawn for three normal deviates as for four."""
    states = []
    for count in (4, 3, 4):
        np.random.seed(1)  # noqa: NPY002 - the generator in question
        np.random.normal(size=count)  # noqa: NPY002 - the generator in question
        states.append(random_state()["numpy"])
        assert repr(states[-1]) == repr(np.random.get_state())  # noqa: NPY002 - the generator in question

    assert np.array_equal(states[0][1], states[1][1])
    assert states[0][2:] != states[1][2:]


def test_the_same_seed_and_step_begin_the_same_numbers() -> None:
    """And other ones for another step, or another seed."""
    model = noisy_model()

    def begun(seed: int, step: int) -> tuple[float, float, float]:
        begin_anew(model, seed=seed, step=step)
        return random.random(), float(np.random.rand()), float(tf.random.normal(()))  # noqa: NPY002, S311 - as above

    assert begun(1, 6) == begun(1, 6)
    for others in zip(begun(1, 6), begun(1, 12), begun(2, 6), strict=True):
        assert len(set(others)) == 3


def test_new_numbers_begin_within_a_compiled_step_too() -> None:
    """Seeds are fixed as a step is traced: the functions of the model are traced anew."""
    model = noisy_model()
    model.fit(np.ones((2, 1)), np.ones((2, 1)), validation_data=(np.ones((2, 1)), np.ones((2, 1))), verbose=0)
    before = model.train_function

    begin_anew(model, seed=1, step=1)

    assert model.train_function is not before
    assert model.test_function is None


def test_other_noise_is_drawn_than_before_the_step_that_is_resumed() -> None:
    """With the same seed, which would draw the first noise once more."""
    tfk.utils.set_random_seed(1)
    first = float(tf.random.normal(()))
    tfk.utils.set_random_seed(1)

    leave_old_noise(noisy_model(), seed=global_seed(), step=6)

    assert float(tf.random.normal(())) != first


def test_without_a_seed_none_is_set() -> None:
    """Nothing is drawn twice then."""
    tfk.utils.set_random_seed(5)

    leave_old_noise(noisy_model(), seed=None, step=6)

    assert global_seed() == 5


def test_what_is_counted_at_each_trace_is_found_and_put_back() -> None:
    """A seeded layer takes another seed for each trace, and Nadam counts its product there."""
    model = noisy_model()
    model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0)
    counters = find_trace_counters(model)
    values = trace_counter_values(counters)

    model.make_train_function(force=True)
    model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0)
    later = trace_counter_values(counters)
    put_back_trace_counters(model, values)

    assert values.keys() == {"layer-0/_random_generator/_seed", "optimizer/_u_product_counter"}
    assert all(later[path] != values[path] for path in values)
    assert trace_counter_values(counters) == values


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_an_order_has_its_own_seed(seed: int) -> None:
    """For both generators that a `Sequence` shuffles with."""
    seed_order(seed)
    expected = random.random(), np.random.rand()  # noqa: NPY002, S311 - as above

    seed_order(seed)

    assert (random.random(), np.random.rand()) == expected  # noqa: NPY002, S311 - as above
