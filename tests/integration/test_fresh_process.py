from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.integration.processes import ZOO, outputs, start
from tests.integration.zoo import digest, models, values

Said = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Said, Said]:
    """Save every model in one process and restore it in another; what each said of them."""
    directory = tmp_path_factory.mktemp("zoo")
    for command in ("save", "restore"):
        outputs({command: start(directory, "-c", ZOO, command, str(directory))})
    saved, restored = (json.loads((directory / f"{command}.json").read_text()) for command in ("save", "restore"))
    return saved, restored


@pytest.mark.parametrize("name", models())
def test_a_model_comes_back_in_a_fresh_process_to_the_last_bit(name: str, zoo: tuple[Said, Said]) -> None:
    """Variables, optimizer, mean, stddev, log_prob and one more epoch of training are those of the saving process."""
    saved, restored = zoo

    assert restored[name] == saved[name]
    assert saved[name]["count"] >= 9
    assert all(np.isfinite(float.fromhex(number)) for number in saved[name]["log_prob"])
    assert saved[name]["one more epoch"] != saved[name]["variables"]


def test_the_zoo_has_every_layer_in_every_style() -> None:
    """No line of the README's table of models is forgotten."""
    layers = ["normal", "bernoulli", "logistic", "poisson", "mixture of normals", "mixture of logistics"]

    promised = {f"{style}, {layer}" for style in ("sequential", "functional", "subclassed") for layer in layers}

    assert promised < set(models())


@pytest.mark.parametrize(
    "other",
    [
        pytest.param([tf.Variable([1.0, 2.0000002])], id="one bit"),
        pytest.param([tf.Variable([[1.0, 2.0]])], id="the shape"),
        pytest.param([tf.Variable([2.0, 1.0])], id="the order"),
        pytest.param([], id="one is missing"),
    ],
)
def test_the_digest_tells_variables_apart(other: list[tf.Variable]) -> None:
    """The comparison above could fail."""
    assert digest(other) != digest([tf.Variable([1.0, 2.0])])


def test_values_tell_numbers_apart_that_print_alike() -> None:
    """Likewise for outputs: one unit in the last place is a difference."""
    assert values(np.float32([0.1])) != values(np.float32([0.10000001]))
    assert values(np.float32([0.5])) == ["0x1.0000000000000p-1"]


SEQUENTIAL = """
import numpy as np, tensorflow_probability as tfp, tf_keras as tfk
from keras_probckpt import ProbCheckpoint

x = np.linspace(-1, 1, 20, dtype="float32")[:, None]
y = 3 * x + 1
model = tfk.Sequential([tfk.layers.Dense(8, "relu"), tfk.layers.Dense(2), tfp.layers.IndependentNormal(1)])
model.compile("adam", loss=lambda y, dist: -dist.log_prob(y))
callback = ProbCheckpoint("runs/exp1", monitor="val_loss")
"""

SUBCLASSED = """
import numpy as np, tensorflow_probability as tfp, tf_keras as tfk
from keras_probckpt import ProbCheckpoint, ProbModelMixin

class Regressor(ProbModelMixin, tfk.Model):
    def __init__(self):
        super().__init__()
        self.hidden = tfk.layers.Dense(8, "relu")
        self.params = tfk.layers.Dense(2)
        self.likelihood = tfp.layers.IndependentNormal(1)

    def call(self, x):
        return self.likelihood(self.params(self.hidden(x)))

x = np.linspace(-1, 1, 20, dtype="float32")[:, None]
y = 3 * x + 1
model = Regressor()
model.compile("adam", loss=lambda y, dist: -dist.log_prob(y))
callback = ProbCheckpoint("runs/exp1", monitor="val_loss")
"""

BUILT = """
import numpy as np, tensorflow_probability as tfp, tf_keras as tfk
from keras_probckpt import ProbCheckpoint

def build():
    model = tfk.Sequential([tfk.layers.Dense(8, "relu"), tfk.layers.Dense(2), tfp.layers.IndependentNormal(1)])
    model.compile("adam", loss=lambda y, dist: -dist.log_prob(y))
    return model

x = np.linspace(-1, 1, 20, dtype="float32")[:, None]
y = 3 * x + 1
model = build()
callback = ProbCheckpoint("runs/exp1", monitor="val_loss", save_weights_only=True)
"""

TRAIN = """
import json
said = []

def say(model):
    dist = model(x)
    numbers = [dist.mean(), dist.stddev(), dist.log_prob(y), *model.variables]
    return [[float(number).hex() for number in np.ravel(value)] for value in numbers]

look = tfk.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: said.append((logs["val_loss"], say(model))))
model.fit(x, y, validation_split=0.2, epochs=4, verbose=0, callbacks=[callback, look])
print(json.dumps(min(said, key=lambda pair: pair[0])))
"""

RESTORE = """
import json
import numpy as np
from keras_probckpt import restore_best

x = np.linspace(-1, 1, 20, dtype="float32")[:, None]
y = 3 * x + 1

def say(model):
    dist = model(x)
    numbers = [dist.mean(), dist.stddev(), dist.log_prob(y), *model.variables]
    return [[float(number).hex() for number in np.ravel(value)] for value in numbers]

def build():
    import tensorflow_probability as tfp, tf_keras as tfk
    return tfk.Sequential([tfk.layers.Dense(8, "relu"), tfk.layers.Dense(2), tfp.layers.IndependentNormal(1)])

best = {name: restore_best(f"{name}/runs/exp1") for name in ("sequential", "subclassed")}
best["built"] = restore_best("built/runs/exp1", builder=build)
print(json.dumps({name: [type(model).__name__, model._is_compiled, say(model)] for name, model in best.items()}))
"""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the three programs that people start from as scripts, then restore their best models in another script."""
    directory = tmp_path_factory.mktemp("programs")
    started = {}
    for name, program in {"sequential": SEQUENTIAL, "subclassed": SUBCLASSED, "built": BUILT}.items():
        (directory / name).mkdir()
        (directory / name / "train.py").write_text(program + TRAIN)
        started[name] = start(directory / name, "train.py", XDG_CONFIG_HOME=str(directory / "config"))
    trained = {name: json.loads(text) for name, text in outputs(started).items()}
    (directory / "later.py").write_text(RESTORE)
    later = outputs({"restore": start(directory, "later.py")})
    return trained, json.loads(later["restore"])


@pytest.mark.parametrize("name", ["sequential", "subclassed", "built"])
def test_the_programs_people_start_from_need_the_callback_and_one_call(
    name: str, programs: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """A lambda loss, a class in the script itself, a model rebuilt by a function: the best comes back to the bit."""
    trained, restored = programs
    _, expected = trained[name]

    class_name, is_compiled, said = restored[name]

    assert said == expected
    assert class_name == ("Regressor" if name == "subclassed" else "Sequential")
    assert is_compiled
