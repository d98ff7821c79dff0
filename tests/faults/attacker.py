"""A program that attacks: it draws well-formed hostile recipes from the grammar of SPEC.md, and restores each of them.

    python -m tests.faults.attacker <directory> <seconds> <seed>

Callees, members, references, sizes and sharing are drawn at random; every callee and every text is one that would do
harm if it were called, opened or unpickled. An audit hook writes down what Python does meanwhile; memory and time are
limited for each. It prints one line of JSON: how many were tried, how many came back as a model, and what happened.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import pickle
import random
import resource
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

_STARTS = frozenset({"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect"})
_STARTS |= frozenset({"pickle.find_class", "socket.bind", "ctypes.dlopen", "marshal.loads"})
_CHANGES = frozenset({"os.remove", "os.rename", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.truncate", "os.symlink"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_MOST_SECONDS = 20.0
_MORE_BYTES = 8 << 30


class Canary:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.path,)


class Watch:
    """Writes down what Python does that no restore has to do."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.events: list[str] = []
        self._directory = str(directory)
        self._is_on = False
        sys.addaudithook(self._see)

    def __enter__(self) -> None:
        self._is_on = True

    def __exit__(self, *_: object) -> None:
        self._is_on = False

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_on or (event == "marshal.loads" and "importlib" in sys._getframe(1).f_code.co_filename):
            return  # A module that TensorFlow imports when it is first used.
        if event in _STARTS or event in _CHANGES or (event == "open" and self._writes(arguments)):
            self.events.append(f"{event} {arguments!r:.200}")
        elif event == "import" and str(arguments[0]).partition(".")[0] in ("evil", "this", "antigravity"):
            self.events.append(f"import {arguments[0]}")

    def _writes(self, arguments: tuple[Any, ...]) -> bool:
        path, _, flags = arguments
        return isinstance(flags, int) and bool(flags & _WRITING) and str(path) != "/dev/null"


