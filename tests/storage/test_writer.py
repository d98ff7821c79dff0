from __future__ import annotations

import dataclasses
import gc
import logging
import os
import pathlib
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence

import pytest

from keras_probckpt.storage import writer as writer_module
from keras_probckpt.storage.writer import BackgroundWriter, finish_all
from tests.conftest import FreshPython
from tests.storage.held_filesystem import PATIENCE_SECONDS

LARGE_BYTES = 64 * 1024 * 1024 + 1


@dataclasses.dataclass(frozen=True)
class Letter:
    """A job that is told by its name."""

    name: str
    size_bytes: int = 0


class Desk:
    """Does letters, notes which, and stops at the one called `held` until it is told to go on."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.threads: set[int] = set()
        self.is_held = threading.Event()
        self.may_go_on = threading.Event()

    def do(self, letter: Letter) -> None:
        """Do one."""
        if letter.name == "held":
            self.is_held.set()
            assert self.may_go_on.wait(PATIENCE_SECONDS)
        if letter.name == "bad":
            raise LookupError(letter.name)
        self.threads.add(threading.get_ident())
        self.done.append(letter.name)

    def hold(self, writer: BackgroundWriter[Letter]) -> None:
        """Let a writer begin the letter at which this stops."""
        writer.submit(Letter("held"), do=self.do)
        assert self.is_held.wait(PATIENCE_SECONDS)


def newest_wanted(letters: Sequence[Letter]) -> Sequence[Letter]:
    """Want the newest."""
    return letters[-1:]


def oldest_wanted(letters: Sequence[Letter]) -> Sequence[Letter]:
    """Want the oldest."""
    return letters[:1]


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Give a desk; whoever still stands at it when the test ends may go on."""
    desk = Desk()
    yield desk
    desk.may_go_on.set()


@pytest.fixture
def writer(desk: Desk) -> Iterator[BackgroundWriter[Letter]]:
    """Give a writer with a thread of its own, which is gone after the test."""
    writer: BackgroundWriter[Letter] = BackgroundWriter(is_background=True)
    yield writer
    desk.may_go_on.set()
    writer.wait_until_finished()


