from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.training.checked_state import check_training

WORDS = np.zeros(624, np.uint32)
PYTHON = (3, np.zeros(625, np.uint32), None)
TRAINING: dict[str, Any] = {
    "step": 3,
    "epoch": 1,
    "batch": None,
    "state": {"anything": [1]},
    "is_exact": False,
    "frozen": ["layer-0"],
    "source": {"run": "deadbeef"},
    "trace_counters": {"layer-0/_random_generator/_seed": 7},
    "random": {
        "seed": 1,
        "python": PYTHON,
        "numpy": ("MT19937", WORDS, 624, 0, 0.0),
        "keras": None,
        "tensorflow": (1, np.zeros(3, np.int64)),
    },
    "fit": {
        "number": 2,
        "models": [0, 0],
        "histories": [{"history": {}}],
        "settings": {"samples": 8, "batch_size": 2, "optimizer.name": "SGD"},
        "counter": 4,
        "seed": None,
        "metrics": {"0-loss/0": np.float32(1.0)},
        "callbacks": {"History": {}},
        "data": {
            "epochs": 1,
            "batches": 2,
            "is_ordered_by_seed": True,
            "steps": 4,
            "is_exact": False,
            "order_seeds": [None],
            "python": PYTHON,
        },
    },
}


def test_what_a_training_writes_is_what_is_asked_for() -> None:
    """Or every resume would be refused. Tests of resumes show that this example is like the real ones."""
    check_training(TRAINING)
    check_training({})
    check_training({"fit": {}, "step": 1})


PLACES = [
    (("step",), -1),
    (("step",), True),
    (("epoch",), 2**63),
    (("batch",), "1"),
    (("state",), [1]),
    (("is_exact",), 1),
    (("frozen",), "layer-0"),
    (("frozen",), [1]),
    (("source",), "deadbeef"),
    (("source", "run"), 3),
    (("trace_counters",), []),
    (("trace_counters", "layer-0/_random_generator/_seed"), 2**63),
    (("random",), []),
    (("random", "python"), None),
    (("random", "python"), (2, *PYTHON[1:])),
    (("random", "python"), (3, np.zeros(624, np.uint32), None)),
    (("random", "python"), (3, np.full(625, 625, np.uint32), None)),
    (("random", "python"), (3, np.zeros(625, np.int64), None)),
    (("random", "numpy"), None),
    (("random", "numpy"), ("MT19937", WORDS, 625, 0, 0.0)),
    (("random", "numpy"), ("MT19937", WORDS, 10**9, 0, 0.0)),
    (("random", "numpy"), ("MT19937", WORDS, -1, 0, 0.0)),
    (("random", "numpy"), ("MT19937", WORDS, 1.0, 0, 0.0)),
    (("random", "numpy"), ("MT19937", WORDS[1:], 624, 0, 0.0)),
    (("random", "numpy"), ("MT19937", WORDS, 624, 2, 0.0)),
    (("random", "numpy"), ("PCG64", WORDS, 624, 0, 0.0)),
    (("random", "numpy"), {"bit_generator": "MT19937", "state": {"key": WORDS, "pos": 625}}),
    (("random", "numpy"), {"bit_generator": "Philox", "buffer_pos": 10**9}),
    (("random", "keras"), 3),
    (("random", "tensorflow"), (3, np.zeros(3, np.int64))),
    (("random", "tensorflow"), (1, np.zeros(2, np.int64))),
    (("random", "tensorflow"), (1, np.zeros(3, np.float32))),
    (("fit",), [1]),
    (("fit", "number"), 0),
    (("fit", "number"), None),
    (("fit", "models"), [0]),
    (("fit", "histories"), []),
    (("fit", "histories"), [3]),
    (("fit", "settings"), None),
    (("fit", "settings", "samples"), 0),
    (("fit", "settings", "samples"), "8"),
    (("fit", "settings", "batch_size"), [2]),
    (("fit", "counter"), 1.5),
    (("fit", "seed"), "1"),
    (("fit", "metrics"), [1]),
    (("fit", "metrics", "0-loss/0"), "x"),
    (("fit", "callbacks"), None),
    (("fit", "data"), 3),
    (("fit", "data", "epochs"), 0),
    (("fit", "data", "batches"), -1),
    (("fit", "data", "is_ordered_by_seed"), None),
    (("fit", "data", "steps"), 1.5),
    (("fit", "data", "order_seeds"), [2**32]),
    (("fit", "data", "order_seeds"), [None, None]),
    (("fit", "data", "python"), ()),
]


@pytest.mark.parametrize(
    ("place", "value"), PLACES, ids=[f"{'.'.join(place)} {number}" for number, (place, _) in enumerate(PLACES)]
)
def test_another_value_in_any_place_is_refused_by_its_place(place: tuple[str, ...], value: Any) -> None:
    """No error of Python's comes of it later, and nothing goes to native code that would believe it."""
    changed: Any = copy.deepcopy(TRAINING)
    holder = changed
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value

    with pytest.raises(MalformedRecipeError) as caught:
        check_training(changed)

    assert caught.value.where.startswith(f"training[{place[0]!r}]") or place[-1] in caught.value.where


@pytest.mark.parametrize(
    "place",
    [
        ("random", "python"),
        ("random", "numpy"),
        ("random", "keras"),
        ("random", "tensorflow"),
        ("trace_counters",),
        *[("fit", name) for name in ("number", "counter", "settings", "callbacks", "metrics", "histories")],
        *[("fit", "data", name) for name in TRAINING["fit"]["data"]],
    ],
    ids=str,
)
def test_a_part_that_is_missing_is_named(place: tuple[str, ...]) -> None:
    """By the place that lacks it."""
    changed: Any = copy.deepcopy(TRAINING)
    holder = changed
    for name in place[:-1]:
        holder = holder[name]
    del holder[place[-1]]

    with pytest.raises(MalformedRecipeError, match=place[-1]):
        check_training(changed)
