from __future__ import annotations

import json
import pathlib

import pytest

from tests.integration.processes import outputs, start

PROGRAM = """
import sys, json
import numpy as np, tensorflow as tf, tensorflow_probability as tfp, tf_keras as tfk
import keras_probckpt as kp

settings, mode = sys.argv[1], sys.argv[2]
if settings == "options":
    tf.config.optimizer.set_experimental_options({"remapping": False, "constant_folding": False})
if mode == "save":
    tfk.utils.set_random_seed(1)
    tf.config.experimental.enable_op_determinism() if settings == "call" else None
    layers = [tfp.layers.DenseFlipout(4), tfk.layers.Dense(2), tfp.layers.IndependentNormal(1)]
    model = tfk.Sequential([tfk.Input((3,)), *layers])
    model.compile("sgd", lambda y, d: -d.log_prob(y))
    x = np.ones((4, 3), "float32")
    model.fit(x, x[:, :1], verbose=0, callbacks=[kp.ProbCheckpoint("run", "loss", rehearse=True)])
    print(json.dumps([w.tolist() for w in model.get_weights()]))
else:
    tf.config.experimental.enable_op_determinism() if settings == "call" else None
    model = kp.restore_latest("run")
    print(json.dumps([w.tolist() for w in model.get_weights()]))
    try:
        tf.random.normal([])
    except RuntimeError as error:
        assert "seed" in str(error)
    else:
        assert settings == "options"
"""


@pytest.mark.parametrize(
    ("settings", "environment"),
    [("env", {"TF_DETERMINISTIC_OPS": "1"}), ("call", {}), ("options", {})],
)
def test_a_checkpoint_is_not_broken_because_of_the_settings_of_the_process(
    settings: str, environment: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """A deterministic TensorFlow draws nothing without a seed: neither the rehearsal nor a restore has one."""
    (tmp_path / "program.py").write_text(PROGRAM)

    (saved,) = outputs({"save": start(tmp_path, "program.py", settings, "save", **environment)}).values()
    (restored,) = outputs({"restore": start(tmp_path, "program.py", settings, "restore", **environment)}).values()

    assert json.loads(restored) == json.loads(saved)