class Grammar:
    """Draws recipes.

    Args:
        dice: What decides.
        place: Where the payloads would leave their mark.
    """

    def __init__(self, dice: random.Random, place: pathlib.Path) -> None:
        from keras_probckpt.recipe.known import known_names
        from tests.recipe.test_strangers import reachable

        self._dice = dice
        self._mark = str(place / "canary")
        self._names = sorted(known_names())
        self._made = sorted(line.split()[1] for line in reachable() if line.startswith("made "))
        text = base64.encodebytes(pickle.dumps(Canary(self._mark), protocol=4)).decode()
        self._texts = [text, self._mark, "/etc/passwd", "https://localhost/x", "relu", "mse", "__import__('evil')"]
        self._definitions = 0
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}

    def recipe(self) -> dict[str, Any]:
        """Draw a whole recipe."""
        self._definitions, self.arrays = 0, {}
        self._left = self._dice.choice([0, 1, 1, 2, 50])  # A file that is hostile all over is soon refused.
        model = self._model(3) if self._dice.random() < 0.95 else self._node(3)
        args: list[Any] = [{"$": "tf.TensorSpec", "dimensions": [None, 2], "dtype": "float32", "name": None}]
        args = args if self._left <= 0 or self._dice.random() < 0.5 else [self._node(2)]
        calls = [{"layer": "", "args": args, "kwargs": {}}] if self._dice.random() < 0.3 else []
        part = self._word(["optimizer", "loss", "metrics", "loss_weights"])
        more = {part: self._node(2)} if self._left > 0 and self._dice.random() < 0.5 else {}
        compiled = {"arguments": {"optimizer": "sgd", "loss": "mse", **more}}
        is_lossy = self._left > 0 and self._dice.random() < 0.2
        losses = [{"layer": "", "functions": [self._node(2)]}] if is_lossy else []
        is_punished = self._left > 0 and self._dice.random() < 0.2
        penalty = [0, [self._node(2)], None] if self._dice.random() < 0.5 else [0, [], self._node(2)]
        values = [[self._word(["rate", "attr_name", "_name", "function", "units"]), "value", self._node(1)]]
        attributes = [{"path": self._path(), "values": values}] if self._dice.random() < 0.3 else []
        return {
            "model": model,
            "calls": calls,
            "compile": compiled if self._dice.random() < 0.5 else {"arguments": None},
            "losses": losses,
            "penalties": {"layer-0": [penalty]} if is_punished else {},
            "attributes": attributes,
            "externals": [],
            "recipe_variables": [],
            "output": None,
            "policy": self._word(["float32", "mixed_float16"]),
        }

    def _word(self, words: list[str]) -> str:
        return self._dice.choice(words)

    def _path(self) -> list[str]:
        steps = [
            "layer-0",
            "layer-1",
            "activation",
            "function",
            "optimizer",
            "compile~",
            "keywords",
            "func",
            "__class__",
        ]
        return [self._word(steps) for _ in range(self._dice.randint(0, 3))]

    def _known(self, prefix: str = "") -> dict[str, Any]:
        names = [name for name in self._names if name.startswith(prefix)]
        return {"$": "known", "name": self._dice.choice(names)}

    def _callee(self, depth: int) -> Any:
        reference = {
            "$": "import",
            "module": self._word(["os", "subprocess", "evil"]),
            "name": self._word(["system", "x"]),
        }
        registered = {**reference, "registered": self._word(["Custom>Adam", "Custom>SharpnessAwareMinimization"])}
        method = {"$": "method", "module": "os", "name": "system", "object": self._known()}
        return self._dice.choice(
            [self._known, lambda: reference, lambda: registered, lambda: method, lambda: self._node(depth - 1)]
        )()

    def _member(self) -> dict[str, Any]:
        names = ["from_config", "save", "numpy", "to_tensor", "values", "__class__", "load_weights", "with_values"]
        kind = self._word(["InstanceMethod", "InstanceProperty"])
        return {"$": "tf_member", "kind": kind, "attribute": self._word(names), "name": "m"}

    def _number(self) -> Any:
        return self._dice.choice([0, 1, 2, 3, -1, 7, 2**31, 2**62, 0.5, True, None])

    def _array(self) -> dict[str, Any]:
        name = f"constant-{len(self.arrays)}"
        self.arrays[name] = np.ones(self._dice.choice([(), (2,), (1, 3000), (3000, 1)]), np.float32)
        return {"$": self._word(["np.ndarray", "tf.Tensor"]), "tensor": name}

    def _arguments(self, depth: int) -> dict[str, Any]:
        names = ["units", "function", "fn", "kernel_initializer", "layer", "activation", "make_distribution_fn", "size"]
        names += [
            "learning_rate",
            "distribution",
            "bijector",
            "config",
            "vocabulary",
            "loc",
            "scale",
            "cell",
            "filters",
        ]
        chosen = self._dice.sample(names, self._dice.randint(0, 3))
        return {name: self._node(depth - 1) for name in chosen}

    def _call(self, tag: str, depth: int) -> dict[str, Any]:
        node = {"$": tag, "class": self._callee(depth), "arguments": self._arguments(depth)}
        if self._dice.random() < 0.4:
            node["positional"] = [self._node(depth - 1) for _ in range(self._dice.randint(1, 3))]
        return self._shared(node)

    def _shared(self, node: dict[str, Any]) -> dict[str, Any]:
        if self._dice.random() < 0.3 and node["$"] not in ("build", "named_tuple", "dataclass"):
            node["id"] = self._definitions
            self._definitions += 1
        return node

    def _harmless(self) -> dict[str, Any]:
        """Draw a layer that nothing is wrong with."""
        arguments: dict[str, dict[str, Any]] = {
            "Dense": {"units": 2, "activation": self._known("tf_keras.activations.")},
            "Lambda": {"function": {"$": "known", "name": self._word(["tf.math.abs", "tf.nn.relu", "tf.squeeze"])}},
            "Dropout": {"rate": 0.5},
            "Flatten": {},
            "LayerNormalization": {},
        }
        name = self._word([*arguments])
        return {"$": "keras", "class": {"$": "known", "name": f"tf_keras.layers.{name}"}, "arguments": arguments[name]}

    def _layer(self, depth: int) -> dict[str, Any]:
        if self._left <= 0 or self._dice.random() < 0.5:
            return self._harmless()
        self._left -= 1
        small = {
            "Dense": {"units": 2},
            "Lambda": {"function": self._node(depth - 1)},
            "Activation": {"activation": "relu"},
        }
        name = self._word([*small, "TimeDistributed", "Bidirectional", "RNN", "UpSampling1D", "MultiHeadAttention"])
        arguments = small.get(name, {"layer": self._node(depth - 1)})
        layer = {"$": "keras", "class": {"$": "known", "name": f"tf_keras.layers.{name}"}, "arguments": arguments}
        options = [
            lambda: layer,
            self._member,
            lambda: {"$": "tf_function", "function": self._known("tf.")["name"], "name": "t"},
            lambda: self._node(depth - 1),
            lambda: {**self._call("tfp", depth), "class": self._known("tfp.layers.")},
        ]
        drawn = self._dice.choice(options)() if depth > 0 else layer
        return self._shared(drawn) if isinstance(drawn, dict) and "$" in drawn else layer

    def _model(self, depth: int) -> dict[str, Any]:
        shape = {"$": "tuple", "items": [None, *self._dice.choice([[2], [4, 3], [10**6, 1]])]}
        inputs = {"$": "known", "name": "tf_keras.layers.InputLayer"}
        first = {"$": "keras", "class": inputs, "arguments": {"batch_input_shape": shape, "name": "i"}}
        layers = [self._layer(depth - 1) for _ in range(self._dice.randint(1, 3))]
        if self._dice.random() < 0.5:
            return self._shared({"$": "sequential", "name": "m", "layers": [first, *layers]})
        calls: list[Any] = [[first]]
        for number, layer in enumerate(layers):
            tensor: Any = {"$": "symbolic", "call": number, "output": 0}
            given = [tensor if self._left <= 0 or self._dice.random() < 0.9 else self._node(1), *self._extra()]
            calls.append([layer, {"$": "tuple", "items": given}, {}])
        ends = {"inputs": {"$": "symbolic", "call": 0, "output": 0}}
        ends["outputs"] = {"$": "symbolic", "call": len(layers), "output": 0}
        return self._shared({"$": "functional", "name": "m", "trainable": True, "calls": calls, **ends})

    def _extra(self) -> list[Any]:
        return [self._node(1)] if self._left > 0 and self._dice.random() < 0.2 else []

    def _node(self, depth: int) -> Any:
        self._left -= 1
        plain = [self._number, lambda: self._word(self._texts), self._known, self._array, list, dict]
        if depth <= 0:
            return self._dice.choice(plain)()
        tags = ["build", "partial", "keras", "tfp", "parametrized", "object", "configured", "named_tuple", "dataclass"]
        made = {"$": "known", "name": self._dice.choice(self._made)}
        options = [
            *plain,
            lambda: self._call(self._word(tags), depth),
            lambda: {**self._call(self._word(["keras", "tfp", "parametrized"]), depth), "class": made},
            lambda: self._layer(depth - 1),
            lambda: self._model(depth - 1),
            self._member,
            lambda: {"$": "same", "id": self._dice.randint(0, max(0, self._definitions))},
            lambda: {"$": "instruction", "object": self._node(depth - 1)},
            lambda: {"$": "default_dict", "factory": self._callee(depth), "items": []},
            lambda: {"$": "tuple", "items": [self._node(depth - 1) for _ in range(2)]},
            lambda: {
                "$": "variable",
                "index": 0,
                "shape": [2, self._dice.choice([2, 2**33])],
                "dtype": "float32",
                "trainable": True,
                "name": "v",
            },
            lambda: {
                "$": "deferred_tensor",
                "arguments": {"pretransformed_input": self._array(), "transform_fn": self._callee(depth)},
            },
            lambda: {"$": "lookup", "class": "StringLookup", "arguments": {"vocabulary": self._node(1)}, "learned": {}},
            lambda: {
                "$": "state",
                "base": "tf_keras.Model",
                "class": self._callee(depth),
                "arguments": {},
                "attributes": [["path", self._word(self._texts)]],
            },
            lambda: {"$": "pickle", "index": 0, "module": "__main__", "name": "x", "source": ""},
            lambda: {"$": "range", "bounds": [0, self._dice.choice([3, 2**40]), 1]},
        ]
        return self._dice.choice(options)()


