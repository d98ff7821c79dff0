from __future__ import annotations

import doctest
import importlib
import pathlib
import pkgutil
import re

import pytest

import keras_probckpt.format
from tests.conftest import FreshPython

SPEC = pathlib.Path(keras_probckpt.format.__file__).with_name("SPEC.md").read_text(encoding="utf-8")
MODULES = sorted(
    f"keras_probckpt.format.{found.name}" for found in pkgutil.iter_modules(keras_probckpt.format.__path__)
)


def python_blocks(text: str) -> list[str]:
    """Give the Python examples of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_the_examples_of_the_specification_run() -> None:
    """Every Python example in SPEC.md holds, in one session from top to bottom."""
    session: dict[str, object] = {}
    blocks = python_blocks(SPEC)

    for block in blocks:
        exec(block, session)  # noqa: S102 - running the page is the claim

    assert len(blocks) == 5


def test_the_specification_states_the_limits_that_the_code_has() -> None:
    """The numbers of the page are the numbers of the modules."""
    from keras_probckpt.format import manifest, strict_json, tensors

    words = set(re.findall(r"\d+", SPEC))

    assert {str(manifest.LIMIT_MANIFEST_BYTES), str(tensors.LIMIT_HEADER_BYTES), str(tensors.LIMIT_AXES)} <= words
    assert {str(strict_json.LIMIT_DEPTH), str(strict_json.LIMIT_INTEGER_DIGITS), str(tensors.ALIGNMENT_BYTES)} <= words


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings_run(module: str) -> None:
    """What a docstring shows is what the function gives."""
    results = doctest.testmod(importlib.import_module(module), raise_on_error=False)

    assert results.failed == 0


def test_nothing_of_the_format_imports_tensorflow(fresh_python: FreshPython) -> None:
    """A process that lists or verifies does not wait for TensorFlow, and need not have it."""
    program = f"import importlib, sys\nfor name in {MODULES}: importlib.import_module(name)\nprint(*sys.modules)"

    loaded = fresh_python("-c", program).stdout.split()

    assert {"keras_probckpt.format.tensors", "numpy"} <= set(loaded)
    assert {"tensorflow", "tf_keras", "tensorflow_probability", "keras", "safetensors"}.isdisjoint(loaded)
