"""Deletes the versions and files that the rules of a callback do not keep.

Before a deletion the mirrors are asked whether they still have what they confirmed. A mirror may be
away or hang, so a thread does this: neither training nor the writer waits for a mirror. On a
full disk the writer has to free bytes at once; it asks no server then, see Upkeep.make_room.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from kept.bucket.reach import ends
from kept.errors import KeptError, StoreReplaced
from kept.fork_safe_lock import fork_safe_lock
from kept.messages import show
from kept.store.receipts import receipts_of
from kept.training.save.writer import yield_to_training

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.retention.keep import Keep
    from kept.store.store import Store
    from kept.training.upkeep.local_files import LocalFiles

FINISH_SECONDS = 30.0  # how long the end of a fit waits for mirrors


class Retention:
    """Applies keep= and keep_local= of a callback; a forked child can use it, too."""

    def __init__(self, keep: Keep | None, local: LocalFiles | None) -> None:
        self._keep, self._local = keep, local
        self._lock = fork_safe_lock()
        self._due: tuple[Store, str] | None = None
        self._thread: threading.Thread | None = None

    def apply(self, store: Store, name: str) -> None:
        """Apply the rules to an artifact, on a thread if a mirror of a local store is asked.

        For a store in object storage, the calling thread is that of a courier, which may wait.
        """
        if store.bucket.is_remote or not self._may_ask(store, name):
            self._apply(store, name)
        else:
            self._start(store, name)

    def finish(self, store: Store, name: str) -> None:
        """Apply the rules once more, and wait a while for that, if all servers answer."""
        if not (store.bucket.is_remote or self._may_ask(store, name)):
            self._apply(store, name)
            return
        thread = self._start(store, name)
        if thread is not None:
            ends(thread, FINISH_SECONDS)

    def _may_ask(self, store: Store, name: str) -> bool:
        """Return whether the rules may ask a mirror, or it is not known whether there is one."""
        if self._keep is None and self._local is None:
            return False
        try:
            return bool(receipts_of(store.bucket, name))
        except (KeptError, OSError):  # the rules fail by the same error, and report it
            return True

    def _start(self, store: Store, name: str) -> threading.Thread | None:
        with self._lock:
            self._due = store, name
            if self._thread is None or not self._thread.is_alive():
                # No daemon: a process may not end while a thread is inside obstore.
                thread = threading.Thread(target=self._run, name="kept-retention")
                with contextlib.suppress(RuntimeError):  # a process that ends starts no threads
                    thread.start()
                    self._thread = thread
            return self._thread

    def _run(self) -> None:
        yield_to_training()
        while (due := self._next()) is not None:
            self._apply(*due)

    def _next(self) -> tuple[Store, str] | None:
        with self._lock:
            due, self._due = self._due, None
            if due is None:
                self._thread = None
            return due

    def _apply(self, store: Store, name: str) -> None:
        if self._keep is not None:
            with reported(f"old versions of {name} could not be deleted, they stay"):
                store.prune(name, self._keep)
        if self._local is not None:
            with reported(f"old files of {name} could not be removed, they stay"):
                self._local.tidy(store, name)


@contextlib.contextmanager
def reported(what: str) -> Iterator[None]:
    """Print an error of the block as a message."""
    try:
        yield
    except StoreReplaced:  # the save, or what sends to the store, reports it
        pass
    except Exception as error:  # noqa: BLE001 - the checkpoint itself is safe
        show(f"{what}: {error}")
