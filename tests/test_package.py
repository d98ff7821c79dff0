from __future__ import annotations

import ast
import inspect
import pathlib
import re

import pytest

import keras_probckpt
from tests.conftest import CHECKOUT, FreshPython

HEAVY = ("keras", "matplotlib", "numpy", "scipy", "tensorflow", "tensorflow_probability", "tf_keras")
PRINT_HEAVY = f"import sys; print([name for name in {HEAVY!r} if name in sys.modules])"


def pins(name: str) -> dict[str, str]:
    """Read a constraints file: release by distribution name, names in one spelling."""
    lines = (CHECKOUT / ".ci" / f"constraints-{name}.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {distribution.lower().replace("_", "-"): release for distribution, release in pairs}


def lower_bounds() -> dict[str, str]:
    """Read every `"name>=release"` of pyproject.toml, but for the tools that benchmarks and fuzzing bring in."""
    text = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    project = text[text.index("dependencies = [") : text.index("[tool.hatch.version]")]
    project = re.sub(r"^(benchmarks|fuzz) = \[.*?^\]", "", project, flags=re.MULTILINE | re.DOTALL)
    bounds = re.findall(r'^    "([\w-]+)>=([\d.]+)"', project, flags=re.MULTILINE)
    return {distribution.lower().replace("_", "-"): release for distribution, release in bounds}


def test_importing_the_package_loads_nothing_heavy(fresh_python: FreshPython) -> None:
    """`import keras_probckpt` costs a script nothing: TensorFlow and numpy wait for the first name that needs them."""
    program = f"import keras_probckpt; {PRINT_HEAVY}"

    finished = fresh_python("-c", program)

    assert finished.stdout == "[]\n"


def test_listing_checkpoints_loads_nothing_heavy(fresh_python: FreshPython, tmp_path: pathlib.Path) -> None:
    """A run directory is listed without TensorFlow, so a cron job or a shell prompt may do it."""
    (tmp_path / "run").mkdir()
    program = (
        "import keras_probckpt\n"
        "try:\n"
        "    print(keras_probckpt.list_checkpoints('run'))\n"
        "except keras_probckpt.errors.CheckpointNotFoundError:\n"
        "    print('()')\n"
        f"{PRINT_HEAVY}"
    )

    finished = fresh_python("-c", program)

    assert finished.stdout == "()\n[]\n"


def test_every_public_name_can_be_had() -> None:
    """What `__all__` promises is there, and what `DESIGN` calls public is in it."""
    promised = set(keras_probckpt.__all__)

    found = {name for name in promised if hasattr(keras_probckpt, name)}

    assert found == {
        "CheckpointManager",
        "ProbCheckpoint",
        "ProbModelMixin",
        "__version__",
        "builder",
        "errors",
        "inspect_checkpoint",
        "list_checkpoints",
        "restore_best",
        "restore_checkpoint",
        "restore_latest",
        "verify_checkpoint",
    }
    assert found == promised


def test_dir_shows_names_that_were_not_used_yet(fresh_python: FreshPython) -> None:
    """Completion in a shell offers every public name although none is imported."""
    program = "import keras_probckpt as k; print(set(k.__all__) <= set(dir(k)), 'ProbCheckpoint' in vars(k))"

    finished = fresh_python("-c", program)

    assert finished.stdout == "True False\n"


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    """A typo gives what a plain module gives."""
    with pytest.raises(AttributeError, match="module 'keras_probckpt' has no attribute 'restore_bset'"):
        keras_probckpt.restore_bset  # noqa: B018


@pytest.mark.parametrize("name", sorted({*keras_probckpt.__all__} - {"__version__", "errors"}))
def test_every_public_name_is_documented_with_an_example(name: str) -> None:
    """Whoever asks `help()` for a public name sees what it does and how it is called."""
    documentation = inspect.getdoc(getattr(keras_probckpt, name))

    assert documentation is not None
    assert "Example:" in documentation
    assert ">>> " in documentation or "```" in documentation


def test_the_oldest_set_that_is_tested_is_the_lower_bound() -> None:
    """No lower bound of pyproject.toml is a guess: the tests run with just that release."""
    oldest = pins("oldest")

    untested = [name for name, bound in lower_bounds().items() if not f"{oldest[name]}.".startswith(f"{bound}.")]

    assert untested == []
    assert len(lower_bounds()) == 14


def test_constraints_name_releases_only() -> None:
    """A constraints file holds exact releases and no address of an index or a file."""
    sets = {name: pins(name) for name in ("newest", "oldest")}

    assert all(re.fullmatch(r"[\d.]+", release) for releases in sets.values() for release in releases.values())


def test_the_changelog_says_which_formats_are_read_and_written() -> None:
    """The newest entry is of this version, and the standing line on formats is there."""
    changelog = (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")

    headings = re.findall(r"^## \[(.+?)\]", changelog, flags=re.MULTILINE)

    assert keras_probckpt.__version__ in headings[:2]
    assert "Reads formats: 1. Writes: 1." in changelog


def test_the_architecture_says_what_every_module_is() -> None:
    """A row for each: its path, and the first sentence of its docstring. No row is left of one that is gone."""
    text = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = CHECKOUT / "keras_probckpt"
    modules = [path for path in sorted(package.rglob("*.py")) if path.name != "__init__.py"]

    rows = re.findall(r"^\| `([\w/]+)` \| (.*) \|$", text[text.index("## Every module") :], flags=re.MULTILINE)

    assert sorted(rows) == sorted(
        (
            path.relative_to(package).with_suffix("").as_posix(),
            str(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))).partition("\n")[0],
        )
        for path in modules
    )
