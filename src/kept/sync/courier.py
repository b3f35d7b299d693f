"""Couriers: each sends to one destination on a thread, so training never waits.

The disk has everything that a courier needs: two logs, or an outbox. So a courier need not be
durable, and a thread that dies at any moment loses nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from kept.bucket.reach import PATIENCE, answers
from kept.errors import (
    Damaged,
    Diverged,
    InvalidInput,
    NewerFormat,
    NotAStore,
    Refused,
    RunEnded,
    StoreReplaced,
    Unreachable,
    UnsafeServer,
)
from kept.messages import show
from kept.parallel import mapped
from kept.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress

FINISH_SECONDS = 300.0  # how long the end of a fit waits for a destination that answers
EXIT_SECONDS = 30.0  # how long the end of a process waits
NOTICE_SECONDS = 1.0  # after which a message says what the process waits for
_ROUND = 20.0  # seconds between two looks whether the destination answers
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 300.0  # seconds between attempts
# Waiting does not repair these.
_LASTING = (
    Damaged, Diverged, InvalidInput, NewerFormat, NotAStore, Refused, RunEnded, StoreReplaced,
    UnsafeServer,
)  # fmt: skip
_couriers: weakref.WeakSet[Courier] = weakref.WeakSet()


@dataclass(frozen=True)
class Words:
    """The texts about a destination in messages."""

    destination: str  # "the mirror s3://bucket/prefix"
    safe: str  # where the checkpoints are until they arrive
    later: str  # how they arrive later: "the next run continues, or: kept sync …"
    has_all: ClassVar[bool] = True  # False: the sender itself reports at the end what is refused

    def left(self) -> str:
        """Return what is missing, for "… in the destination yet"."""
        return "not everything is"


class Sends(Protocol):
    """Sends to a destination."""

    def send(self, what: str) -> None:
        """Return when the destination has all that belongs to a key; raise if that fails."""


class Courier:
    """Sends the keys it is woken for. It retries with growing pauses, and reports one failure."""

    def __init__(
        self,
        sender: Sends,
        words: Words,
        *,
        counts: bool = False,
        buckets: Sequence[Bucket] = (),
    ) -> None:
        """Take the sender, and the words for messages.

        Pass counts if the sender calls count. finish waits only while the buckets answer.
        """
        self._sender, self._words = sender, words
        self._counts, self._buckets = counts, buckets
        self.reset()
        _couriers.add(self)

    def reset(self) -> None:
        """Forget the keys; for a forked child, which lacks the thread of its parent.

        The lock is new as well, because a thread may have held it during the fork.
        """
        self._progress: Progress | None = None
        self._keys: dict[str, None] = {}  # to send, in the order of wake
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._hurry = self._stopped = False
        self._reported: set[bool] = set()  # failures: one that passes, and one that does not
        self._failures = 0  # that may pass
        self._error: Exception | None = None
        self._lasting: dict[str, Exception] = {}  # by key: what another attempt does not repair
        self._is_left_reported = False  # whether finish has reported what was left

    @property
    def pending(self) -> bool:
        """Whether the courier sends something, or will try it again."""
        return self._thread is not None

    @property
    def fails(self) -> bool:
        """Whether the last attempt has failed."""
        return self._error is not None

    def wake(self, *keys: str) -> None:
        """Send what belongs to the keys; return at once."""
        with self._changed:
            self._is_left_reported = False
            self._keys |= dict.fromkeys(keys)
            if self._thread is None and not self._stopped:
                # A daemon, so that a courier never keeps a process alive.
                thread = threading.Thread(target=self._run, name="kept-courier", daemon=True)
                with contextlib.suppress(RuntimeError):  # a process that ends starts no threads
                    thread.start()
                    self._thread = thread

    def wait(self, seconds: float) -> bool:
        """Wait until all is sent; return whether it is. After a failure, wait for one attempt.

        A failure that lasts ends no wait: the courier continues with the next key at once, and
        holds the claim of an outbox meanwhile.
        """
        with self._changed:
            before, self._hurry = self._failures, True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self.pending or self._failures > before, seconds)
            self._hurry = False
            return not self.pending and not self._keys

    def finish(self, seconds: float = FINISH_SECONDS) -> None:
        """Wait while the destination answers, up to some seconds; report what is left."""
        finish_all([self], seconds)

    def is_answered(self) -> bool:
        """Return whether all buckets answer in time; that is known at once if nothing is sent."""
        patience = NOTICE_SECONDS if self.fails else PATIENCE - NOTICE_SECONDS
        return not self.pending or all(answers(bucket, patience) for bucket in self._buckets)

    def wait_briefly(self, seconds: float) -> None:
        """Wait until all is sent, if that may take only a moment; otherwise print a notice."""
        if self.pending and not self.fails and not self.wait(seconds):
            show(f"the last versions are on their way to {self._words.destination}")

    def wait_and_report(self, seconds: float, *, answered: bool) -> None:
        """Wait while the destination answers, if it has just answered; report what is left."""
        words = self._words
        is_left = self.pending or bool(self._keys)
        if is_left and answered:
            is_left = not self._wait_with_progress(seconds)
        elif is_left:
            self._error = self._error or Unreachable("it does not answer")
        if is_left and not self._lasting:
            self._show_left()
        for error in dict.fromkeys(map(str, self._lasting.values() if words.has_all else ())):
            show(f"{words.left()} in {words.destination}. Safe in {words.safe}: {error}")
        self._is_left_reported = True

    def report_at_exit(self) -> None:
        """Report what the process leaves, unless finish has reported it."""
        if (self.pending or self._keys or self._lasting) and not self._is_left_reported:
            self._is_left_reported = True
            self._show_left()

    def _show_left(self) -> None:
        words, why = self._words, f" ({self._error})" if self._error else ""
        left = f"{words.left()} in {words.destination} yet{why}"
        show(f"{left}. Safe in {words.safe}; {words.later}")

    def count(self, done: int, total: int) -> None:
        """Show the bytes that are sent, of all, if finish waits."""
        if self._progress is not None:
            self._progress(done, total)

    def _wait_with_progress(self, seconds: float) -> bool:
        with progress(f"To {self._words.destination}", "bytes" if self._counts else None) as shown:
            self._progress = shown
            try:
                return self._wait_while_answered(seconds)
            finally:
                self._progress = None

    def _wait_while_answered(self, seconds: float) -> bool:
        """Wait as wait does, but only while the buckets answer; show now and then what for."""
        begun = time.monotonic()
        before = self._failures
        while True:
            left = seconds - (time.monotonic() - begun)
            if self.wait(min(left, _ROUND)):
                return True
            if not self.pending or self._failures > before or left <= _ROUND:
                return False
            if not self.is_answered():
                self._error = self._error or Unreachable("it does not answer")
                return False
            show(f"waiting for {self._words.destination} ({time.monotonic() - begun:.0f} s so far)")

    def stop(self, seconds: float) -> None:
        """End the thread: between two attempts, or after the current one."""
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
                if self._lasting.pop(key, None):
                    self._reported -= {True}
            except _LASTING as error:
                self._lasting[key] = error
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - reported, kept, and tried again
                self._failed(error)
                self._rest(key, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _next(self) -> str | None:
        with self._changed:
            key = None if self._stopped else next(iter(self._keys), None)
            if key is None:
                self._thread = None
                self._changed.notify_all()
            else:
                del self._keys[key]
            return key

    def _failed(self, error: Exception) -> None:
        is_lasting = isinstance(error, _LASTING)
        with self._changed:
            self._error = error
            self._failures += not is_lasting
            self._changed.notify_all()
        if is_lasting not in self._reported:
            self._reported.add(is_lasting)
            show(
                f"sending to {self._words.destination} failed; training continues, and every "
                f"version is safe in {self._words.safe}: {error}"
            )

    def _rest(self, key: str, seconds: float) -> None:
        with self._changed:
            self._keys.setdefault(key)
            self._changed.wait_for(lambda: self._hurry or self._stopped, seconds)


def finish_all(couriers: Sequence[Courier], seconds: float = FINISH_SECONDS) -> None:
    """Finish several couriers; they work at the same time, so they share the seconds.

    Their places are asked at the same time, too: several silent ones cost no more than one.
    """
    begun, briefly = time.monotonic(), min(NOTICE_SECONDS, seconds)
    for courier in couriers:
        left = begun + briefly - time.monotonic()
        courier.wait_briefly(max(left, 0.0))
    answered = list(mapped(Courier.is_answered, couriers, len(couriers)))
    for courier, is_answered in zip(couriers, answered, strict=True):
        left = max(begun + seconds - time.monotonic(), briefly)
        courier.wait_and_report(left, answered=is_answered)


def _reset_all() -> None:
    for courier in list(_couriers):
        courier.reset()


os.register_at_fork(after_in_child=_reset_all)


@atexit.register
def _exit() -> None:
    """Wait a little for couriers, report what is left, and stop them.

    No thread may be inside obstore at the exit.
    """
    end = time.monotonic() + EXIT_SECONDS
    for courier in list(_couriers):
        if courier.pending and not courier.fails:
            courier.wait(max(end - time.monotonic(), 0.0))
    for courier in list(_couriers):
        courier.report_at_exit()
        courier.stop(10.0)
