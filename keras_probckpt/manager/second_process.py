"""A checkpoint restored in a new process, which has nothing of this one but its files and its paths to modules."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from keras_probckpt.errors import RehearsalError
from keras_probckpt.manager.rebuilding import Request, load, recipe_of
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.storage.catalog import resolve
from keras_probckpt.storage.contents import CheckpointReader
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.keys import load_keys
from keras_probckpt.storage.store import CheckpointStore
from keras_probckpt.training.process_settings import make_settings, process_settings, seeded_if_needed

__all__ = ["answer", "restore_in_second_process"]

# The path is set before anything is imported: that of `python -c` begins with the working directory. No name is left in
# `__main__`: a function of the user's that was defined in his would be looked for there.
_PROGRAM = (
    "__import__('sys').path[:] = {path!r}; "
    "__import__('keras_probckpt.manager.second_process', fromlist=['answer']).answer()"
)

_MOST_SECONDS = 1800.0
_LAST_CHARACTERS = 4000


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Question:
    """What the new process is told: on its command line, as JSON."""

    path: str
    written: dict[str, str]
    settings: dict[str, Any]


def restore_in_second_process(info: CheckpointInfo, *, timeout_seconds: float = _MOST_SECONDS) -> None:
    """Restore a checkpoint in a new process, and wait for it. What the model returns there is compared as always.

    Args:
        info: The checkpoint, which this process has written: those very files are trusted there, signed or not.
        timeout_seconds: How long to wait at most; then the process is killed.

    Raises:
        RehearsalError: If the process failed. Shows the end of what it said.
    """
    path, written = str(info.path), {name: record.blake3 for name, record in info.files.items()}
    question = _Question(path=path, written=written, settings=process_settings())
    with tempfile.TemporaryDirectory(prefix="keras-probckpt-") as name:
        log = pathlib.Path(name) / "log.txt"
        problem = _run(question, log, timeout_seconds)
        if problem:
            said = log.read_text(encoding="utf-8", errors="replace")
            raise RehearsalError(path=path, problem=f"{problem}:\n{said[-_LAST_CHARACTERS:].strip()}")


def _run(question: _Question, log: pathlib.Path, timeout_seconds: float) -> str:
    """Start the process and wait for its end; says what was wrong, empty if nothing."""
    program = _PROGRAM.format(path=[str(entry) for entry in sys.path])
    command = [sys.executable, "-c", program, json.dumps(dataclasses.asdict(question))]
    try:
        # A file and no pipe: a process of the user's that inherits a pipe would keep this one waiting.
        with log.open("wb") as said:
            ended = subprocess.run(  # noqa: S603 - this very Python, our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
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
    make_settings(question.settings)
    location = resolve(question.path)
    store = CheckpointStore(LocalFileSystem(location.directory), keys=load_keys())
    reader = CheckpointReader(store, store.open(pathlib.Path(question.path).name))
    found = {name: record.blake3 for name, record in reader.info.files.items()}
    request = Request(trusted=True if question.written == found else None)
    with recipe_of(reader, request).policy(), seeded_if_needed():
        load(reader, request)
