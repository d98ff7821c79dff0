"""A checkpoint restored in a new process, which has nothing of this one but its files and its paths to modules."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_probckpt.errors import RehearsalError
from keras_probckpt.format.tensors import decode_tensors, encode_tensors
from keras_probckpt.manager.rebuilding import Request, load, recipe_of
from keras_probckpt.recipe.outputs import fixed_outputs
from keras_probckpt.records import FileRecord
from keras_probckpt.storage.catalog import resolve
from keras_probckpt.storage.contents import CheckpointReader
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.keys import load_keys
from keras_probckpt.storage.store import CheckpointStore
from keras_probckpt.training.process_settings import make_settings, process_settings, seeded_if_needed
from keras_probckpt.training.variables import find_layers

__all__ = ["answer", "restore_in_second_process"]

Outputs = dict[str, np.ndarray[Any, Any]]

# No name is left in `__main__`: a function of the user's that was defined in his would be looked for there.
_PROGRAM = "__import__('keras_probckpt.manager.second_process', fromlist=['answer']).answer()"
_OUTPUTS_NAME = "outputs.safetensors"
_LOG_NAME = "log.txt"

_MOST_SECONDS = 1800.0
_LAST_CHARACTERS = 4000


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Question:
    """What the new process is told: on its command line, as JSON."""

    path: str
    directory: str
    wants_outputs: bool
    module_paths: list[str]
    written: dict[str, str]
    settings: dict[str, Any]


def restore_in_second_process(
    path: pathlib.Path,
    *,
    written: Mapping[str, FileRecord] | None = None,
    wants_outputs: bool = False,
    timeout_seconds: float = _MOST_SECONDS,
) -> Outputs:
    """Restore a checkpoint in a new process, and wait for it.

    Args:
        path: The checkpoint's directory.
        written: What this process itself has written there: those very files are trusted, signed or not.
        wants_outputs: Call the restored model there, as `fixed_outputs` does.
        timeout_seconds: How long to wait at most; then the process is killed.

    Returns:
        What the restored model returned.

    Raises:
        RehearsalError: If the process failed. Shows the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="keras-probckpt-") as name:
        question = _Question(
            path=str(path),
            directory=name,
            wants_outputs=wants_outputs,
            module_paths=sys.path,
            written={file: record.blake3 for file, record in (written or {}).items()},
            settings=process_settings(),
        )
        problem = _run(question, timeout_seconds)
        directory = pathlib.Path(name)
        if problem:
            said = (directory / _LOG_NAME).read_text(encoding="utf-8", errors="replace")
            raise RehearsalError(path=str(path), problem=f"{problem}:\n{said[-_LAST_CHARACTERS:].strip()}")
        return decode_tensors((directory / _OUTPUTS_NAME).read_bytes(), where=_OUTPUTS_NAME) if wants_outputs else {}


def _run(question: _Question, timeout_seconds: float) -> str:
    """Start the process and wait for its end; says what was wrong, empty if nothing."""
    command = [sys.executable, "-c", _PROGRAM, json.dumps(dataclasses.asdict(question))]
    try:
        # A file and no pipe: a process of the user's that inherits a pipe would keep this one waiting.
        with (pathlib.Path(question.directory) / _LOG_NAME).open("wb") as log:
            ended = subprocess.run(  # noqa: S603 - this very Python, our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
                timeout=timeout_seconds,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return f"a new process was still restoring it after {timeout_seconds:g} seconds, and was killed"
    except OSError as error:
        return f"no new process could be started ({error})"
    return f"a new process could not restore it (exit code {ended.returncode})" if ended.returncode else ""


def answer() -> None:
    """Do in the new process what it was asked on its command line."""
    question = _Question(**json.loads(sys.argv[1]))
    sys.path[:] = question.module_paths
    make_settings(question.settings)
    location = resolve(question.path)
    store = CheckpointStore(LocalFileSystem(location.directory), keys=load_keys())
    reader = CheckpointReader(store, store.open(pathlib.Path(question.path).name))
    found = {file: record.blake3 for file, record in reader.info.files.items()}
    request = Request(trusted=True if question.written and question.written == found else None)
    recipe = recipe_of(reader, request)
    with recipe.policy(), seeded_if_needed():
        model = load(reader, request)
        outputs = fixed_outputs(find_layers(model), recipe.signatures) if question.wants_outputs else {}
    if question.wants_outputs:
        content = b"".join(bytes(part) for part in encode_tensors(outputs))
        (pathlib.Path(question.directory) / _OUTPUTS_NAME).write_bytes(content)
