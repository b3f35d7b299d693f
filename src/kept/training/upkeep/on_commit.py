"""Calls on_commit= of a callback for each version, once the version is in the store.

Invariants:
1. A version is durable in the store before its call begins.
2. The calls run one at a time, in the order of the versions, on one thread. No step and no save
   waits for them.
3. No error of a call reaches the training, and none ends the thread, whatever its text or the
   result of the call does.
4. As long as a call is pending, keep= deletes nothing: the call may log what it decides by.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Mapping
from reprlib import repr as short
from typing import TYPE_CHECKING, Protocol

from kept.messages import show
from kept.training.save.writer import yield_to_training

if TYPE_CHECKING:
    from kept.store.version import Version
    from kept.training.options import Options

EVALUATION = "on_commit"  # the name of the evaluation that logs the metrics
FINISH_SECONDS = 300.0  # how long the end of a fit waits for the calls
EXIT_SECONDS = 10.0  # how long the end of a process waits; no thread of obstore may outlive it
_NOTICE_AFTER = 1.0  # seconds of waiting before a notice
_OWN_FRAMES = 2  # of kept in a traceback, before those of the function
_running: weakref.WeakSet[CommitCalls] = weakref.WeakSet()


class Follows(Protocol):
    """Does what follows the calls."""

    def called(self, version: Version) -> None:
        """Handle that no call is pending, after that of a version; raise nothing."""


class CommitCalls:
    """The calls of one callback; without on_commit= there are none."""

    def __init__(self, options: Options, follows: Follows) -> None:
        self._call, self._follows = options.on_commit, follows
        self.reset()
        _running.add(self)

    def reset(self) -> None:
        """Forget everything; for a forked child, which lacks the thread of its parent."""
        self._changed = threading.Condition()
        self._open: deque[Version] = deque()  # the first one is in progress
        self._seen: set[tuple[str, int]] = set()
        self._thread: threading.Thread | None = None
        self._is_closed = self._is_given_up = False
        self._logged: set[str] = set()  # artifacts that got metrics since the last finish
        self._reported: set[str] = set()

    def committed(self, version: Version) -> None:
        """Call on_commit with a version that is in the store now; return at once.

        A repeated content is the version that had its call already.
        """
        key = version.name, version.index
        if self._call is None or key in self._seen:
            return
        with self._changed:
            self._seen.add(key)
            self._is_closed = self._is_given_up = False
            self._open.append(version)
            if self._thread is None:
                # A daemon, so that a call never keeps a process alive.
                thread = threading.Thread(target=self._run, name="kept-on-commit", daemon=True)
                try:
                    thread.start()
                    self._thread = thread
                except RuntimeError:  # a process that ends starts no threads
                    self._open.clear()
                    show(f"the process ends, so {version.reference} gets no call of on_commit")

    @property
    def pending(self) -> bool:
        """Whether a version waits for its call, or for the end of it."""
        return bool(self._open)

    def wait(self, seconds: float) -> bool:
        """Wait until every call has ended, for up to some seconds; return whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, max(seconds, 0.0))

    def finish(self) -> set[str]:
        """Wait a while for the calls, with a notice; return the artifacts that got metrics.

        A call that does not end is waited for once.
        """
        end = time.monotonic() + FINISH_SECONDS
        if not self._is_given_up and not self.wait(_NOTICE_AFTER):
            show(f"waiting for on_commit of {self._names()}, for up to {FINISH_SECONDS:.0f} s")
            if not self.wait(end - time.monotonic()):
                self._is_given_up = True
                show(
                    f"on_commit of {self._names()} has not ended. It continues while this process "
                    "lives; the versions are safe"
                )
        with self._changed:
            logged, self._logged = self._logged, set()
        return logged

    def close(self) -> int:
        """Begin no further call; return how many versions get none because of that."""
        with self._changed:
            self._is_closed = True
            left = max(len(self._open) - 1, 0)
            while len(self._open) > 1:
                self._open.pop()
            return left

    def _names(self) -> str:
        with self._changed:
            waiting = [version.reference for version in self._open]
        more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        return f"{waiting[0]}{more}" if waiting else "the last version"

    def _run(self) -> None:
        try:
            yield_to_training()
            while (version := self._first()) is not None:
                with contextlib.suppress(BaseException):  # of a report that fails, too
                    self._handle(version)
                with self._changed:
                    self._open.popleft()
                if not self._open:
                    self._follows.called(version)
        finally:  # whatever happens, nothing waits for a thread that has ended
            with self._changed:
                if self._thread is threading.current_thread():
                    self._thread = None
                    self._changed.notify_all()

    def _first(self) -> Version | None:
        """Return the version whose call is next; None ends the thread."""
        with self._changed:
            if self._open and not self._is_closed:
                return self._open[0]
            self._open.clear()
            self._thread = None
            self._changed.notify_all()
            return None

    def _handle(self, version: Version) -> None:
        """Call the function, log the metrics that it returns, and report what failed."""
        try:
            problem = self._problem(version)
        except BaseException as error:  # also sys.exit(): the run is unharmed
            logging.getLogger("kept").debug("on_commit of %s", version.reference, exc_info=error)
            problem = f"failed with {type(error).__name__}: {_text(error)}{_place(error)}"
        if problem is not None:
            self._report(version, problem)

    def _problem(self, version: Version) -> str | None:
        """Call the function, and log the metrics that it returns; return what is wrong."""
        assert self._call is not None, "no version waits without a function"
        result = self._call(version)
        if result is None:
            return None
        if not isinstance(result, Mapping):
            kind = type(result).__name__
            return f"returned {short(result)} of type {kind}; return a dict of numbers, or None"
        try:
            version.log_metrics(result, evaluation=EVALUATION)
        except Exception as error:  # noqa: BLE001 - the run is unharmed
            return f"returned metrics that could not be logged: {_text(error)}"
        with self._changed:
            self._logged.add(version.name)
        return None

    def _report(self, version: Version, what: str) -> None:
        """Print a failure in one line; the same failure of later versions is printed once."""
        first = " ".join(what.split())
        if first not in self._reported:
            self._reported.add(first)
            show(
                f"on_commit of {version.reference} {first}. Training continues. The same failure "
                "is not printed again; log level DEBUG of the logger 'kept' has the traceback"
            )


def _text(error: BaseException) -> str:
    """Return the text of an error, whose __str__ may fail."""
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - the code of the user
        return "its text cannot be read"


def _place(error: BaseException) -> str:
    """Return where an error was raised in the function, empty for none."""
    frames = list(traceback.walk_tb(error.__traceback__))[_OWN_FRAMES:]
    if not frames:
        return ""
    frame, line = frames[-1]
    return f" ({os.path.basename(frame.f_code.co_filename)}:{line})"


def _reset_all() -> None:
    for calls in list(_running):
        calls.reset()


os.register_at_fork(after_in_child=_reset_all)


@atexit.register
def _exit() -> None:
    end = time.monotonic() + EXIT_SECONDS
    for calls in list(_running):
        if not calls.wait(end - time.monotonic()):
            left = calls.close()
            more = f", and {left} versions got no call" if left else ""
            show(f"the process ends during a call of on_commit{more}")
