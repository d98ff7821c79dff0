"""Checkpoints that must be refused: how each is made of one that loads."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable

import blake3

__all__ = ["DAMAGES", "KEY", "OTHER_KEY", "Files", "Refusal", "rewrite", "sealed_again", "with_model"]

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


def with_model(node: object) -> Callable[[Files], Files]:
    """Put another model in the recipe."""

    def edit(files: Files) -> Files:
        recipe = json.loads(files["recipe.json"])
        return {**files, "recipe.json": json.dumps({**recipe, "model": node}).encode()}

    return edit


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[pathlib.Path], None]:
    """Change the bytes of a file after the commit."""

    def deface(path: pathlib.Path) -> None:
        (path / name).write_bytes(change((path / name).read_bytes()))

    return deface


def sealed_again(data: bytes) -> bytes:
    """Compute a manifest's seal after a change: it needs no secret."""
    sealed = data[: -len(b'"seal":"blake3:"}\n') - 64]
    return sealed + b'"seal":"blake3:' + blake3.blake3(sealed).hexdigest().encode() + b'"}\n'


def _by_import(module: str, name: str) -> dict[str, object]:
    return {"$": "build", "class": {"$": "import", "module": module, "name": name}, "arguments": {"command": "true"}}


DAMAGES = {
    "changed-weight": Refusal(
        error="DamagedCheckpointError",
        message="model.safetensors is damaged: the manifest records blake3",
        why="one bit of the last weight was changed",
        deface=rewrite("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    ),
    "cut-manifest": Refusal(
        error="DamagedCheckpointError",
        message="manifest.json is damaged",
        why="the manifest ends in the middle",
        deface=rewrite("manifest.json", lambda data: data[: len(data) // 2]),
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
        deface=rewrite("manifest.json", lambda data: sealed_again(data.replace(b'"step": 2', b'"step": 3'))),
    ),
    "newer-format": Refusal(
        error="UnsupportedFormatError",
        message="is in format version 2",
        why="a later release wrote it",
        key="",
        deface=rewrite(
            "manifest.json",
            lambda data: sealed_again(data.replace(b'"format_version": 1', b'"format_version": 2')),
        ),
    ),
    "strangers-builder": Refusal(
        error="UntrustedCheckpointError",
        message="import mypkg.models.build",
        why="it asks for an import, and another key signed it",
        key=OTHER_KEY,
        edit=with_model(_by_import("mypkg.models", "build")),
    ),
    "unsigned-command": Refusal(
        error="UntrustedCheckpointError",
        message="import os.system",
        why="it would run a command, and nobody signed it",
        key="",
        edit=with_model(_by_import("os", "system")),
    ),
    "keras-instruction": Refusal(
        error="MalformedRecipeError",
        message="would make Keras import what it names",
        why="it holds what Keras's own loaders take as an instruction to import",
        edit=with_model({"class_name": "Sequential", "module": "tf_keras", "config": {}}),
    ),
    "unknown-tag": Refusal(
        error="MalformedRecipeError",
        message="the tag 'spell' is unknown",
        why="it holds a node of a kind that there is not",
        edit=with_model({"$": "spell", "words": []}),
    ),
}
