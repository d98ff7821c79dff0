from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from keras_probckpt.format.tensors import decode_tensors
from tests.conftest import CHECKOUT
from tests.zoo import attribute_models, script
from tests.zoo.observe import bits, described
from tests.zoo.pending import PENDING

tfd = tfp.distributions

# What of an observation says which function a model is; its variables are copied for the control.
_FUNCTION = ("trainable", "outputs", "losses", "step", "variables after a step")

# One for each core of the smallest machine the tests run on.
SHARDS = 2


class Zoo(NamedTuple):
    """What the two programs said.

    Attributes:
        place: Directory of the run directories.
        saved: What the first said of each model, by name.
        restored: What the second observed of it.
    """

    place: pathlib.Path
    saved: dict[str, Any]
    restored: dict[str, Any]


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """Train and save every model by a script; by another script, when the first is gone, restore it."""
    place = tmp_path_factory.mktemp("zoo")
    run(place, "script.py", lambda shard: [str(shard), str(SHARDS)])
    (place / "script.py").unlink()
    run(place, "later.py", lambda shard: [str(shard)])
    return Zoo(place, said(place, "saved"), said(place, "restored"))


def run(place: pathlib.Path, program: str, arguments: Any) -> None:
    """Run a copy of a program, in as many processes as there are shards."""
    shutil.copy(pathlib.Path(__file__).parent / program, place)
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "XDG_CONFIG_HOME": str(place / "config")}
    environment.pop("KERAS_PROBCKPT_KEY", None)
    started = [
        subprocess.Popen(
            [sys.executable, program, str(place), *arguments(shard)],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for shard in range(SHARDS)
    ]
    printed = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * SHARDS, "\n".join(printed)


def said(place: pathlib.Path, name: str) -> dict[str, Any]:
    """Read what the processes of one program wrote."""
    shards = [json.loads((place / f"{name}-{shard}.json").read_text()) for shard in range(SHARDS)]
    return {name: value for shard in shards for name, value in shard.items()}


@pytest.mark.parametrize("name", script.chosen_cases())
def test_a_model_comes_back_in_a_later_program(name: str, zoo: Zoo) -> None:
    """Variables, outputs, losses, and the variables after one more step are those of the saved model, to the bit."""
    expected, observed = zoo.saved[name]["observed"], zoo.restored[name]

    assert "failed" not in expected, expected["failed"]
    assert "failed" not in observed, observed["failed"]
    assert observed == {**expected, "warnings": []}
    assert expected["variables"]
    assert expected["variables after a step"] != expected["variables"]


@pytest.mark.parametrize("name", [name for name, case in script.chosen_cases().items() if case.control])
def test_a_model_that_lost_something_looks_different(name: str, zoo: Zoo) -> None:
    """The comparison can fail: a model made anew and given all variables, or one a step further, is told apart."""
    expected, control = zoo.saved[name]["observed"], zoo.saved[name]["control"]

    told = [part for part in control if part in _FUNCTION and control[part] != expected[part]]

    assert bool(told) == (name != attribute_models.NOTHING_LOST)


@pytest.mark.parametrize("name", script.chosen_cases())
def test_a_restored_model_is_saved_as_it_was_saved_first(name: str, zoo: Zoo) -> None:
    """Every variable is in the second checkpoint as in the first, those too that no model tracks; so is the recipe."""
    first, second = (next(zoo.place.glob(f"{zoo.saved[name]['directory']}{again}/step-*")) for again in ("", "-again"))

    assert content(second) == content(first)
    assert recipe_in(second) == recipe_in(first)


def content(checkpoint: pathlib.Path) -> dict[str, Any]:
    """Read the arrays of model, optimizer and recipe; the state of training is the process's.

    The outputs are recorded only where there is a rehearsal, which is not always.
    """
    files = [path for path in checkpoint.glob("*.safetensors") if path.stem != "training"]
    arrays = {path.name: decode_tensors(path.read_bytes(), where=path.name) for path in files}
    return {
        f"{file}: {name}": (array.dtype, array.shape, array.tobytes())
        for file, held in arrays.items()
        for name, array in held.items()
        if not name.startswith("probe-")
    }


def recipe_in(checkpoint: pathlib.Path) -> Any:
    """Read what the recipe says of the model, of `compile` and of the outputs.

    The script is gone: the source of a function that was pickled as a part of another's code is not known any more.
    """
    recipe = json.loads((checkpoint / "recipe.json").read_text())
    for function in recipe["description"]["functions"]:
        del function["source"]
    return {key: recipe[key] for key in ("model", "compile", "output", "recipe_variables", "description")}


def test_every_class_of_tfp_layers_has_a_model(zoo: Zoo) -> None:
    """A class that a later release of TFP adds fails this until the zoo has it."""
    recipes = [json.loads(path.read_text()) for path in zoo.place.glob("*/step-*/recipe.json")]
    classes = {name for name in dir(tfp.layers) if isinstance(getattr(tfp.layers, name), type)}

    named = {name for recipe in recipes for name in known_names(recipe)}

    assert {f"tfp.layers.{name}" for name in classes} - named == set()
    assert "tfp.layers.weight_norm.WeightNorm" in named
    assert len(classes) >= 27


def known_names(node: Any) -> Iterator[str]:
    """Find what a recipe names of the closed tables."""
    if isinstance(node, Mapping):
        if node.get("$") == "known":
            yield node["name"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from known_names(item)


def test_no_case_hides_another() -> None:
    """The modules' cases have different names, and there are enough of them."""
    cases = script.all_cases()

    assert len(cases) == sum(map(len, script.collections_of_cases()))
    assert len(cases) >= 60


def test_what_is_pending_is_a_case() -> None:
    """A name that is mistyped would leave its model in, and one that is gone would stay listed."""
    names = [name for name, _ in PENDING]

    assert set(names) - set(script.all_cases()) == set()
    assert len(set(names)) == len(names)
    assert all(reason for _, reason in PENDING)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(np.float32([0.1, 0.20000002]), id="one bit"),
        pytest.param(np.float64([0.1, 0.2]), id="the dtype"),
        pytest.param(np.float32([[0.1, 0.2]]), id="the shape"),
    ],
)
def test_the_bits_tell_arrays_apart(other: Any) -> None:
    """The comparison of variables could fail."""
    assert bits(other) != bits(np.float32([0.1, 0.2]))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(tfd.Laplace([0.0, 1.0], 2.0), id="the class"),
        pytest.param(tfd.Normal([0.0, 1.0], 2.0000002), id="a parameter"),
        pytest.param(tfd.Independent(tfd.Normal([0.0, 1.0], 2.0), 1), id="a wrapper"),
        pytest.param(tf.constant([0.0, 1.0]), id="a tensor"),
        pytest.param([tfd.Normal([0.0, 1.0], 2.0)], id="a list"),
    ],
)
def test_the_description_tells_outputs_apart(other: Any) -> None:
    """The comparison of outputs could fail."""
    assert described(other) != described(tfd.Normal([0.0, 1.0], 2.0))
    assert described(tfd.Normal([0.0, 1.0], 2.0)) == described(tfd.Normal([0.0, 1.0], 2.0))
