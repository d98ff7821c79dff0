"""What is measured in a process of its own, which does one thing and prints figures as JSON.

python -m tests.benchmarks.fresh restore keras-probckpt runs/exp1
python -m tests.benchmarks.fresh memory large keras-probckpt runs/exp1
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

__all__ = ["READING", "loader", "run_fresh"]

READING = "reading the same bytes"
# Set in what is started here: TensorFlow's start-up messages are no figures.
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


def run_fresh(*arguments: str) -> dict[str, float]:
    """Run this module in a new process and return the figures."""
    command = [sys.executable, "-m", "tests.benchmarks.fresh", *arguments]
    finished = subprocess.run(command, env={**os.environ, **_QUIET}, capture_output=True, text=True, check=False)
    if finished.returncode:
        *_, last_line = finished.stderr.strip().splitlines() or [f"exit code {finished.returncode}"]
        raise RuntimeError(f"{' '.join(arguments)} failed: {last_line}")
    figures: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return figures


def loader(tool: str, path: pathlib.Path) -> object:
    """Do with a path what a tool does to give back a model."""
    if tool == READING:
        return [file.read_bytes() for file in path.rglob("*") if file.is_file()]
    from tf_keras.models import load_model

    import keras_probckpt
    from tests.benchmarks.peers import OURS
    from tests.benchmarks.scales import loss

    if tool == OURS:
        return keras_probckpt.restore_best(path)
    return load_model(str(path), custom_objects={"loss": loss}, **({} if path.is_dir() else {"safe_mode": False}))


def _restore(tool: str, path: str) -> dict[str, float]:
    if tool != READING:
        _import_all()
    start = time.perf_counter()
    kept = loader(tool, pathlib.Path(path))
    seconds = time.perf_counter() - start
    assert kept
    return {"seconds": seconds}


def _import_all() -> None:
    """Import what a load will need: TFP and the package import parts of themselves when a name is first used."""
    import tensorflow_probability as tfp

    import keras_probckpt
    from tests.benchmarks import peers, scales

    assert all((tfp.layers.IndependentNormal, tfp.distributions.Normal, keras_probckpt.restore_best, peers, scales))


def _memory(name: str, tool: str, directory: str) -> dict[str, float]:
    """Train without saves and then with: the peaks of the two."""
    from tests.benchmarks.peers import callbacks
    from tests.benchmarks.scales import Trained

    subject = Trained(name)
    callback = callbacks(are_all=False)[tool](pathlib.Path(directory))
    without = _peak_bytes(lambda: subject.fit(subject.scale.epochs))
    with_saves = _peak_bytes(lambda: subject.fit(subject.scale.epochs, callback))
    return {"extra": (with_saves - without) / subject.state_bytes}


def _peak_bytes(function: Callable[[], object]) -> int:
    """Call a function and tell the most memory that the process had meanwhile.

    Source: proc(5), clear_refs and VmHWM; Linux only.
    """
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    function()
    found = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) * 1024


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps({"restore": _restore, "memory": _memory}[sys.argv[1]](*sys.argv[2:])))
