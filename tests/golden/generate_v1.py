"""Writes the golden checkpoints of format version 1, and never overwrites one.

    python -m tests.golden.generate_v1 <name of the set of libraries, such as newest>

Those of `must_load/<set>` are what this release writes; those of `must_refuse` are made of one of them. That of
`must_resume/<set>` is of a training within an epoch, beside what that training ended in.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Mapping

import blake3
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint
from keras_probckpt.format.signature import KeyRing, SigningKey
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.keys import KEY_VARIABLE
from keras_probckpt.storage.store import CheckpointStore
from tests.golden.attacks import ATTACKS
from tests.golden.models import MODELS, X, Y, outputs_of, train, variables_of
from tests.golden.refusals import DAMAGES, KEY, Refusal
from tests.golden.strangers import STRANGERS

PLACE = pathlib.Path(__file__).parent / "v1"
REFUSALS = {**DAMAGES, **ATTACKS, **STRANGERS}


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


def write_must_resume(place: pathlib.Path) -> None:
    """Train to the end under the callback; leave the checkpoint that it saved on the way, and what it ended in."""
    os.environ[KEY_VARIABLE] = KEY
    if _is_there(place):
        return
    tfk.utils.set_random_seed(1)
    model = MODELS["mixin"]()
    checkpoint = ProbCheckpoint(place / "run", "loss", save_freq=6, resume=True)
    history = train(model, checkpoint)
    (place / "run" / ".lock").unlink()
    expected = {"variables": variables_of(model), "history": history.history}
    (place / "end.json").write_text(json.dumps(expected, indent=1) + "\n")


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


def write_digests(golden: pathlib.Path) -> None:
    """Add a line for each golden file that has none yet to the end of the list; no line is changed."""
    path = golden / "DIGESTS"
    listed = path.read_text(encoding="utf-8") if path.exists() else ""
    known = {line.partition(" ")[2] for line in listed.splitlines()}
    new = {name: digest for name, digest in digests_of(golden).items() if name not in known}
    path.write_text(listed + "".join(f"{digest} {name}\n" for name, digest in new.items()), encoding="utf-8")


def digests_of(golden: pathlib.Path) -> dict[str, str]:
    """Digest every golden file, by its path. The index of refusals is rewritten with each that is added."""
    files = sorted(path for path in golden.glob("v*/**/*") if path.is_file() and path.name != "INDEX.json")
    return {path.relative_to(golden).as_posix(): blake3.blake3(path.read_bytes()).hexdigest() for path in files}


def checkpoints_in(place: pathlib.Path) -> Iterator[pathlib.Path]:
    """Find the checkpoints of each set of libraries."""
    yield from sorted(manifest.parent for manifest in place.rglob("manifest.json"))


if __name__ == "__main__":
    write_must_load(PLACE / "must_load" / sys.argv[1])
    write_must_resume(PLACE / "must_resume" / sys.argv[1])
    write_must_refuse(next(checkpoints_in(PLACE / "must_load" / sys.argv[1] / "sequential")), PLACE / "must_refuse")
    write_digests(PLACE.parent)