def in_a_thread(function: Callable[[], object]) -> threading.Thread:
    """Call a function beside the test."""
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_jobs_are_done_beside_the_caller_in_the_order_they_came(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """`submit` returns while the job before is being done; none is lost."""
    desk.hold(writer)
    writer.submit(Letter("a"), do=desk.do)
    assert [job.name for job in writer.unfinished] == ["held", "a"]
    assert desk.done == []

    desk.may_go_on.set()
    writer.wait_until_finished()

    assert desk.done == ["held", "a"]
    assert threading.get_ident() not in desk.threads
    assert writer.unfinished == ()


def test_no_thread_is_left_when_all_is_done(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """And none is there before there is something to do; a later job gets one again."""
    before = threading.active_count()
    for name in ("a", "b"):
        writer.submit(Letter(name), do=desk.do)
        writer.wait_until_finished()

        assert threading.active_count() == before

    assert desk.done == ["a", "b"]


def test_without_a_background_the_caller_does_the_job_itself(desk: Desk) -> None:
    """It is done when `submit` returns, and there was no thread."""
    writer: BackgroundWriter[Letter] = BackgroundWriter(is_background=False)

    for name in ("a", "b"):
        writer.submit(Letter(name), do=desk.do, choose_wanted=newest_wanted)

    assert desk.done == ["a", "b"]
    assert desk.threads == {threading.get_ident()}


def test_a_job_that_waits_is_dropped_for_a_newer_one(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """Where the caller says so: it is never done, and the one that was begun is."""
    desk.hold(writer)
    for name in ("a", "b", "c"):
        writer.submit(Letter(name), do=desk.do, choose_wanted=newest_wanted)
    desk.may_go_on.set()
    writer.wait_until_finished()

    assert desk.done == ["held", "c"]


def test_a_newer_job_is_passed_over_for_one_that_waits(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """Where the caller wants the one that waits, and not the newer."""
    desk.hold(writer)
    for name in ("a", "b", "c"):
        writer.submit(Letter(name), do=desk.do, choose_wanted=oldest_wanted)
    desk.may_go_on.set()
    writer.wait_until_finished()

    assert desk.done == ["held", "a"]


def test_a_job_finds_room_or_waits_for_it_when_none_may_be_dropped(
    writer: BackgroundWriter[Letter], desk: Desk
) -> None:
    """Four may wait; a fifth is not lost, and not kept in memory beside them: its `submit` blocks."""
    desk.hold(writer)
    for name in ("a", "b", "c", "d"):
        writer.submit(Letter(name), do=desk.do)
    is_asked = threading.Event()

    def all_wanted_and_told(letters: Sequence[Letter]) -> Sequence[Letter]:
        is_asked.set()
        return letters

    fifth = in_a_thread(lambda: writer.submit(Letter("e"), do=desk.do, choose_wanted=all_wanted_and_told))
    assert is_asked.wait(PATIENCE_SECONDS)
    assert [job.name for job in writer.unfinished] == ["held", "a", "b", "c", "d"]
    assert fifth.is_alive()

    desk.may_go_on.set()
    fifth.join()
    writer.wait_until_finished()

    assert desk.done == ["held", "a", "b", "c", "d", "e"]


def test_jobs_that_wait_never_hold_more_than_the_limit(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """Memory is bounded by bytes and not only by their number."""
    desk.hold(writer)
    writer.submit(Letter("a", LARGE_BYTES // 2), do=desk.do)
    writer.submit(Letter("b", LARGE_BYTES // 2), do=desk.do)
    third = in_a_thread(lambda: writer.submit(Letter("c", 1), do=desk.do))
    third.join(0.05)
    assert [job.name for job in writer.unfinished] == ["held", "a", "b"]

    desk.may_go_on.set()
    third.join()
    writer.wait_until_finished()

    assert desk.done == ["held", "a", "b", "c"]


def test_a_large_job_never_waits_while_another_is_done(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """There would be two copies of a large state: its `submit` blocks until the other is done."""
    desk.hold(writer)
    large = in_a_thread(lambda: writer.submit(Letter("large", LARGE_BYTES), do=desk.do, choose_wanted=newest_wanted))
    large.join(0.05)
    assert [job.name for job in writer.unfinished] == ["held"]

    desk.may_go_on.set()
    large.join()
    writer.wait_until_finished()

    assert desk.done == ["held", "large"]


def test_what_a_job_raises_waits_to_be_taken_and_stops_no_other(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """It is given once."""
    for name in ("bad", "a", "bad"):
        writer.submit(Letter(name), do=desk.do)
    writer.wait_until_finished()

    assert [repr(error) for error in writer.take_failures()] == ["LookupError('bad')"] * 2
    assert writer.take_failures() == []
    assert desk.done == ["a"]


@pytest.mark.parametrize("is_background", [True, False])
def test_an_interrupt_in_a_job_is_kept_like_any_error(*, is_background: bool) -> None:
    """The one who asked for the job decides what becomes of it; the writer works on."""
    writer: BackgroundWriter[Letter] = BackgroundWriter(is_background=is_background)
    desk = Desk()

    def interrupt(_: Letter) -> None:
        raise KeyboardInterrupt

    writer.submit(Letter("a"), do=interrupt)
    writer.wait_until_finished()
    writer.submit(Letter("b"), do=desk.do)
    writer.wait_until_finished()

    assert [type(error) for error in writer.take_failures()] == [KeyboardInterrupt]
    assert desk.done == ["b"]


def test_jobs_that_come_fast_supersede_each_other_while_the_writer_rests(
    writer: BackgroundWriter[Letter], desk: Desk
) -> None:
    """After a job that kept a core busy the next is not begun at once, so of many only the newest is done."""

    def busy(letter: Letter) -> None:
        desk.do(letter)
        end_seconds = time.thread_time() + 0.06
        while time.thread_time() < end_seconds:
            pass

    writer.submit(Letter("first"), do=busy, choose_wanted=newest_wanted)
    while not desk.done or [job.name for job in writer.unfinished] == ["first"]:
        time.sleep(0.001)
    for number in range(20):
        writer.submit(Letter(str(number)), do=desk.do, choose_wanted=newest_wanted)
    writer.wait_until_finished()

    assert desk.done == ["first", "19"]


@pytest.mark.parametrize(
    ("count", "size_bytes"), [(1, LARGE_BYTES // 2 + 1), (4, 0)], ids=["a large one", "as many as may wait"]
)
def test_jobs_beside_which_no_other_could_wait_end_the_rest(
    count: int, size_bytes: int, writer: BackgroundWriter[Letter], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next that is wanted too would have to wait for the writing."""
    monkeypatch.setattr(writer_module, "_LONGEST_REST_SECONDS", 100 * PATIENCE_SECONDS)
    monkeypatch.setattr(writer_module, "_RESTS_PER_WORK", float("inf"))
    is_done = threading.Event()
    writer.submit(Letter("first"), do=desk.do)
    while writer.unfinished:
        time.sleep(0.001)

    for number in range(count):
        writer.submit(Letter(str(number), size_bytes), do=lambda _letter: is_done.set())

    assert is_done.wait(PATIENCE_SECONDS)


def test_who_waits_in_the_midst_of_a_submit_has_no_job_done_twice(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """As a signal handler may that comes just then; here the choice of what is wanted stands for it."""

    def wait_meanwhile(letters: Sequence[Letter]) -> Sequence[Letter]:
        desk.may_go_on.set()
        writer.wait_until_finished()
        return letters

    desk.hold(writer)
    writer.submit(Letter("waiting"), do=desk.do)
    writer.submit(Letter("new"), do=desk.do, choose_wanted=wait_meanwhile)
    writer.wait_until_finished()

    assert desk.done == ["held", "waiting", "new"]
    assert not writer.take_failures()


def test_a_failure_keeps_nothing_of_what_was_to_be_written(writer: BackgroundWriter[Letter]) -> None:
    """Its traceback holds the functions it went through, and they hold the state."""
    states: list[weakref.ref[set[int]]] = []

    def encode() -> None:
        state = {1}
        states.append(weakref.ref(state))
        raise LookupError("inner")

    def fail(_letter: Letter) -> None:
        state = {2}
        states.append(weakref.ref(state))
        try:
            encode()
        except LookupError as error:
            raise OSError("outer") from error

    writer.submit(Letter("bad"), do=fail)
    writer.wait_until_finished()
    (failure,) = writer.take_failures()

    assert [state() for state in states] == [None, None]
    assert [str(failure), str(failure.__cause__)] == ["outer", "inner"]


def test_an_error_that_was_being_handled_before_stays_as_it_is(desk: Desk) -> None:
    """A job that is done at once may be asked for where the user's code handles an error of its own."""
    writer: BackgroundWriter[Letter] = BackgroundWriter(is_background=False)

    def wrong() -> None:
        clue = "a local of the user's"
        raise LookupError(clue.upper())

    clues = []
    try:
        wrong()
    except LookupError as error:
        writer.submit(Letter("bad"), do=desk.do)
        clues += [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]

    assert clues == [{"clue": "a local of the user's"}]
    assert [str(failure) for failure in writer.take_failures()] == ["bad"]


def test_a_job_that_waits_for_itself_is_told_so(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """A deadlock would stop the training without a word."""
    writer.submit(Letter("a"), do=lambda _: writer.wait_until_finished())
    writer.submit(Letter("b"), do=lambda _: finish_all())
    writer.wait_until_finished()

    (error,) = writer.take_failures()
    assert isinstance(error, RuntimeError)
    assert "the thread would wait for itself" in str(error)


def test_a_job_may_ask_for_another(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """It comes after it, in either mode."""
    for each in (writer, BackgroundWriter[Letter](is_background=False)):
        desk.done.clear()

        def do(letter: Letter, each: BackgroundWriter[Letter] = each) -> None:
            each.submit(Letter("b"), do=desk.do)
            desk.do(letter)

        each.submit(Letter("a"), do=do)
        each.wait_until_finished()

        assert desk.done == ["a", "b"]


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), KeyboardInterrupt()])
def test_where_no_thread_can_be_started_the_caller_does_the_job(
    error: BaseException, writer: BackgroundWriter[Letter], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the interpreter none starts, and an interrupt may come just then: the job is done all the same."""

    def fail(_: threading.Thread) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        try:
            writer.submit(Letter("a"), do=desk.do)
        except KeyboardInterrupt:
            writer.wait_until_finished()

    assert desk.done == ["a"]
    assert desk.threads == {threading.get_ident()}


def test_an_interrupt_between_two_steps_loses_no_job(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever Ctrl-C strikes, what was submitted is done by whoever comes next."""
    writer: BackgroundWriter[Letter] = BackgroundWriter(is_background=False)

    def interrupt() -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(time, "thread_time", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.submit(Letter("a"), do=desk.do)
    assert [job.name for job in writer.unfinished] == ["a"]
    writer.submit(Letter("b"), do=desk.do)

    assert desk.done == ["a", "b"]


def test_a_second_thread_for_the_same_work_has_nothing_to_do(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """As when two jobs come before the first one's thread has begun."""
    desk.hold(writer)
    second = in_a_thread(writer._work)
    second.join()
    desk.may_go_on.set()
    writer.wait_until_finished()

    assert desk.done == ["held"]


def test_failures_that_nobody_took_are_logged_when_the_writer_goes(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Never is a failure silent."""
    writer: BackgroundWriter[Letter] = BackgroundWriter(is_background=True)
    writer.submit(Letter("bad"), do=desk.do)
    writer.wait_until_finished()

    with caplog.at_level(logging.ERROR, "keras_probckpt"):
        del writer
        gc.collect()

    assert caplog.messages == ["A save failed, and nobody asked after it: LookupError: bad"]


def test_a_writer_that_is_gone_took_nothing_with_it(desk: Desk) -> None:
    """Whoever submits and lets go of the writer gets the job done: the thread keeps what it needs."""
    writer: BackgroundWriter[Letter] = BackgroundWriter(is_background=True)
    desk.hold(writer)
    writer.submit(Letter("a"), do=desk.do)
    (thread,) = writer._threads
    del writer
    gc.collect()

    desk.may_go_on.set()
    thread.join()

    assert desk.done == ["held", "a"]


def test_a_forked_child_has_no_part_in_its_parents_jobs(writer: BackgroundWriter[Letter], desk: Desk) -> None:
    """It waits for nothing, has no failure, does nothing twice, and can write on its own; the parent's go on."""
    writer.submit(Letter("bad"), do=desk.do)
    writer.wait_until_finished()
    desk.hold(writer)
    writer.submit(Letter("a"), do=desk.do)

    child = os.fork()
    if child == 0:  # pragma: no cover - coverage ends with the parent's threads
        code = 1
        try:
            finish_all()
            is_free = (writer.unfinished, writer.take_failures(), desk.done) == ((), [], [])
            writer.submit(Letter("child"), do=desk.do)
            writer.wait_until_finished()
            code = 0 if is_free and desk.done == ["child"] else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    desk.may_go_on.set()
    writer.wait_until_finished()

    assert os.waitstatus_to_exitcode(status) == 0
    assert desk.done == ["held", "a"]
    assert len(writer.take_failures()) == 1


def test_the_end_of_the_interpreter_and_a_fork_are_what_the_writer_is_told_of(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """What the tests of processes above and below show from outside, in this one."""
    writer: BackgroundWriter[Letter] = BackgroundWriter(is_background=True)
    writer.submit(Letter("bad"), do=desk.do)
    with caplog.at_level(logging.ERROR, "keras_probckpt"):
        writer_module._finish_at_exit()
    assert caplog.messages == ["A save failed, and nobody asked after it: LookupError: bad"]

    writer.submit(Letter("bad"), do=desk.do)
    writer.wait_until_finished()
    writer_module._forget_all()

    assert writer.take_failures() == []


PROGRAM = """
import atexit, pathlib, signal, sys, time
{before}
from keras_probckpt.storage import writer as writer_module
from keras_probckpt.storage.writer import BackgroundWriter, finish_all

class Name(str):
    size_bytes = 0

def write(name):
    time.sleep(0.1)
    if name == "bad":
        raise OSError("no disk")
    pathlib.Path(name).write_text("done")

writer = BackgroundWriter(is_background={is_background})
def submit(*names):
    for name in names:
        writer.submit(Name(name), do=write)
{after}
"""


def program(after: str, *, before: str = "", is_background: bool = True) -> str:
    """Write the program of a process that submits and does not wait."""
    return PROGRAM.format(after=after, before=before, is_background=is_background)


def test_all_is_done_when_the_interpreter_ends(fresh_python: FreshPython, tmp_path: pathlib.Path) -> None:
    """A script that just ends, or fails, loses nothing; nor does what is submitted while it ends."""
    after = "atexit.register(lambda: submit('late')); submit('a', 'b', 'c', 'd'); raise SystemExit(7)"
    finished = fresh_python("-c", program(after), succeeds=False)

    assert finished.returncode == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "d", "late"]


def test_a_failure_at_the_end_of_the_interpreter_is_said(fresh_python: FreshPython) -> None:
    """There is no later hook to raise it."""
    finished = fresh_python("-c", program("submit('bad')"))

    assert "A save failed, and nobody asked after it: OSError: no disk" in finished.stderr


@pytest.mark.parametrize("is_background", [True, False])
def test_a_handler_of_sigterm_may_finish_what_is_pending(
    fresh_python: FreshPython, tmp_path: pathlib.Path, *, is_background: bool
) -> None:
    """Whatever the main thread is at. A save in the main thread goes on when the handler returns."""
    after = (
        "def handle(*_):\n    finish_all()\n    print('finished', flush=True)\n"
        "signal.signal(signal.SIGTERM, handle)\n"
        "import os, threading\n"
        "threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()\n"
        "submit('a', 'b', 'c')\ntime.sleep(0.3)\n"
    )
    finished = fresh_python("-c", program(after, is_background=is_background))

    assert finished.stdout == "finished\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_process_that_a_signal_ends_by_an_exit_loses_nothing(
    fresh_python: FreshPython, tmp_path: pathlib.Path
) -> None:
    """The simplest handler there is will do: it ends the program in an orderly way."""
    after = (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        "import os\nsubmit('a', 'b')\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)\n"
    )
    finished = fresh_python("-c", program(after), succeeds=False)

    assert finished.returncode == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
