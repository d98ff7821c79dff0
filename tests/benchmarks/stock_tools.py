"""Measure which models survive `ModelCheckpoint` and `ProbCheckpoint`, and print the table of README.md.

    python -m tests.benchmarks.stock_tools                      # print it
    python -m tests.benchmarks.stock_tools --compare README.md  # and fail where that file shows another

Each model is trained for one epoch with the callback, loaded again in the same process, and asked for the same
prediction. The stock loader gets `compile=False` and `safe_mode=False`, and where that is not enough every class there
is in `custom_objects`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import logging
import os
import pathlib
import sys
import tempfile
import warnings
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from tf_keras.models import load_model

from keras_probckpt import ProbCheckpoint, restore_latest
from keras_probckpt.errors import CheckpointError
from tests.benchmarks.stock_models import Case, cases, through_builder

STOCK_FORMATS = {"SavedModel": "saved_model", ".h5": "model.h5", ".keras": "model.keras"}
HEADER = ("model", *STOCK_FORMATS, "keras-probckpt")
WORKS = "works"
DRAWS = 100
# Random layers are compared by the mean of many draws: this many standard errors apart is not chance.
STANDARD_ERRORS = 6.0
X = np.linspace(-1.0, 1.0, 24, dtype="float32").reshape(8, 3)


def targets(count: int) -> np.ndarray:
    """Make targets that every distribution of the table accepts: ones, or one-hot where there are several values."""
    y = np.zeros((len(X), count), "float32")
    y[:, 0] = 1.0
    return y


def loss(y: tf.Tensor, prediction: tfp.distributions.Distribution) -> tf.Tensor:
    """Score a prediction; a loaded or KL layer may make it a plain tensor."""
    return -prediction.log_prob(y) if hasattr(prediction, "log_prob") else tf.reduce_mean((y - prediction) ** 2)


def fit(model: tfk.Model, case: Case, callback: tfk.callbacks.Callback) -> tfk.Model:
    """Train one epoch with the callback."""
    model.compile("adam", loss=loss)
    model.fit(X, targets(case.targets), verbose=0, callbacks=[callback])
    return model


def is_distribution(output: object) -> bool:
    """Say whether a prediction can be asked for its log_prob."""
    return hasattr(output, "log_prob")


def moments(output: object) -> list[np.ndarray]:
    """Say in numbers what one prediction is: its log_prob at some points where it is a distribution."""
    if not is_distribution(output):
        return [np.asarray(output)]
    points = np.zeros(output.event_shape, "float32")
    if points.size:
        points.flat[0] = 1.0
    return [np.asarray(output.log_prob(points)), np.asarray(tf.convert_to_tensor(output).shape)]


def predicts_same(original: tfk.Model, loaded: tfk.Model) -> bool:
    """Compare two models by what they predict, exactly where it does not vary and by many draws where it does."""
    first, second = (draws(model, 2) for model in (original, loaded))
    if np.array_equal(first[0], first[1]):
        return np.array_equal(first, second)
    first, second = (draws(model, DRAWS) for model in (original, loaded))
    error = np.sqrt((first.var(axis=0) + second.var(axis=0)) / DRAWS) + 1e-6
    return bool((np.abs(first.mean(axis=0) - second.mean(axis=0)) <= STANDARD_ERRORS * error).all())


def draws(model: tfk.Model, count: int) -> np.ndarray:
    """Ask a model for the same prediction several times `(count, numbers)`."""
    return np.stack([np.concatenate([np.ravel(part) for part in moments(model(X))]) for _ in range(count)])


def verdict(original: tfk.Model, load: Callable[[], tfk.Model]) -> str:
    """Load a model and say in a few words what became of it."""
    try:
        loaded = load()
        output = loaded(X)
    except Exception as error:  # noqa: BLE001 (which error it is, is what is asked)
        return f"not loaded, {type(error).__name__}"
    if is_distribution(original(X)) and not is_distribution(output):
        return "plain Tensor"
    return WORKS if predicts_same(original, loaded) else "other outputs"


def stock(case: Case, path: pathlib.Path) -> str:
    """Take a case through `ModelCheckpoint` and `load_model`."""
    try:
        original = fit(case.build(), case, tfk.callbacks.ModelCheckpoint(str(path)))
    except Exception as error:  # noqa: BLE001 (which error it is, is what is asked)
        return f"not saved, {type(error).__name__}"
    plain, given = (
        verdict(original, functools.partial(load_model, str(path), objects, compile=False, safe_mode=False))
        for objects in (None, {**vars(tfp.layers), **case.custom_objects})
    )
    return plain if plain == WORKS or given != WORKS else "works with custom_objects="


def ours(case: Case, root: pathlib.Path) -> str:
    """Take a case through `ProbCheckpoint` and `restore_latest`, by a builder where its layers are not recorded."""
    direct, built = root / "direct", root / "builder"
    try:
        original = fit((case.build_recordable or case.build)(), case, ProbCheckpoint(direct))
    except CheckpointError:
        original = fit(through_builder(case.build), case, ProbCheckpoint(built))
        return f"{verdict(original, lambda: restore_latest(built))} through a builder"
    except Exception as error:  # noqa: BLE001 (a bug of ours belongs in the table too)
        return f"not saved, {type(error).__name__}"
    return verdict(original, lambda: restore_latest(direct))


def measure(case: Case) -> dict[str, str]:
    """Say what each tool makes of a case."""
    fit(case.build(), case, tfk.callbacks.Callback())  # a model that cannot be trained would prove nothing
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        found = {title: stock(case, root / name) for title, name in STOCK_FORMATS.items()}
        return {**found, "keras-probckpt": ours(case, root / "ours")}


def table() -> str:
    """Measure every case and format the Markdown table, one line a row."""
    rows: dict[str, list[dict[str, str]]] = {}
    for case in cases():
        with contextlib.redirect_stdout(io.StringIO()):
            rows.setdefault(case.row, []).append(measure(case))
    lines = [HEADER, ("---",) * len(HEADER)]
    for row, found in rows.items():
        cells = (" / ".join(dict.fromkeys(verdicts[title] for verdicts in found)) for title in HEADER[1:])
        lines.append((row, *cells))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Print the table; return 1 where the file to compare with does not hold it."""
    parser = argparse.ArgumentParser(description="Measure which models survive which checkpoint.")
    parser.add_argument("--compare", type=pathlib.Path, help="a file that must hold this table")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the stock savers warn of what is measured here
    logging.disable(logging.ERROR)
    text = table()
    print(text)
    if arguments.compare and text not in arguments.compare.read_text(encoding="utf-8"):
        print(f"{arguments.compare} shows another table: replace it by this one")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