def _try(directory: pathlib.Path, number: int, recipe: dict[str, Any], arrays: dict[str, Any]) -> bool:
    """Write one checkpoint, restore it as a stranger's, and use what comes back as anybody would."""
    from keras_probckpt import restore_checkpoint
    from keras_probckpt.errors import CheckpointError
    from keras_probckpt.format.signature import KeyRing
    from keras_probckpt.format.tensors import encode_tensors
    from keras_probckpt.storage.filesystem import LocalFileSystem
    from keras_probckpt.storage.store import CheckpointStore
    from tests.format.manifest_examples import MANIFEST

    files = {"recipe.json": [json.dumps({**recipe, "variables": [], "optimizer_variables": []}).encode()]}
    files |= {"model.safetensors": encode_tensors({})}
    files |= {"recipe.safetensors": encode_tensors(arrays)} if arrays else {}
    files |= {"code.pickle": [pickle.dumps([pickle.dumps(Canary(str(directory / "canary")))])]}
    store = CheckpointStore(LocalFileSystem(directory), keys=KeyRing())
    store.commit(f"s{number}", manifest=MANIFEST, files=files)
    try:
        with WATCH:
            model = restore_checkpoint(directory / f"s{number}")
            _use(model)
    except CheckpointError:
        return False
    finally:
        store.remove(store.open(f"s{number}"))
    return True


