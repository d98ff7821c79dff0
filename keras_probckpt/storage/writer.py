"""Writing beside a training: one job after the other, in a thread that is there only while there is something to do."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import os
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["BackgroundWriter", "Job", "finish_all"]

_logger = logging.getLogger("keras_probckpt")

# The best and the newest, and what other rules may want besides.
_MOST_WAITING = 4
_LIMIT_WAITING_BYTES = 64 * 1024 * 1024
# Of one core's time half a hundredth goes into what a newer job would have superseded.
_RESTS_PER_WORK = 199.0
_LONGEST_REST_SECONDS = 2.0


class Job(Protocol):
    """Something to write."""

    @property
    def size_bytes(self) -> int:
        """Memory that it keeps from being freed."""


AnyJob = TypeVar("AnyJob", bound=Job)


@dataclasses.dataclass(frozen=True, eq=False)
class _Task(Generic[AnyJob]):
    # Together: a writer that kept the function would keep its owner, and the owner's lock, alive.
    job: AnyJob
    do: Callable[[AnyJob], object]


class BackgroundWriter(Generic[AnyJob]):
    """Does jobs in the order they come, one at a time, while a few more may wait.

    Jobs that wait may be dropped for a newer one, as the caller decides. Where too many are left, `submit` blocks until
    there is room: none is lost. Memory: a job holds the values it writes by reference, so it costs nothing until
    training changes them, and then as much as they take. Those that wait hold 64 MiB together at most. A larger one
    waits alone, and never while another is written: there are never two copies of a large state.

    Between two jobs the thread rests for 199 times as long as the first kept a core busy, two seconds at most, so that
    jobs which come faster than that supersede each other before they cost anything. Whoever waits for it, be it in
    `submit` or in `wait_until_finished`, ends the rest; so does a job beside which no other could wait.

    The thread is no daemon: the interpreter does not end before its jobs are done. A forked child has none of them.

    Args:
        is_background: Whether to work in a thread. Otherwise `submit` does the job itself, by the same code.

    Attributes:
        on_failure: Called whenever a job has failed, by the thread that it failed in; None for nothing.
    """

    def __init__(self, *, is_background: bool) -> None:
        self.on_failure: Callable[[], None] | None = None
        self._failures: list[BaseException] = []
        self._is_background = is_background
        self._set_up()
        _writers.add(self)

    def _set_up(self) -> None:
        # Reentrant: a signal handler may come while its own thread holds it.
        self._changed = threading.Condition(threading.RLock())
        self._writing: _Task[AnyJob] | None = None
        self._waiting: list[_Task[AnyJob]] = []
        self._worker: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
        self._hurries = 0
        self._rests_until_seconds = 0.0

    @property
    def unfinished(self) -> tuple[AnyJob, ...]:
        """The job that is being done, then those that wait, oldest first."""
        with self._changed:
            return tuple(task.job for task in (self._writing, *self._waiting) if task is not None)

    @property
    def is_at_work_here(self) -> bool:
        """Whether the calling thread is the one that works, as within a job."""
        return self._worker is threading.current_thread()

    def submit(
        self,
        job: AnyJob,
        *,
        do: Callable[[AnyJob], object],
        choose_wanted: Callable[[Sequence[AnyJob]], Sequence[AnyJob]] = lambda jobs: jobs,
    ) -> None:
        """Have a job done. What it raises waits in `take_failures`.

        Args:
            job: The job.
            do: Does a job of this writer.
            choose_wanted: Of those that wait and this one, oldest first, which to do. Asked only if there is something
                unfinished.

        Raises:
            RuntimeError: If it would wait for the thread that calls it, as from within a job.
        """

        def is_placed() -> bool:
            waiting = self._waiting
            tasks = [*waiting, _Task(job, do)]
            if self.unfinished:
                wanted = {id(wanted) for wanted in choose_wanted([task.job for task in tasks])}
                tasks = [task for task in tasks if id(task.job) in wanted]
            has_room = len(tasks) <= _MOST_WAITING and _size_bytes(tasks) <= _LIMIT_WAITING_BYTES
            is_alone = self._writing is None and len(tasks) <= 1
            if self._waiting is not waiting:  # A signal handler came in between, and waited until they were done.
                return is_placed()
            if has_room or is_alone:
                self._waiting = tasks
                if not self._has_room_for_one_more():
                    self._changed.notify_all()
            return has_room or is_alone

        with self._changed:
            is_done = is_placed()
        if not is_done:
            self._wait_until(is_placed)
        self._go_on()

    def wait_until_finished(self) -> None:
        """Return once every job is done and no thread is left.

        Raises:
            RuntimeError: If it is called from within a job.
        """
        self._wait_until(lambda: not self.unfinished and self._worker is None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def take_failures(self) -> list[BaseException]:
        """Give what jobs raised since the last call, oldest first."""
        if not self._failures:  # Asked after every batch: without the lock.
            return []
        with self._changed:
            failures, self._failures = self._failures, []
        return failures

    def _go_on(self) -> None:
        """See to it that somebody works, if there is work."""
        if self._worker is not None or not self.unfinished:
            return
        if self._is_background:
            thread = threading.Thread(target=self._work, name="keras_probckpt writer", daemon=False)
            with contextlib.suppress(RuntimeError):  # the interpreter is about to end, and starts none any more
                thread.start()
                self._threads = [*(other for other in self._threads if other.is_alive()), thread]
                return
        with self._in_hurry():
            self._work()

    def _wait_until(self, is_true: Callable[[], bool]) -> None:
        """Wait for a thread's work, or do it where there is no thread, as after an interrupt at its start."""
        with self._in_hurry():
            while True:
                with self._changed:
                    if is_true():
                        return
                    if self.is_at_work_here:
                        raise RuntimeError(
                            "A save cannot be waited for while it is reported, as in a function of on_commit: the "
                            "thread would wait for itself. Wait in the thread that trains."
                        )
                    if self._worker is not None:
                        self._changed.wait()
                        continue
                self._work()

    @contextlib.contextmanager
    def _in_hurry(self) -> Iterator[None]:
        with self._changed:
            self._hurries += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._hurries -= 1

    def _work(self) -> None:
        """Do jobs until there are none, unless another thread is at it."""
        this = threading.current_thread()
        try:
            with self._changed:
                if self._worker is not None:
                    return
                self._worker = this
            while (task := self._take()) is not None:
                self._attempt(task)
                del task  # what it holds is freed before the rest, not after
        finally:
            # Mostly it has said already that it is not at work. To end it then needs no lock: who waits for its end may
            # hold that, as a signal handler does that came while its own thread held it.
            if self._worker is this:
                with self._changed:
                    self._worker = None
                    self._changed.notify_all()

    def _take(self) -> _Task[AnyJob] | None:
        with self._changed:
            if self._writing is None:
                while self._may_rest() and (rest := self._rest_seconds()) > 0.0:
                    self._changed.wait(rest)
                self._writing, self._waiting = (self._waiting[0], self._waiting[1:]) if self._waiting else (None, [])
            if self._writing is None:
                # Together with the look: a job that is submitted after it finds nobody at work.
                self._worker = None
            self._changed.notify_all()
            return self._writing

    def _may_rest(self) -> bool:
        return bool(self._waiting) and not self._hurries and self._has_room_for_one_more()

    def _has_room_for_one_more(self) -> bool:
        """Whether another job as large as the last could wait beside those that do."""
        tasks = [*self._waiting, *self._waiting[-1:]]
        return len(tasks) <= _MOST_WAITING and _size_bytes(tasks) <= _LIMIT_WAITING_BYTES

    def _rest_seconds(self) -> float:
        return self._rests_until_seconds - time.monotonic()

    def _attempt(self, task: _Task[AnyJob]) -> None:
        handled = sys.exc_info()[1]
        start_seconds, failures = time.thread_time(), []
        try:
            task.do(task.job)
        except BaseException as error:  # noqa: BLE001 - it is raised where training is, an interrupt too
            _let_go(error, until=handled)
            failures = [error]
        rest_seconds = min(_RESTS_PER_WORK * (time.thread_time() - start_seconds), _LONGEST_REST_SECONDS)
        with self._changed:
            self._failures += failures
            self._writing = None
            self._rests_until_seconds = time.monotonic() + rest_seconds
            self._changed.notify_all()
        on_failure = self.on_failure  # Of another thread, which may set it to None.
        if failures and on_failure is not None:
            on_failure()

    def _forget(self) -> None:
        """Own nothing in a forked child: jobs, failures and the thread are the parent's."""
        self._failures = []
        self._set_up()

    def _report(self) -> None:
        """Say what failed and was never taken away."""
        for failure in self.take_failures():
            _logger.error("A save failed, and nobody asked after it: %s: %s", type(failure).__name__, failure)

    def __del__(self) -> None:
        self._report()


