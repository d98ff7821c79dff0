from __future__ import annotations

import doctest
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

import keras_probckpt
from keras_probckpt import ProbCheckpoint
from keras_probckpt.records import Manifest
from keras_probckpt.storage.run import RunWriter
from tests.integration.tiny import X, Y, fit_scored, new_model

PUBLIC = sorted({*keras_probckpt.__all__} - {"__version__", "errors"})


def a_trained_run() -> None:
    """Train into `runs/exp1`, as the examples of restoring say."""
    fit_scored(new_model(), [0.5, 0.25], ProbCheckpoint("runs/exp1"))


def the_run_of_the_examples() -> None:
    """Commit the one checkpoint whose fields the examples of listing print."""
    writer = RunWriter(pathlib.Path("runs/exp1").absolute())
    writer.run = "5eed1234"
    recipe = {
        "model": {"$": "object", "class": {"$": "import", "module": "mypkg.models", "name": "Regressor"}},
        "variables": [{"path": "hidden/kernel", "shape": [10, 8], "dtype": "float32"}],
        "optimizer_variables": [],
    }
    writer.open()
    manifest = Manifest(
        run=writer.run,
        run_number=1,
        step=1200,
        epoch=12,
        batch=None,
        logs={"val_loss": 0.25},
        objective=None,
        is_weights_only=False,
        created_at="2026-11-23T12:00:00+00:00",
        versions={},
        custom_metadata={},
        files={},
    )
    writer.commit("step-0000001200", manifest=manifest, files={"recipe.json": [json.dumps(recipe).encode()]})
    writer.close()


PREPARATIONS: dict[str, Callable[[], None]] = {
    "inspect_checkpoint": the_run_of_the_examples,
    "list_checkpoints": the_run_of_the_examples,
    "restore_best": a_trained_run,
    "restore_checkpoint": a_trained_run,
    "restore_latest": a_trained_run,
    "verify_checkpoint": the_run_of_the_examples,
}


def failures(text: str, *, name: str, namespace: dict[str, Any]) -> tuple[int, str]:
    """Run the examples of a text.

    Returns:
        How many there were, and what failed, for people; empty if nothing did.
    """
    example = doctest.DocTestParser().get_doctest(text, dict(namespace), name, None, 0)
    lines: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=lines.append)
    return len(example.examples), "".join(lines)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_a_public_name_runs(name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who copies it out of `help()` sees what it shows."""
    monkeypatch.chdir(tmp_path)
    PREPARATIONS.get(name, lambda: None)()
    namespace = {"model": new_model(), "x": X, "y": Y, **{public: getattr(keras_probckpt, public) for public in PUBLIC}}

    count, failed = failures(getattr(keras_probckpt, name).__doc__, name=name, namespace=namespace)

    assert failed == ""
    assert count >= 1


@pytest.mark.parametrize("text", [">>> 1 + 1\n3\n", ">>> missing\n", ">>> print('a  b')\na c\n"])
def test_an_example_that_shows_something_else_fails(text: str) -> None:
    """The test above could fail."""
    count, failed = failures(text, name="text", namespace={})

    assert count == 1
    assert "Failed example" in failed
