"""The writer: one background thread per callback, which does jobs in their order.

No failure is silent: the next call of raise_failure or wait raises it on the training thread, and
the thread does the jobs after it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import sys
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from kept.messages import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Job = Callable[[], None]

EXIT_SECONDS = 300.0  # how long a process waits for its last checkpoints when it ends
_NOTICE_AFTER = 1.0  # seconds of waiting before a notice
# A new thread keeps the interpreter's lock for up to 5 ms unless it sleeps. The hook that started
# it would take that much longer (seen in a quarter of the saves).
_HEAD_START = 0.005  # seconds
_NICENESS = 10  # of 19; the writer gets a tenth of what a busy training thread gets
_writers: weakref.WeakSet[Writer] = weakref.WeakSet()
_native_ids: deque[int] = deque(maxlen=16)  # of the newest threads of writers


class Writer:
    """Does jobs on a thread that lives while there are any."""

    def __init__(self) -> None:
        self.reset()
        _writers.add(self)
        _listen_for_exit()

    def reset(self) -> None:
        """Forget everything; for a forked child, which lacks the thread of its parent."""
        self._jobs: deque[Job] = deque()  # the first one is in progress
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._failures: deque[BaseException] = deque()

    @property
    def pending(self) -> int:
        """How many jobs are not done."""
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Add a job; the thread does it after those before it."""
        with self._changed:
            self._jobs.append(job)
            if self._thread is not None:
                return
            # A daemon, so that it never keeps an ending process alive. The exit handler below
            # waits for it.
            self._thread = threading.Thread(target=self._run, name="kept-writer", daemon=True)
            thread = self._thread
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left, so this thread does the job
            self._do_all()

    @property
    def has_failed(self) -> bool:
        """Whether there is an error that has not been raised yet."""
        return bool(self._failures)

    def raise_failure(self) -> None:
        """Raise the oldest error that has not been raised yet."""
        if self._failures:
            raise self._failures.popleft()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all jobs are done, for up to timeout seconds; return whether they are.

        Raises the oldest error that has not been raised yet.
        """
        done = self.is_done(timeout)
        self.raise_failure()
        return done

    def is_done(self, timeout: float | None = None) -> bool:
        """Wait as wait does, and raise nothing."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.pending, timeout)

    def wait_for_now(self) -> None:
        """Wait until the jobs that the writer has now are done."""
        with self._changed:
            newest = self._jobs[-1] if self._jobs else None
            self._changed.wait_for(lambda: newest not in self._jobs)

    def _run(self) -> None:
        time.sleep(_HEAD_START)
        yield_to_training()
        _native_ids.append(threading.get_native_id())
        self._do_all()

    def _do_all(self) -> None:
        while True:
            job = self._jobs[0]
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - raised on the training thread
                self._failures.append(error)
            with self._changed:
                self._jobs.popleft()
                self._changed.notify_all()
                if not self._jobs:
                    self._thread = None
                    return


def wait_for_all() -> None:
    """Wait until every writer of this process has done its jobs of now; raise no error of them.

    A fit that begins calls this: what an interrupted fit has left is written before it, to the same
    paths. It does not wait for what other fits save from now on.
    """
    for writer in [*_writers]:
        writer.wait_for_now()


def yield_to_training() -> None:
    """Lower the priority of this thread and of those that it starts, in favour of the training.

    Measured on 2 cores: a step beside a save then takes 1.1 to 1.3 times as long, not 1.6 to 2
    times. When the training waits for a save, the processor is free, and the save is as fast.
    """
    if sys.platform == "linux":  # elsewhere it would concern the whole process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def wait_with_notice(writer: Writer, what: str, timeout: float | None = None) -> bool:
    """Wait for a writer, with a notice if it takes more than a second.

    Returns whether all jobs are done; raises the oldest error at the end of the wait.
    """
    end = float("inf") if timeout is None else time.monotonic() + timeout
    done = writer.is_done(min(_NOTICE_AFTER, end - time.monotonic()))
    if not done:
        with _notice(writer.pending, what) as show:
            while not done and (left := end - time.monotonic()) > 0:
                done = writer.is_done(min(0.2, left))
                show(writer.pending)
    writer.raise_failure()
    return done


@contextlib.contextmanager
def _notice(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, otherwise a line; yield a function for the number pending."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(file=harmless(sys.stderr))
    if not console.is_terminal:
        console.print(f"kept: {what}, {total} to go", highlight=False)
        yield lambda _: None
        return
    columns = (TextColumn("kept: {task.description}"), BarColumn(), MofNCompleteColumn())
    # No refreshing thread: an ending process cannot start one (from Python 3.12 on).
    options: dict[str, Any] = {"console": console, "transient": True, "auto_refresh": False}
    with Progress(*columns, TimeElapsedColumn(), **options) as progress:
        task = progress.add_task(what, total=total)
        yield lambda pending: progress.update(task, completed=total - pending, refresh=True)


def _reset_all() -> None:
    for writer in list(_writers):
        writer.reset()


os.register_at_fork(after_in_child=_reset_all)


@functools.cache
def _listen_for_exit() -> None:
    """Register the exit handler that waits for all writers.

    Python calls handlers in reverse order, so h5py is imported first: it cannot write after its
    own handler ran, and Keras may import it late.
    """
    import h5py  # noqa: F401

    atexit.register(_finish_all)


def _finish_all() -> None:
    """Wait at exit for pending checkpoints, up to EXIT_SECONDS, and report unwritten ones."""
    end = time.monotonic() + EXIT_SECONDS  # for all of them together
    for writer in list(_writers):
        _finish(writer, end)
    _let_threads_end()


def _finish(writer: Writer, end: float) -> None:
    what = f"writing the last checkpoints, for up to {EXIT_SECONDS:.0f} s"
    start, failed = time.monotonic(), False
    while writer.pending or writer._failures:  # noqa: SLF001 - this module's own
        try:
            if not wait_with_notice(writer, what, end - time.monotonic()):
                _report_unwritten(f"gave up after {EXIT_SECONDS:.0f} s", writer.pending)
                return
        except KeyboardInterrupt:
            _report_unwritten("interrupted", writer.pending)
            return
        except Exception as error:  # noqa: BLE001 - no caller is left to catch it
            sys.stderr.write(f"kept: {error}\n")
            failed = True
    if not failed and time.monotonic() - start > _NOTICE_AFTER:
        sys.stderr.write("kept: the last checkpoints are written\n")


def _report_unwritten(why: str, count: int) -> None:
    checkpoints = "1 checkpoint" if count == 1 else f"{count} checkpoints"
    sys.stderr.write(f"kept: {why} with {checkpoints} unwritten; those committed before are safe\n")


def _let_threads_end(seconds: float = 1.0) -> None:
    """Wait until the writers' threads have ended in the system too, on Linux.

    A thread that used torch frees torch's data after its Python code has ended. If the process
    unloads torch meanwhile, it aborts (seen in 2 of 10 short runs).
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(os.path.exists(f"/proc/self/task/{number}") for number in _native_ids):
            return
        time.sleep(0.005)
