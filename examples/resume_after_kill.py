"""Kill a training with SIGKILL, start it again, and end in the very bits of one that was never stopped.

    python examples/resume_after_kill.py

A Bayesian network learns scikit-learn's bundled diabetes study: ten measurements of 442 patients, and the progress of
the disease one year later. Its weights are drawn anew for every batch, a part of its units drops out at random, and the
patients come in another order in every epoch. One process trains it from begin to end. Another trains the same network,
is killed in the midst of it, and is started again, twice. What both end in is compared to the bit: the weights, the
state of the optimizer, the losses of every epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

EPOCHS = 20
KILLS = 2
SAVE_EVERY_BATCHES = 90  # With 14 batches an epoch, a save comes in the midst of one.
PARTS = ("weights", "optimizer", "history")


def load_data() -> tuple[np.ndarray, np.ndarray]:
    """Load the measurements `(patients, 10)` and the progress `(patients, 1)`, both standardised, float32."""
    import sklearn.datasets  # noqa: PLC0415 (the process that only starts others need not wait for it)

    features, progress = sklearn.datasets.load_diabetes(return_X_y=True, scaled=False)
    x, y = features, progress[:, None]
    return ((x - x.mean(axis=0)) / x.std(axis=0)).astype("float32"), ((y - y.mean()) / y.std()).astype("float32")


def train(run: pathlib.Path) -> None:
    """Train the network, or go on with its training: this is all there is to a script that can be killed."""
    import tensorflow_probability as tfp  # noqa: PLC0415 (as above: importing it takes seconds)
    import tf_keras as tfk  # noqa: PLC0415 (as above)

    from keras_probckpt import ProbCheckpoint  # noqa: PLC0415 (as above)

    tfk.utils.set_random_seed(1)
    x, y = load_data()
    patients = len(x)

    def divergence(posterior: Any, prior: Any, _: Any) -> Any:
        return tfp.distributions.kl_divergence(posterior, prior) / patients

    model = tfk.Sequential(
        [
            tfp.layers.DenseFlipout(16, activation="relu", kernel_divergence_fn=divergence, input_shape=(10,)),
            tfk.layers.Dropout(0.1),
            tfk.layers.Dense(tfp.layers.IndependentNormal.params_size(1)),
            tfp.layers.IndependentNormal(1),
        ]
    )
    model.compile(tfk.optimizers.Adam(0.01), loss=lambda y, prediction: -prediction.log_prob(y))
    checkpoint = ProbCheckpoint(run, save_freq=SAVE_EVERY_BATCHES, monitor="loss", resume=True, reproducible=True)
    news = tfk.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: print("epoch", epoch + 1, flush=True))
    history = model.fit(x, y, epochs=EPOCHS, verbose=0, callbacks=[checkpoint, news])
    values = {"weights": model.variables, "optimizer": model.optimizer.variables, "history": history.history.values()}
    print(json.dumps({part: digest_of(values[part]) for part in PARTS}))


def digest_of(arrays: Iterable[Any]) -> str:
    """Compute SHA-256 over every bit of some arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.asarray(array).tobytes())
    return digest.hexdigest()


def start(run: pathlib.Path) -> subprocess.Popen[str]:
    """Start a new process that trains, or goes on training, what is in a run directory."""
    # Without the start-up messages of TensorFlow and the warnings of its layers, what matters is seen.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, __file__, "--train", str(run)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603 (it runs itself)


def follow(process: subprocess.Popen[str], *, last_epoch: int | None = None) -> str:
    """Read what a training says, and kill it after an epoch if one is given.

    Returns:
        The last line that it said.

    Raises:
        RuntimeError: If it came to an end that was not asked for.
    """
    line = ""
    for line in process.stdout or ():
        if line.strip() == f"epoch {last_epoch}":
            process.send_signal(signal.SIGKILL)
            break
    if process.wait() != (0 if last_epoch is None else -signal.SIGKILL):
        raise RuntimeError(f"the training in process {process.pid} ended with exit code {process.returncode}")
    return line


def train_with_kills(run: pathlib.Path, epochs: Iterable[int]) -> dict[str, str]:
    """Train, killed after each of some epochs and started again; return the digests of what it ends in."""
    for epoch in epochs:
        process = start(run)
        print(f"process {process.pid} trains", flush=True)
        follow(process, last_epoch=epoch)
        print(f"process {process.pid} was killed with SIGKILL after epoch {epoch} of {EPOCHS}", flush=True)
    process = start(run)
    print(f"process {process.pid} trains to the end", flush=True)
    return dict(json.loads(follow(process)))


def compare(whole: dict[str, str], killed: dict[str, str]) -> bool:
    """Print the digests of both trainings side by side, and say whether they are the same."""
    print(f"\nSHA-256 of what is trained:\n{'':10} {'never stopped':33} killed {KILLS} times and resumed")
    for part in PARTS:
        verdict = "the same" if whole[part] == killed[part] else "DIFFERENT"
        print(f"{part:10} {whole[part][:32]:33} {killed[part][:32]:33} {verdict}")
    return whole == killed


def main() -> int:
    """Read the command line and do what it asks; return the exit code."""
    parser = argparse.ArgumentParser(description="Kill a training on the diabetes data, and resume it.")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("resume_runs"), help="where to save")
    parser.add_argument("--seed", type=int, default=None, help="decides when to kill; another each time")
    parser.add_argument("--train", type=pathlib.Path, help="only train, in this run directory")
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train)
        return 0
    seed = random.randrange(1000) if arguments.seed is None else arguments.seed  # noqa: S311 (not a secret)
    # Each start is a training of its own: in a directory that holds a run, this one would go on with that.
    runs = arguments.runs / time.strftime("%Y%m%d-%H%M%S")
    epochs = sorted(random.Random(seed).sample(range(7, EPOCHS), KILLS))  # noqa: S311 (not a secret)
    print(f"Two trainings in {runs}; one is killed after epochs {epochs} (--seed {seed}).", flush=True)
    never_stopped = start(runs / "never-stopped")
    try:
        killed = train_with_kills(runs / "killed", epochs)
        whole = dict(json.loads(follow(never_stopped)))
    finally:
        never_stopped.kill()
    return 0 if compare(whole, killed) else 1


if __name__ == "__main__":
    sys.exit(main())
