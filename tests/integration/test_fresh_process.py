from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.processes import outputs, start

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
