"""The published attacks on files of Keras models, and their kind, as checkpoints of our format.

Each is whole and sealed: whoever wrote it computed every digest. None is signed with the reader's key.
"""

from __future__ import annotations

import base64
import json
import marshal
import pathlib
import pickle
from collections.abc import Callable
from typing import Any

from tests.golden.refusals import OTHER_KEY, Files, Refusal, rewrite, sealed_again, with_model
from tests.recipe.hostility import import_of, known

__all__ = ["ATTACKS", "CANARY"]

CANARY = "keras-probckpt-canary"
"""Directory that the attacks would make where they are read."""

HUGE = 10**9
TOO_LONG = 2**63


class _MakesTheCanary:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        import os

        return os.mkdir, (CANARY,)


def _layer(name: str, **arguments: Any) -> dict[str, Any]:
    return {"$": "keras", "class": known(f"tf_keras.layers.{name}"), "arguments": arguments}


def _sequential(*layers: Any) -> dict[str, Any]:
    return {"$": "sequential", "name": "m", "layers": list(layers)}


def _marshalled() -> str:
    # Text of this shape is what Keras hands to marshal; of which Python it is does not matter where nobody reads it.
    return base64.encodebytes(marshal.dumps(compile(f"__import__('os').mkdir({CANARY!r})", "x", "eval"))).decode(
        "ascii"
    )


def _pickled() -> bytes:
    return pickle.dumps(_MakesTheCanary(), protocol=4)


def _bare(change: Callable[[Files], Files]) -> Callable[[Files], Files]:
    """Leave nothing but the model's recipe and weights, so that the golden files stay small."""

    def edit(files: Files) -> Files:
        recipe = json.loads(files["recipe.json"])
        small = {**recipe, "calls": [], "compile": {"arguments": None}, "optimizer_variables": []}
        return change({"recipe.json": json.dumps(small).encode(), "model.safetensors": files["model.safetensors"]})

    return edit


def _asking(why: str, node: object, *, error: str, message: str, key: str = "") -> Refusal:
    return Refusal(error=error, message=message, why=why, key=key, edit=_bare(with_model(node)))


def _untrusted(why: str, node: object, message: str, **how: Any) -> Refusal:
    return _asking(why, node, error="UntrustedCheckpointError", message=message, **how)


def _malformed(why: str, node: object, message: str) -> Refusal:
    return _asking(why, node, error="MalformedRecipeError", message=message)


def _damaged(why: str, message: str, *, edit: Callable[[Files], Files]) -> Refusal:
    return Refusal(error="DamagedCheckpointError", message=message, why=why, key="", edit=_bare(edit))


def _with_file(name: str, data: bytes) -> Callable[[Files], Files]:
    return lambda files: {**files, name: data}


def _with_text(old: bytes, new: bytes) -> Callable[[Files], Files]:
    return lambda files: {**files, "recipe.json": files["recipe.json"].replace(old, new, 1)}


def _tensors(header: object) -> Callable[[Files], Files]:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return _with_file("model.safetensors", len(text).to_bytes(8, "little") + text + bytes(8))