def _use(model: Any) -> None:
    """Ask for what a file may have left behind to be called later. What that raises is the model's own affair."""
    for ask in (lambda: model.losses, model.get_config, lambda: model.summary(print_fn=lambda _: None)):
        with contextlib.suppress(Exception):
            ask()


def main(directory: pathlib.Path, seconds: float, seed: int) -> dict[str, Any]:
    """Attack for some seconds."""
    dice = random.Random(seed)  # noqa: S311 - the same attack again, for who looks into it
    grammar = Grammar(dice, directory)
    _try(directory, 0, grammar.recipe(), grammar.arrays)  # What TensorFlow and Keras load at the first restore.
    WATCH.events.clear()
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MORE_BYTES, resource.RLIM_INFINITY))
    began, tried, loaded, slow, raw = time.monotonic(), 0, 0, [], []
    while time.monotonic() - began < seconds:
        recipe, started = grammar.recipe(), time.monotonic()
        tried += 1
        try:
            loaded += _try(directory, tried, recipe, grammar.arrays)
        except Exception as error:  # noqa: BLE001 - what comes to light is told
            raw.append(f"{type(error).__name__}: {error!s:.200} of {json.dumps(recipe)[:2000]}")
        if time.monotonic() - started > _MOST_SECONDS:
            slow.append(json.dumps(recipe)[:2000])
        if WATCH.events or (directory / "canary").exists():
            raw.append(f"{WATCH.events} of {json.dumps(recipe)[:4000]}")
            break
    return {"tried": tried, "loaded": loaded, "events": WATCH.events, "raw": raw, "slow": slow}


if __name__ == "__main__":
    place = pathlib.Path(sys.argv[1])
    os.chdir(place)
    sys.dont_write_bytecode = True
    import tensorflow_probability as tfp
    import tf_keras as tfk

    import keras_probckpt  # noqa: F401 - it is loaded before anything is watched

    tfp.layers.DistributionLambda, tfk.Sequential([tfk.layers.Dense(1, input_shape=(1,))]).compile("sgd", "mse")
    WATCH = Watch(place)
    warnings.simplefilter("ignore")
    sys.stdout.write(json.dumps(main(place, float(sys.argv[2]), int(sys.argv[3]))) + "\n")
