"""Writes the golden checkpoints of format version 1, and never overwrites one.

    python -m tests.golden.generate_v1 <name of the set of libraries, such as newest>

Those of `must_load/<set>` are what this release writes; those of `must_refuse` are made of one of them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping

import blake3
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint
from keras_probckpt.format.signature import KeyRing, SigningKey
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.keys import KEY_VARIABLE
from keras_probckpt.storage.store import CheckpointStore
from tests.golden.models import MODELS, X, Y, outputs_of, variables_of

PLACE = pathlib.Path(__file__).parent / "v1"
KEY = "60" * 32
OTHER_KEY = "0f" * 32

Files = dict[str, bytes]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusal:
    """A checkpoint that must not load.

    Attributes:
        error: Name of the error class.
        message: What its message must hold.
        why: What is wrong with it.
        edit: Changes the files before they are committed.
        deface: Changes the directory after.
        key: Signs it; empty for none.
    """

    error: str
    message: str
    why: str
    edit: Callable[[Files], Files] = lambda files: files
    deface: Callable[[pathlib.Path], None] = lambda _path: None
    key: str = KEY


def _with_model(node: object) -> Callable[[Files], Files]:
    def edit(files: Files) -> Files:
        recipe = json.loads(files["recipe.json"])
        return {**files, "recipe.json": json.dumps({**recipe, "model": node}).encode()}

    return edit


def _rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[pathlib.Path], None]:
    def deface(path: pathlib.Path) -> None:
        (path / name).write_bytes(change((path / name).read_bytes()))

    return deface


def _sealed_again(data: bytes) -> bytes:
    """Compute a manifest's seal after a change: it needs no secret."""
    sealed = data[: -len(b'"seal":"blake3:"}\n') - 64]
    return sealed + b'"seal":"blake3:' + blake3.blake3(sealed).hexdigest().encode() + b'"}\n'


def _by_import(module: str, name: str) -> dict[str, object]:
    return {"$": "build", "class": {"$": "import", "module": module, "name": name}, "arguments": {"command": "true"}}


REFUSALS = {
    "changed-weight": Refusal(
        error="DamagedCheckpointError",
        message="model.safetensors is damaged: the manifest records blake3",
        why="one bit of the last weight was changed",
        deface=_rewrite("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    ),
    "cut-manifest": Refusal(
        error="DamagedCheckpointError",
        message="manifest.json is damaged",
        why="the manifest ends in the middle",
        deface=_rewrite("manifest.json", lambda data: data[: len(data) // 2]),
    ),
    "missing-weights": Refusal(
        error="DamagedCheckpointError",
        message="model.safetensors is damaged: the file is missing",
        why="a file that the manifest records is not there",
        deface=lambda path: (path / "model.safetensors").unlink(),
    ),
    "changed-step": Refusal(
        error="TamperedCheckpointError",
        message="says it was signed with your key",
        why="the manifest was changed and sealed again by someone without the key",
        deface=_rewrite("manifest.json", lambda data: _sealed_again(data.replace(b'"step": 2', b'"step": 3'))),
    ),
    "newer-format": Refusal(
        error="UnsupportedFormatError",
        message="is in format version 2",
        why="a later release wrote it",
        key="",
        deface=_rewrite(
            "manifest.json",
            lambda data: _sealed_again(data.replace(b'"format_version": 1', b'"format_version": 2')),
        ),
    ),
    "strangers-builder": Refusal(
        error="UntrustedCheckpointError",
        message="import mypkg.models.build",
        why="it asks for an import, and another key signed it",
        key=OTHER_KEY,
        edit=_with_model(_by_import("mypkg.models", "build")),
    ),
    "unsigned-command": Refusal(
        error="UntrustedCheckpointError",
        message="import os.system",
        why="it would run a command, and nobody signed it",
        key="",
        edit=_with_model(_by_import("os", "system")),
    ),
    "keras-instruction": Refusal(
        error="MalformedRecipeError",
        message="would make Keras import what it names",
        why="it holds what Keras's own loaders take as an instruction to import",
        edit=_with_model({"class_name": "Sequential", "module": "tf_keras", "config": {}}),
    ),
    "unknown-tag": Refusal(
        error="MalformedRecipeError",
        message="the tag 'spell' is unknown",
        why="it holds a node of a kind that there is not",
        edit=_with_model({"$": "spell", "words": []}),
    ),
}


def write_must_load(place: pathlib.Path) -> None:
    """Train each model for two steps under the callback; leave its checkpoint and what it says."""
    os.environ[KEY_VARIABLE] = KEY
    for number, (name, make) in enumerate(MODELS.items()):
        if _is_there(place / name):
            continue
        tfk.utils.set_random_seed(number)
        model = make()
        model.fit(X, Y, batch_size=2, shuffle=False, verbose=0, callbacks=[ProbCheckpoint(place / name, "loss")])
        (place / name / ".lock").unlink()
        expected = {"outputs": outputs_of(model), "variables": variables_of(model)}
        (place / f"{name}.json").write_text(json.dumps(expected, indent=1) + "\n")


def write_must_refuse(source: pathlib.Path, place: pathlib.Path) -> None:
    """Make each refusal of one golden checkpoint that loads, and the index of all."""
    files = {file.name: file.read_bytes() for file in sorted(source.iterdir()) if file.name != "manifest.json"}
    for name, refusal in REFUSALS.items():
        if not _is_there(place / name):
            _write_refusal(refusal, files=files, source=source, final=place / name)
    index = {name: _indexed(refusal) for name, refusal in REFUSALS.items()}
    (place / "INDEX.json").write_text(json.dumps(index, indent=1) + "\n")


def _write_refusal(refusal: Refusal, *, files: Mapping[str, bytes], source: pathlib.Path, final: pathlib.Path) -> None:
    keys = KeyRing((SigningKey(bytes.fromhex(refusal.key)),)) if refusal.key else KeyRing()
    with tempfile.TemporaryDirectory() as directory:
        store = CheckpointStore(LocalFileSystem(pathlib.Path(directory)), keys=keys)
        edited = {name: [data] for name, data in refusal.edit(dict(files)).items()}
        store.commit(final.name, manifest=_info_of(source), files=edited)
        refusal.deface(pathlib.Path(directory) / final.name)
        final.mkdir(parents=True)
        for file in (pathlib.Path(directory) / final.name).iterdir():
            (final / file.name).write_bytes(file.read_bytes())


def _info_of(source: pathlib.Path) -> CheckpointInfo:
    return CheckpointStore(LocalFileSystem(source.parent), keys=KeyRing()).open(source.name)


def _indexed(refusal: Refusal) -> dict[str, str]:
    return {"error": refusal.error, "message": refusal.message, "why": refusal.why}


def _is_there(path: pathlib.Path) -> bool:
    if path.exists():
        sys.stdout.write(f"{path.name} is there already and stays as it is\n")
    return path.exists()


def checkpoints_in(place: pathlib.Path) -> Iterator[pathlib.Path]:
    """Find the checkpoints of each set of libraries."""
    yield from sorted(manifest.parent for manifest in place.rglob("manifest.json"))


if __name__ == "__main__":
    write_must_load(PLACE / "must_load" / sys.argv[1])
    write_must_refuse(next(checkpoints_in(PLACE / "must_load" / sys.argv[1] / "sequential")), PLACE / "must_refuse")