def _array(start: int, stop: int, *, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def _naming(*names: str) -> Refusal:
    """Let the manifest name other files, and seal it again."""
    record = '{\n   "size_bytes": 0,\n   "blake3": "' + "0" * 64 + '"\n  }'
    entries = ",\n".join(f"  {json.dumps(name, ensure_ascii=False)}: {record}" for name in names)

    def deface(path: pathlib.Path) -> None:
        rewrite(
            "manifest.json",
            lambda data: sealed_again(data.replace(b'"files": {\n', f'"files": {{\n{entries},\n'.encode())),
        )(path)

    return Refusal(
        error="DamagedCheckpointError",
        message="its field files names",
        why=f"its manifest names {', '.join(names)}",
        key="",
        edit=_bare(lambda files: files),
        deface=deface,
    )


_LEGACY_LAMBDA = {"function": [_marshalled(), None, None], "function_type": "lambda", "output_shape_type": "raw"}
_GADGET = {"origin": "https://localhost/evil.py", "fname": CANARY, "cache_subdir": ".", "extract": True}

_CODE = {
    "cve-2024-3660-lambda": _malformed(
        "CVE-2024-3660: a Lambda layer whose function is marshalled bytecode",
        _sequential(_layer("Lambda", function=_marshalled())),
        "the function of a Lambda layer is not a function",
    ),
    "cve-2024-3660-distribution-lambda": _malformed(
        "CVE-2024-3660 by TFP: a DistributionLambda whose function is a pickle in text",
        {
            "$": "tfp",
            "class": known("tfp.layers.DistributionLambda"),
            "arguments": {"make_distribution_fn": base64.encodebytes(_pickled()).decode()},
        },
        "a function is needed here",
    ),
    "cve-2025-1550-module-and-name": _malformed(
        "CVE-2025-1550: a configuration whose module and class_name are any function",
        _sequential(
            {
                "module": "subprocess",
                "class_name": "run",
                "config": {"args": ["mkdir", CANARY]},
                "registered_name": "run",
            }
        ),
        "would make Keras import what it names",
    ),
    "cve-2025-1550-in-pairs": _malformed(
        "CVE-2025-1550 behind a dict written as pairs, given to a layer that deserializes what it wraps",
        _sequential(
            _layer(
                "TimeDistributed",
                layer={"$": "dict", "items": [["module", "os"], ["class_name", "mkdir"], ["config", {"path": CANARY}]]},
            )
        ),
        "would make Keras import what it names",
    ),
    "cve-2025-1550-import": _untrusted(
        "CVE-2025-1550 in our own words: build the model by os.mkdir",
        {"$": "build", "class": import_of("os", "mkdir"), "positional": [CANARY], "arguments": {}},
        "import os.mkdir",
    ),
    "cve-2025-1550-signed-by-another": _untrusted(
        "the same, signed with the attacker's own key",
        {"$": "build", "class": import_of("os", "mkdir"), "positional": [CANARY], "arguments": {}},
        "signed with a key that is not one of yours",
        key=OTHER_KEY,
    ),
    "cve-2025-8747-get-file": _untrusted(
        "CVE-2025-8747: the gadget tf_keras.utils.get_file, which downloads and unpacks",
        {"$": "build", "class": import_of("tf_keras.utils", "get_file"), "arguments": _GADGET},
        "import tf_keras.utils.get_file",
    ),
    "cve-2025-8747-known-get-file": _malformed(
        "CVE-2025-8747 with the gadget passed off as a name of our closed tables",
        {"$": "build", "class": known("tf_keras.utils.get_file"), "arguments": _GADGET},
        "is in none of the tables",
    ),
    "cve-2025-8747-load-model": _untrusted(
        "CVE-2025-8747's kind: load another file, without safe mode",
        {"$": "build", "class": import_of("tf_keras.saving", "load_model"), "arguments": {"safe_mode": False}},
        "import tf_keras.saving.load_model",
    ),
    "cve-2025-9905-legacy-lambda": _malformed(
        "CVE-2025-9905: a Lambda configuration as legacy HDF5 files have it, which no safe mode ever looked at",
        {"$": "configured", "class": known("tf_keras.layers.Lambda"), "arguments": _LEGACY_LAMBDA},
        "is not a user's class",
    ),
    "cve-2025-9906-unsafe-mode": _untrusted(
        "CVE-2025-9906: first enable_unsafe_deserialization is called, then a Lambda comes",
        _sequential(
            {
                "$": "object",
                "class": import_of("tf_keras.src.saving.serialization_lib", "enable_unsafe_deserialization"),
                "arguments": {},
            },
            _layer("Lambda", function=_marshalled()),
        ),
        "enable_unsafe_deserialization",
    ),
    "cve-2025-9906-known-unsafe-mode": _malformed(
        "CVE-2025-9906 with the switch passed off as a name of our closed tables",
        _sequential({"$": "keras", "class": known("tf_keras.config.enable_unsafe_deserialization"), "arguments": {}}),
        "is in none of the tables",
    ),
    "cve-2025-12058-vocabulary": _malformed(
        "CVE-2025-12058: a StringLookup that reads any file, or address, as its vocabulary",
        _sequential(_layer("StringLookup", vocabulary="/etc/passwd")),
        "is in none of the tables",
    ),
    "tfsm-layer": _malformed(
        "a TFSMLayer, which runs the program of a SavedModel from a path",
        _sequential(_layer("TFSMLayer", filepath=CANARY)),
        "is in none of the tables",
    ),
    "pickled-code": Refusal(
        error="UntrustedCheckpointError",
        message="unpickle __main__.build",
        why="code.pickle makes a directory as it is read",
        key="",
        edit=_bare(
            lambda files: with_model(
                {
                    "$": "build",
                    "class": {"$": "pickle", "index": 0, "module": "__main__", "name": "build", "source": ""},
                    "arguments": {},
                }
            )({**files, "code.pickle": _pickled()})
        ),
    ),
}

_EXHAUSTION = {
    "huge-layer": _malformed(
        "a dense layer of a billion units: sixteen gigabytes asked for by a kilobyte",
        _sequential(_layer("Dense", units=HUGE, batch_input_shape={"$": "tuple", "items": [None, 4]})),
        "where those that were saved allow for",
    ),
    "huge-embedding": _malformed(
        "an embedding of a billion words",
        _sequential(_layer("Embedding", input_dim=HUGE, output_dim=HUGE, input_length=2)),
        "where those that were saved allow for",
    ),
    "deep-nesting": _damaged(
        "a recipe nested a thousand deep",
        "nested deeper than 200",
        edit=_with_text(b'"model": {', b'"deep": ' + b"[" * 1000 + b"]" * 1000 + b', "model": {'),
    ),
    "duplicate-key": _damaged(
        "a recipe with two models, of which readers may take either",
        "repeats the key 'model'",
        edit=_with_text(b'"model": {', b'"model": {}, "model": {'),
    ),
    "long-integer": _damaged(
        "a number of five hundred digits",
        "an integer of 500 digits",
        edit=_with_text(b'"model": {', b'"number": ' + b"9" * 500 + b', "model": {'),
    ),
    "header-bomb": _damaged(
        "a tensor file whose header claims all the memory there is",
        "a header of 9223372036854775807 bytes by its own account",
        edit=_with_file("model.safetensors", (TOO_LONG - 1).to_bytes(8, "little") + b"{}"),
    ),
    "huge-shape": _damaged(
        "an array of 2^63 elements in 8 bytes",
        "larger than any array",
        edit=_tensors({"a": _array(0, 8, shape=[TOO_LONG])}),
    ),
    "overflowing-shape": _damaged(
        "an array whose axes multiply to 2^64, which is 0 in 64 bits",
        "larger than any array",
        edit=_tensors({"a": _array(0, 0, shape=[2**32, 2**32])}),
    ),
    "overlapping-arrays": _damaged(
        "two arrays in the same bytes",
        "over the array before it",
        edit=_tensors({"a": _array(0, 8, shape=[2]), "b": _array(4, 8, shape=[1])}),
    ),
    "offsets-beyond-the-file": _damaged(
        "an array that reaches beyond the end of the file",
        "of a file of",
        edit=_tensors({"a": _array(0, 80, shape=[20])}),
    ),
    "duplicate-array": _damaged(
        "two arrays of one name",
        "repeats the key 'a'",
        edit=_tensors(
            b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}'
        ),
    ),
}

_NAMES = {
    "path-traversal": _naming("../../../../tmp/evil"),
    "absolute-path": _naming("/etc/passwd"),
    "windows-path": _naming("C:evil"),
    "names-that-differ-in-case": _naming("Model.safetensors"),
    "names-that-differ-in-unicode-form": _naming("caf\u00e9", "cafe\u0301"),
    "a-second-manifest": _naming("MANIFEST.JSON"),
}

ATTACKS = {**_CODE, **_EXHAUSTION, **_NAMES}
