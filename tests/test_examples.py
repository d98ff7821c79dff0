from __future__ import annotations

import pathlib
import re

from tests.conftest import CHECKOUT, FreshPython

EXAMPLE = CHECKOUT / "examples" / "diabetes_regression.py"
KILLED = CHECKOUT / "examples" / "resume_after_kill.py"
SCORES = re.compile(r"^(sequential|subclass|builder) +(-?\d\.\d+) +(\S+) +the same$", re.MULTILINE)


def test_the_diabetes_example_restores_the_same_scores_in_a_new_process(
    fresh_python: FreshPython, tmp_path: pathlib.Path
) -> None:
    """The main job on real data: three ways of writing a model, each restored elsewhere to the last digit."""
    picture = tmp_path / "diabetes_regression.png"

    printed = fresh_python(str(EXAMPLE)).stdout

    assert [way for way, _, _ in SCORES.findall(printed)] == ["sequential", "subclass", "builder"]
    assert all(here == there for _, here, there in SCORES.findall(printed))
    assert len({here for _, here, _ in SCORES.findall(printed)}) == 3
    assert re.search(r"^restore_best\(path\) +a distribution$", printed, re.MULTILINE)
    assert re.search(r"^SavedModel, load_model\(path\) +EagerTensor without log_prob$", printed, re.MULTILINE)
    assert re.search(r"^\.h5, load_model\(path\) +not saved, NotImplementedError: ", printed, re.MULTILINE)
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_diabetes_example_fails_where_the_scores_differ(fresh_python: FreshPython) -> None:
    """Its exit code is a claim: a score that is off by one digit makes it 1."""
    program = (
        f"import sys; sys.path.insert(0, {str(EXAMPLE.parent)!r})\n"
        "from diabetes_regression import compare\n"
        "here = {'sequential': '1.1600000000000001'}\n"
        "print(compare(here, {'scores': here}), compare(here, {'scores': {'sequential': '1.16'}}))\n"
    )

    finished = fresh_python("-c", program)

    assert finished.stdout.splitlines()[-1] == "True False"


def test_the_example_that_kills_its_training_ends_in_the_same_bits(
    fresh_python: FreshPython, tmp_path: pathlib.Path
) -> None:
    """On real data: killed twice with SIGKILL and started again, it ends as one in another process that never was."""
    printed = fresh_python(str(KILLED)).stdout

    digests = re.findall(r"^(\w+) +([0-9a-f]{32}) +([0-9a-f]{32}) +the same$", printed, re.MULTILINE)
    assert [part for part, _, _ in digests] == ["weights", "optimizer", "history"]
    assert all(whole == killed for _, whole, killed in digests)
    assert len(re.findall(r"^process \d+ was killed with SIGKILL after epoch \d+ of 20$", printed, re.MULTILINE)) == 2
    assert len(list(tmp_path.glob("resume_runs/*/killed/step-*"))) > 0


def test_the_example_that_kills_its_training_fails_where_the_bits_differ(fresh_python: FreshPython) -> None:
    """Its exit code is a claim: another digest of one part makes it 1."""
    program = (
        f"import sys; sys.path.insert(0, {str(KILLED.parent)!r})\n"
        "from resume_after_kill import compare\n"
        "whole = {'weights': 'ab', 'optimizer': 'cd', 'history': 'ef'}\n"
        "print(compare(whole, dict(whole)), compare(whole, {**whole, 'history': 'ee'}))\n"
    )

    finished = fresh_python("-c", program)

    assert finished.stdout.splitlines()[-1] == "True False"
