from __future__ import annotations

import dataclasses
import enum
import functools
import types
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from keras_probckpt.recipe.likeness import additions_alone, differing_parts
from keras_probckpt.recipe.trust import Trust
from tests.recipe.journeys import info_of, written


def defined(text: str, name: str = "Thing", **names: Any) -> Any:
    """Define something as a script on the standard input does: its text is nowhere."""
    module = {"__name__": "__main__", "tf": tf, "tfk": tfk, "np": np, "enum": enum, "dataclasses": dataclasses}
    module |= {"functools": functools, "ProbModelMixin": ProbModelMixin, **names}
    exec(compile(text, "<stdin>", "exec"), module)  # noqa: S102 - the texts of this file
    return module[name]


CLASS = """
class Thing:
    \"\"\"Said of it.\"\"\"
    SCALE = 2.0
    TABLE = {"a": [1, 2]}
    MASK = np.ones(3)
    def __init__(self, k=1):
        super().__init__()
        self.k = k
    @property
    def twice(self): return 2 * self.k
    @staticmethod
    def half(x): return x / 2
    @functools.cached_property
    def slow(self): return self.k + OFFSET
    @tf.function
    def traced(self, x): return tf.sin(x)
    def call(self, x): return helper(x) * 3.0
def helper(x): return x + OFFSET
"""


@pytest.mark.parametrize(
    ("was", "now", "parts"),
    [
        ("Said", "Told", {}),
        ("\ndef helper", "\n\n\n\ndef helper", {}),
        ("* 3.0", "* 4.0", {"call": True}),
        ("x + OFFSET\n", "x - OFFSET\n", {"call": True}),
        ("SCALE = 2.0", "SCALE = 2.5", {"SCALE": True}),
        ("SCALE = 2.0", "SCALE = 2", {"SCALE": True}),
        ("SCALE = 2.0", "", {"SCALE": True}),
        ("[1, 2]", "[1, 3]", {"TABLE": True}),
        ("ones(3)", "zeros(3)", {"MASK": True}),
        ("k=1", "k=2", {"__init__": True}),
        ("return 2 * self", "return 3 * self", {"twice": True}),
        ("x / 2", "x / 3", {"half": True}),
        ("self.k + OFFSET", "self.k - OFFSET", {"slow": True}),
        ("tf.sin", "tf.cos", {"traced": True}),
        ("class Thing:", "class Thing(dict):", {"__bases__": True}),
    ],
)
def test_classes_are_compared_by_what_runs(was: str, now: str, parts: dict[str, bool]) -> None:
    """Layout and docstrings are nothing that runs."""
    one, other = defined(CLASS, OFFSET=1), defined(CLASS.replace(was, now), OFFSET=1)

    assert differing_parts(one, other) == parts


def test_the_same_text_that_reads_other_globals_is_another_class() -> None:
    """`OFFSET` is set in another cell of the notebook."""
    one, other = defined(CLASS, OFFSET=1), defined(CLASS, OFFSET=2)

    assert differing_parts(one, other) == {"call": True, "slow": True}


MODEL = """
class Thing(ProbModelMixin, tfk.Model):
    def __init__(self, k=1):
        super().__init__()
        self.d = tfk.layers.Dense(k)
    def call(self, x):
        return self.d(x)
    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
"""
LAYER = """
class Thing(tfk.layers.Layer):
    trainable_by_name = None
    def call(self, x):
        return x
"""
ENUM = """
class Thing(enum.Enum):
    A = 1
    B = "b"
    def twice(self):
        return self.value * 2
"""
DATACLASS = """
@dataclasses.dataclass(frozen=True)
class Thing:
    a: int = 1
    b: list = dataclasses.field(default_factory=list)
"""
SLOTS = """
class Thing:
    __slots__ = ("a", "b")
    def __init__(self):
        self.a = float("nan")
"""
FUNCTION = """
def Thing(x, *, k=2.0):
    inner = lambda y: y * k
    return Thing(x - 1) if x > 0 else inner(x)
"""


@pytest.mark.parametrize("text", [CLASS, MODEL, LAYER, ENUM, DATACLASS, SLOTS, FUNCTION])
def test_a_definition_is_like_the_one_that_was_pickled(text: str) -> None:
    """Whatever Python, Keras and cloudpickle put into it."""
    live = defined(text, OFFSET=1)
    stored = written(live)
    recorded = stored.read(Trust(info_of(), read_code=lambda: stored.code or b"", finds_live=False))

    assert recorded is not live
    assert differing_parts(live, recorded) == {}


def test_what_holds_a_layer_is_not_known_to_be_like_another() -> None:
    """Two layers of one configuration have variables of their own; nobody is told that they differ."""
    make = lambda: defined("def Thing(x): return net(x)", net=tfk.layers.Dense(1))  # noqa: E731

    assert differing_parts(make(), make()) == {"net": False}


@pytest.mark.parametrize(
    ("body", "is_addition"),
    [
        ("    def more(self): return 1", True),
        ("    def __eq__(self, other): return True", False),
        ("    keys = None", False),
    ],
)
def test_members_that_nothing_recorded_has_change_nothing_of_it(body: str, *, is_addition: bool) -> None:
    """Those that stand in the way of what it inherits do."""
    recorded = defined("class Thing(dict):\n    a = 1")
    live = defined(f"class Thing(dict):\n    a = 1\n{body}")

    assert additions_alone(live, recorded, differing_parts(live, recorded)) is is_addition


def test_a_function_and_a_class_are_not_alike() -> None:
    """One name may stand for either."""
    assert differing_parts(types.FunctionType, defined("def Thing(): return 1")) == {"kind": True}
