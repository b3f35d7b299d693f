"""Couriers: each sends what is due to one destination, on a thread, and training never waits.

What is due is known from what is on the disk (two logs, or an outbox), so a courier need not be
durable: a thread that dies in the midst of anything loses nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, NamedTuple, Protocol

from kept.errors import (
    Damaged,
    Diverged,
    InvalidInput,
    NewerFormat,
    NotAStore,
    Refused,
    RunEnded,
    UnsafeServer,
)
from kept.messages import show
from kept.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from kept.bucket.transfer import Progress

FINISH_SECONDS = 300.0  # how long the end of a fit waits for a destination that answers
EXIT_SECONDS = 30.0  # and the end of a process
NOTICE_SECONDS = 1.0  # until the user is told what is waited for
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 300.0  # between attempts
# What waiting does not mend.
_LASTING = (
    Damaged, Diverged, InvalidInput, NewerFormat, NotAStore, Refused, RunEnded, UnsafeServer
)  # fmt: skip
_couriers: weakref.WeakSet[Courier] = weakref.WeakSet()


class Words(NamedTuple):
    """What the user is told of a destination."""

    destination: str  # "the mirror s3://bucket/prefix"
    safe: str  # where everything is until it arrives
    later: str  # how what is left arrives: "the next run goes on, or: kept sync …"
    left: Callable[[], str] = lambda: "not everything is"  # … in the destination yet


class Sends(Protocol):
    """Brings to a destination what a key names: an artifact, or all that waits for the place."""

    def send(self, what: str) -> None:
        """Return when the destination has all that belongs to the key; raises if it cannot."""


def _nobody(done: int, total: int) -> None:
    """Watch nothing."""


class Courier:
    """Sends what is due; one that fails tries again, ever more seldom, and tells the user once."""

    def __init__(
        self,
        sender: Sends,
        words: Words,
        *,
        held: ExitStack | None = None,
        counts: bool = False,
    ) -> None:
        """Take the sender, and the words for messages.

        held has what the sender holds while something is left to send; the courier closes it once
        nothing is. counts: the sender reports bytes to told.
        """
        self._sender, self._words, self._held = sender, words, held
        self._counts = counts
        self.start_anew()
        _couriers.add(self)

    def start_anew(self) -> None:
        """Forget what is due; for a forked child, which lacks the thread that the parent has.

        The lock is new as well: a thread may have held it when the process was forked.
        """
        self._watch: Progress = _nobody
        self._due: dict[str, None] = {}  # keys, in the order in which they were woken
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._hurry = self._stopped = self._told = False
        self._failures = 0
        self._error: Exception | None = None

    @property
    def pending(self) -> bool:
        """Whether something is being sent, or will be tried again."""
        return self._thread is not None

    @property
    def fails(self) -> bool:
        """Whether the last attempt has failed."""
        return self._error is not None

    def wake(self, *keys: str) -> None:
        """Have what belongs to the keys sent; returns at once."""
        with self._changed:
            self._due |= dict.fromkeys(keys)
            if self._thread is None and not self._stopped:
                # A daemon, so that a courier never keeps a process alive.
                thread = threading.Thread(target=self._run, name="kept-courier", daemon=True)
                with contextlib.suppress(RuntimeError):  # a process that ends has no more of them
                    thread.start()
                    self._thread = thread

    def wait(self, seconds: float) -> bool:
        """Wait until all is sent; return whether it is. One that fails gets one attempt."""
        with self._changed:
            failures, self._hurry = self._failures, True
            self._changed.notify_all()
            over = lambda: not self.pending or self._failures > failures  # noqa: E731
            self._changed.wait_for(over, seconds)
            self._hurry = False
            return not self.pending and not self._due

    def finish(self, seconds: float = FINISH_SECONDS) -> None:
        """Wait as long as the destination answers, at most some seconds; tell what is left."""
        words = self._words
        if self.pending and not self.fails and not self.wait(min(NOTICE_SECONDS, seconds)):
            show(f"the last versions are on their way to {words.destination}")
        if (self.pending or self._due) and not self._watched(seconds):
            why = f" ({self._error})" if self._error else ""
            show(
                f"{words.left()} in {words.destination} yet{why}. "
                f"Safe in {words.safe}; {words.later}"
            )

    def told(self, done: int, total: int) -> None:
        """Take note of the bytes that are sent, and of those that are to be."""
        self._watch(done, total)

    def _watched(self, seconds: float) -> bool:
        """Wait as wait does, and show how far it is."""
        with progress(f"To {self._words.destination}", "bytes" if self._counts else None) as watch:
            self._watch = watch
            try:
                return self.wait(seconds)
            finally:
                self._watch = _nobody

    def stop(self, seconds: float) -> None:
        """End the thread soon, between two attempts or after what it is sending."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self.pending, seconds)

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while (key := self._next()) is not None:
            try:
                self._sender.send(key)
                self._error, pause = None, _FIRST_PAUSE
            except _LASTING as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - told, kept, and tried again
                self._failed(error)
                self._rest(key, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _next(self) -> str | None:
        with self._changed:
            key = None if self._stopped else next(iter(self._due), None)
            if key is None:
                if self._held is not None:
                    self._held.close()
                self._thread = None
                self._changed.notify_all()
            else:
                del self._due[key]
            return key

    def _failed(self, error: Exception) -> None:
        with self._changed:
            self._error = error
            self._failures += 1
            self._changed.notify_all()
        if not self._told:
            self._told = True
            show(
                f"{self._words.destination} fails, training goes on and every version is "
                f"safe in {self._words.safe}: {error}"
            )

    def _rest(self, key: str, seconds: float) -> None:
        with self._changed:
            self._due.setdefault(key)
            self._changed.wait_for(lambda: self._hurry or self._stopped, seconds)


def finish_all(couriers: list[Courier]) -> None:
    """See Courier.finish; they work side by side, so the time is for all of them."""
    end = time.monotonic() + FINISH_SECONDS
    for courier in couriers:
        courier.finish(max(end - time.monotonic(), NOTICE_SECONDS))


def _start_all_anew() -> None:
    for courier in list(_couriers):
        courier.start_anew()


os.register_at_fork(after_in_child=_start_all_anew)


@atexit.register
def _exit() -> None:
    """At exit: a little time for what is on its way; no thread may be inside obstore at the end."""
    end = time.monotonic() + EXIT_SECONDS
    for courier in list(_couriers):
        if courier.pending and not courier.fails:
            courier.wait(max(end - time.monotonic(), 0.0))
    for courier in list(_couriers):
        courier.stop(10.0)
