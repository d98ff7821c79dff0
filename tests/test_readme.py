from __future__ import annotations

import pathlib
import re

import pytest

from tests.conftest import CHECKOUT, FreshPython

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
PATHS = re.compile(r"`((?:tests|keras_probckpt|examples)/[\w./]+|\w+\.md)`")
CI_RUN = (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Cut the code blocks of one language out of the README."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_the_code_in_the_readme_runs_and_a_later_process_restores_its_model(
    fresh_python: FreshPython, tmp_path: pathlib.Path
) -> None:
    """A reader may paste the blocks one after the other, and restore without them the next day."""
    show_mean = "print(best(x[:3]).mean().numpy().tolist())\n"
    (tmp_path / "readme.py").write_text("\n".join([*blocks("python"), show_mean]))
    later = (
        "import numpy as np\n"
        "from keras_probckpt import restore_best\n"
        "x = np.random.default_rng(0).normal(size=(200, 3)).astype('float32')\n"
        f"best = restore_best('runs/exp1')\n{show_mean}"
    )

    *listed, mean = fresh_python("readme.py").stdout.splitlines()
    restored = fresh_python("-c", later).stdout.splitlines()

    assert restored == [mean]
    assert listed[0].startswith("step-00000000")


def test_the_users_view_fits_in_twenty_lines() -> None:
    """Who sees the first block sees the whole idea on one screen."""
    first, *_ = blocks("python")

    lines = [line for line in first.splitlines() if line]

    assert len(lines) <= 20
    assert all(len(line) <= 120 for line in lines)


def test_the_commands_in_the_readme_are_those_that_ci_runs() -> None:
    """Two commands do all the set-up; `.ci/run` takes them from here."""
    commands = "".join(blocks("bash")).splitlines()

    picked = [line for line in README.splitlines() if line.startswith("python3 -m venv")]

    assert commands == picked
    assert len(commands) == 2
    assert commands[0].endswith(".venv/bin/python examples/diabetes_regression.py")
    assert commands[1].endswith(".venv/bin/python -m pytest -n 2 --dist loadfile")
    assert "grep '^python3 -m venv' README.md" in CI_RUN


@pytest.mark.parametrize("module", re.findall(r"`python -m (tests\.\S+)`", README))
def test_every_benchmark_in_the_readme_is_run_by_ci(module: str) -> None:
    """No figure stands in the README that nothing measures."""
    assert f".venv/bin/python -m {module}" in CI_RUN


@pytest.mark.parametrize("path", sorted({*PATHS.findall(README)}))
def test_every_path_in_the_readme_exists(path: str) -> None:
    """A reader who follows a path finds what was promised."""
    assert (CHECKOUT / path).exists()
