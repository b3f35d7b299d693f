"""Mirrors that follow a store while a model trains: a thread for each, and training never waits.

What a mirror lacks is known from the two logs (sync.py), so nothing here has to be durable but the
note that there is a mirror. A thread that dies in the midst of anything loses nothing.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

from kept.errors import Damaged, Diverged, InvalidInput, NewerFormat, NotAStore, UnsafeServer
from kept.mirrors.outbox import Outbox
from kept.mirrors.sync import Sync
from kept.store.store import Store, open_bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Tell = Callable[[str], None]
    Where = str | os.PathLike[str] | Store

FINISH_SECONDS = 300.0  # how long the end of a fit waits for a mirror that answers
EXIT_SECONDS = 30.0  # and the end of a process
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 300.0  # between attempts
_NOTICE_AFTER = 1.0
# What waiting does not mend.
_LASTING = (Damaged, Diverged, InvalidInput, NewerFormat, NotAStore, UnsafeServer)
_mirrors: weakref.WeakSet[Mirror] = weakref.WeakSet()


class Mirror:
    """Copies artifacts to another place, on a thread that lives while there is work."""

    def __init__(self, store: Store, where: Where, tell: Tell) -> None:
        """Name the place; it is first asked for on the thread. Raises InvalidInput."""
        self._store, self._tell = store, tell
        self._bucket = where.bucket if isinstance(where, Store) else open_bucket(where)
        self.location = self._bucket.location
        if self.location == store.location:
            raise InvalidInput(f"A store cannot be its own mirror. Received: {self.location!r}")
        self._outbox = Outbox(store.bucket, self.location)
        self._target: Store | None = None
        self._syncs: dict[str, Sync] = {}
        self._due: dict[str, None] = {}  # artifacts, in the order in which they were woken
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._hurry = self._stopped = self._told = False
        self._failures = 0
        self._error: Exception | None = None
        self._pid = os.getpid()
        _mirrors.add(self)

    @property
    def pending(self) -> bool:
        """Whether something is left to copy, or being copied."""
        return self._thread is not None and self._pid == os.getpid()

    def begin(self, artifact: str) -> None:
        """Note durably that the artifact is mirrored, and copy what an earlier run has left."""
        self._outbox.register(artifact)
        self.wake(artifact, *self._outbox.artifacts())

    def wake(self, *artifacts: str) -> None:
        """Have artifacts copied; returns at once."""
        with self._changed:
            self._due |= dict.fromkeys(artifacts)
            if self._thread is None and not self._stopped:
                # A daemon, so that a mirror never keeps a process alive.
                self._thread = threading.Thread(target=self._run, name="kept-mirror", daemon=True)
                self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until all is copied; return whether it is. A mirror that fails gets one attempt."""
        with self._changed:
            failures, self._hurry = self._failures, True
            self._changed.notify_all()
            over = lambda: not self.pending or self._failures > failures  # noqa: E731
            self._changed.wait_for(over, seconds)
            self._hurry = False
            return not self.pending and not self._due

    def finish(self, seconds: float = FINISH_SECONDS) -> None:
        """Wait as long as the mirror answers, at most some seconds; tell what is left."""
        if self.pending and self._error is None and not self.wait(min(_NOTICE_AFTER, seconds)):
            self._tell(f"kept: the last versions are on their way to {self.location}")
        if (self.pending or self._due) and not self.wait(seconds):
            why = f" ({self._error})" if self._error else ""
            self._tell(
                f"kept: not everything is in the mirror {self.location} yet{why}. It is safe in "
                f"{self._store.location}; the next run goes on, or: "
                f"kept sync {self._store.location} {self.location}"
            )

    def stop(self, seconds: float) -> None:
        """End the thread soon, between two attempts or after the copy it is at."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self.pending, seconds)

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while (artifact := self._next()) is not None:
            try:
                self._copy(artifact)
                self._error, pause = None, _FIRST_PAUSE
            except _LASTING as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - told, kept, and tried again
                self._failed(error)
                self._rest(artifact, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _next(self) -> str | None:
        with self._changed:
            artifact = None if self._stopped else next(iter(self._due), None)
            if artifact is None:
                self._thread = None
                self._changed.notify_all()
            else:
                del self._due[artifact]
            return artifact

    def _copy(self, artifact: str) -> None:
        if self._target is None:
            self._target = Store(self._bucket)
        if not self._store.log(artifact).view().head:
            return  # registered, and nothing committed yet
        sync = self._syncs.setdefault(artifact, Sync(self._store, self._target, artifact))
        sync.run(lambda record, version: self._outbox.confirm(artifact, record, version))

    def _failed(self, error: Exception) -> None:
        with self._changed:
            self._error = error
            self._failures += 1
            self._changed.notify_all()
        if not self._told:
            self._told = True
            self._tell(
                f"kept: the mirror {self.location} fails, training goes on and every version is "
                f"safe in {self._store.location}: {error}"
            )

    def _rest(self, artifact: str, seconds: float) -> None:
        with self._changed:
            self._due.setdefault(artifact)
            self._changed.wait_for(lambda: self._hurry or self._stopped, seconds)


class Mirrors:
    """All mirrors of a store."""

    def __init__(self, store: Store, where: Where | Iterable[Where] | None, tell: Tell) -> None:
        """Take one place, several or none. Raises InvalidInput."""
        self._all = [Mirror(store, place, tell) for place in _listed(where)]
        locations = [mirror.location for mirror in self._all]
        if len(set(locations)) < len(locations):
            raise InvalidInput(f"Two mirrors are the same place. Received: {locations!r}")

    def begin(self, artifact: str) -> None:
        """See Mirror.begin."""
        for mirror in self._all:
            mirror.begin(artifact)

    def wake(self, artifact: str) -> None:
        """See Mirror.wake."""
        for mirror in self._all:
            mirror.wake(artifact)

    def finish(self) -> None:
        """See Mirror.finish; the mirrors work side by side, so the time is for all of them."""
        end = time.monotonic() + FINISH_SECONDS
        for mirror in self._all:
            mirror.finish(max(end - time.monotonic(), _NOTICE_AFTER))


def _listed(where: Where | Iterable[Where] | None) -> list[Where]:
    if where is None:
        return []
    return [where] if isinstance(where, (str, os.PathLike, Store)) else list(where)


@atexit.register
def _finish_all() -> None:
    """At exit: a little time for what is on its way; no thread may be inside obstore at the end."""
    end = time.monotonic() + EXIT_SECONDS
    for mirror in list(_mirrors):
        if mirror.pending and mirror._error is None:  # noqa: SLF001 - this module's own
            mirror.wait(max(end - time.monotonic(), 0.0))
    for mirror in list(_mirrors):
        mirror.stop(10.0)