_writers: weakref.WeakSet[BackgroundWriter[Any]] = weakref.WeakSet()


def _size_bytes(tasks: Iterable[_Task[Any]]) -> int:
    return sum(task.job.size_bytes for task in tasks)


def _let_go(error: BaseException | None, *, until: BaseException | None) -> None:
    """Let go of what the functions held that an error went through: its traceback would keep a whole state alive.

    Args:
        error: The error; those that led to it are followed too.
        until: One that was being handled before, which is not of our functions.
    """
    while error is not None and error is not until:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def finish_all() -> None:
    """Return once all that any writer of this process has to write is durable.

    For the end of a process: a handler of SIGTERM may call it. Errors stay where they are, to be raised in the training
    or, if it has ended, to be logged. A save that the calling thread itself is at, as where the signal came in the
    midst of one that is not in the background, is left to go on when the handler returns.
    """
    for writer in list(_writers):
        if not writer.is_at_work_here:
            writer.wait_until_finished()


def _finish_at_exit() -> None:
    finish_all()
    for writer in list(_writers):
        writer._report()  # noqa: SLF001 - the other half of the class, run by the interpreter


def _forget_all() -> None:
    for writer in list(_writers):
        writer._forget()  # noqa: SLF001 - the other half of the class, run by the interpreter


# Threads have ended by then; what is written here is what came after them.
atexit.register(_finish_at_exit)
getattr(os, "register_at_fork", dict)(after_in_child=_forget_all)  # Windows has no fork.
