"""Ctrl-C at every line: what it leaves is whole, and the directory is free for the next training of this process."""

from __future__ import annotations

import fcntl
import gc
import inspect
import linecache
import os
import pathlib
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from keras_probckpt.storage.catalog import list_checkpoints, verify_checkpoint
from keras_probckpt.storage.run import RunWriter, Save
from tests.counts import count
from tests.storage.samples import files_of, manifest_of, names_in

# An interrupt may leave a file to the garbage collector; that it locks nothing is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

if TYPE_CHECKING:
    from typing_extensions import Self

OURS = f"{os.sep}keras_probckpt{os.sep}"


class Interrupt:
    """Raises KeyboardInterrupt at one moment of what this thread does in our code.

    A moment is the begin of a line; or the call of a function, or the return of one in C, which is where the
    interpreter looks for signals. Python 3.11 may end by a segmentation fault where a tracer raises at a line to which
    it comes back in the midst of an expression or at the end of a `with`: lines are for what has few of them.

    Args:
        moment: Number of the moment, counted from 1; 0 for none.
        is_at_calls: Whether moments are calls.
    """

    def __init__(self, moment: int, *, is_at_calls: bool) -> None:
        self._moment = moment
        self._is_at_calls = is_at_calls
        self.moments = 0

    def __enter__(self) -> Self:
        gc.disable()  # In the end of some earlier writer an interrupt would be lost.
        if self._is_at_calls:
            sys.setprofile(self._at_call)
        else:
            sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        sys.settrace(None)
        gc.enable()

    def _enter(self, frame: types.FrameType, event: str, _: object) -> Any:
        return self._at_line if is_ours(frame) else None

    def _at_line(self, frame: types.FrameType, event: str, _: object) -> Any:
        if event == "line" and not source_of(frame).startswith("with "):
            self._count()
        return self._at_line

    def _at_call(self, frame: types.FrameType, event: str, _: object) -> None:
        if event in {"call", "c_return"} and is_ours(frame) and not frame.f_code.co_flags & inspect.CO_GENERATOR:
            self._count()

    def _count(self) -> None:
        self.moments += 1
        if self.moments == self._moment:
            raise KeyboardInterrupt  # which ends the tracing


def is_ours(frame: types.FrameType) -> bool:
    """Tell whether code of the package is run; generator expressions are left out, see `Interrupt`."""
    return OURS in frame.f_code.co_filename and frame.f_code.co_name != "<genexpr>"


def source_of(frame: types.FrameType) -> str:
    """Give the line that is run."""
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()


def save(writer: RunWriter, step: int, name: str = "") -> None:
    """Save a step, and wait for it."""
    save = Save(
        name=name or f"step-{step}",
        manifest=manifest_of(step, run=writer.run),
        encode=lambda: files_of(step),
        size_bytes=0,
    )
    writer.require_open()
    writer.submit(save)
    writer.wait_until_finished()
    for failure in writer.take_failures():
        raise failure


def open_again(writer: RunWriter) -> None:
    """Close and open."""
    writer.close()
    writer.open()


def nothing(_: RunWriter) -> None:
    """Do nothing before."""


def open_and_save(writer: RunWriter) -> None:
    """Leave a checkpoint, and the writer open."""
    writer.open()
    save(writer, 1)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Promise durability without waiting for it: no power is cut here, and a thousand writers are opened."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # What an interrupt left open; that it locks nothing is what is tested.


ACTIONS: dict[str, tuple[Callable[[RunWriter], None], Callable[[RunWriter], None], Sequence[set[int]]]] = {
    "open": (nothing, lambda writer: writer.open(), [set()]),
    "first use": (nothing, lambda writer: writer.require_open(), [set()]),
    "save": (open_and_save, lambda writer: save(writer, 2), [{1}, {1, 2}]),
    "replace": (open_and_save, lambda writer: save(writer, 2, "step-1"), [{1}, {2}]),
    "save and remove": (open_and_save, lambda writer: save(writer, 5), [{1}, {1, 5}, {5}]),
    "remove": (open_and_save, lambda writer: writer.remove(writer.infos[0]), [{1}, set()]),
    "close": (open_and_save, lambda writer: writer.close(), [{1}]),
    "open again": (open_and_save, open_again, [{1}]),
}


def choose_removals(infos: Sequence[Any]) -> Sequence[Any]:
    """Want nothing before step 5, once that is there."""
    return infos[:-1] if infos and infos[-1].step == 5 else ()


def steps_in(run: pathlib.Path) -> set[int]:
    """List the steps, each checkpoint read to its last byte."""
    infos = list_checkpoints(run) if any(name[:4] == "step" for name in names_in(run)) else ()
    return {verify_checkpoint(info.path).step for info in infos}


@pytest.mark.parametrize(
    ("action", "is_at_calls", "is_background"),
    [
        *((action, True, False) for action in ACTIONS if action != "replace"),
        pytest.param("replace", True, False, marks=pytest.mark.long),
        *((action, False, False) for action in ("open", "first use", "close")),
        ("save", True, True),
        ("close", True, True),
    ],
)
def test_after_an_interrupt_at_any_moment_the_next_training_runs(
    tmp_path: pathlib.Path, action: str, *, is_at_calls: bool, is_background: bool
) -> None:
    """With the writer that was interrupted still alive, as in the traceback that a notebook keeps."""
    prepare, act, allowed = ACTIONS[action]
    kept: list[object] = []

    def attempt(moment: int) -> int:
        run = tmp_path / str(moment)
        writer = RunWriter(run, choose_removals=choose_removals, is_background=is_background)
        prepare(writer)
        with Interrupt(moment, is_at_calls=is_at_calls) as interrupt:
            try:
                act(writer)
            except KeyboardInterrupt as error:
                kept.extend((writer, error))
        if not moment:
            writer.close()
            return interrupt.moments
        later = RunWriter(run)
        later.open()
        save(later, 9)
        assert steps_in(run) - {9} in allowed, f"moment {moment}"
        assert all(name == ".lock" or name.startswith("step-") for name in names_in(run)), f"moment {moment}"
        later.close()
        with (run / ".lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # For any other process, too.
        return interrupt.moments

    moments = attempt(0)
    for moment in range(1, moments + 1):
        attempt(moment)

    assert moments > 10
    count("interrupts, each at another moment, after which the next training ran", moments)


@pytest.mark.parametrize("is_at_calls", [True, False])
def test_an_interrupt_while_a_directory_is_taken_leaves_it_free_for_others(
    tmp_path: pathlib.Path, *, is_at_calls: bool
) -> None:
    """At once, not only once this process trains again."""
    kept: list[object] = []
    interrupted = True
    while interrupted:  # The first to be opened makes the key, which takes more lines.
        run = tmp_path / str(len(kept))
        run.mkdir()
        writer = RunWriter(run)
        interrupted = False
        with Interrupt(len(kept) + 1, is_at_calls=is_at_calls):
            try:
                writer.open()
            except KeyboardInterrupt as error:
                interrupted = True
                kept.append((writer, error))
        if not interrupted:
            writer.close()
        with (run / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert len(kept) > 20
