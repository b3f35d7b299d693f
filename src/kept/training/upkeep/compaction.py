"""Compacts the versions of a run, by a process beside it (kept/store/compact/worker.py).

Invariants: only the hook that ends the fit waits for the process, and only for FINISH_MAX seconds.
The process pauses from the start of a save until its version is durable and its file published.
Versions that it does not reach stay raw, and can be read just as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from kept.bucket.local import LocalBucket
from kept.errors import InvalidCheckpoint
from kept.messages import show, show_once
from kept.store.compact.worker import FINISH, GO, PAUSE
from kept.units import size_text

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.store.version import Version

LEAST = 16_000_000  # new bytes of a run before "auto" starts a process, which costs 0.3 s of CPU
FINISH_SHARE, FINISH_AUTO, FINISH_MAX = 1 / 50, 30.0, 300.0  # of the fit's time; seconds
_NOTICE_AFTER = 1.0  # seconds of waiting before a notice
_LAST_STEP = 2.0  # seconds that the process gets to end its step


def check_can_compact(compression: str, store: Store | None) -> None:
    """Raise InvalidCheckpoint if "max" is asked for and the store is not in a folder."""
    if compression == "max" and not isinstance(store and store.bucket, LocalBucket):
        location = store.location if store else None
        raise InvalidCheckpoint(
            "compression='max' needs a store in a folder. Compact object storage with the command "
            f"kept compact. Received: compression='max', store={location!r}"
        )


class BackgroundCompactor:
    """Starts the process if there is enough work, and pauses it during saves.

    Only for stores in a folder. The training thread and the writer thread call its methods.
    """

    def __init__(self, compression: str) -> None:
        self._is_max = compression == "max"
        self._is_off = compression == "none" or not sys.executable
        self._lock = threading.Lock()
        self._saves = 0  # in progress
        self._bytes_new = 0
        self._name = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()

    def begin(self) -> None:
        """Note that a fit begins."""
        self._began = time.monotonic()

    def save_begins(self) -> None:
        """Pause the process; returns at once."""
        with self._lock:
            self._saves += 1
            self._order(PAUSE)

    def save_ends(self) -> None:
        """Let the process continue, unless another save is in progress."""
        with self._lock:
            self._saves -= 1
            if not self._saves:
                self._order(GO)

    def committed(self, version: Version) -> None:
        """Note a new version; start the process if there is enough to compact."""
        bucket = version.store.bucket
        if not isinstance(bucket, LocalBucket):
            return
        with self._lock:
            # A version that arrived from the outbox was looked up, so only its metadata know it.
            new = version.bytes_new
            self._bytes_new += int(version.metadata.get("bytes_new", 0)) if new is None else new
            if self._is_off or (self._bytes_new < LEAST and not self._is_max):
                return
            if version.name != self._name:
                self._end()
            if self._process is None:
                self._name = version.name
                self._start(bucket.root)

    def finish(self) -> str | None:
        """Wait a while for the rest, at the end of a fit; return a report for the user.

        The wait is up to FINISH_MAX seconds with "max", and a small share of the fit's time with
        "auto".
        """
        with self._lock:
            process = self._process
            self._order(FINISH)
        if process is None:
            return None
        auto = min(FINISH_AUTO, FINISH_SHARE * (time.monotonic() - self._began))
        seconds = FINISH_MAX if self._is_max else auto
        try:
            is_done = self._wait(process, seconds)
        finally:
            report = self.close()
        left = "" if is_done else "; the next run compacts the rest, or run: kept compact"
        return f"{report or 'nothing could be compacted'}{left}"

    def close(self) -> str | None:
        """End the process; return a report if it compacted any blobs."""
        with self._lock:
            return self._end()

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> bool:
        """Return whether the process ended by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(_NOTICE_AFTER, seconds))
            return True
        if seconds > _NOTICE_AFTER:
            show(f"compacting {self._name} for up to {seconds:.0f} s")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds - _NOTICE_AFTER)
                return True
        return False

    def _order(self, order: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            # The process may have died; a full pipe already holds the orders that matter.
            with contextlib.suppress(BrokenPipeError, BlockingIOError):
                os.write(self._process.stdin.fileno(), order)

    def _start(self, folder: str) -> None:
        command = [sys.executable, "-P", "-m", "kept.store.compact.worker",
                   folder, self._name, str(os.getpid())]  # fmt: skip
        command += ["max"] if self._is_max else []
        path = os.pathsep.join(
            map(os.path.abspath, sys.path)
        )  # the process finds kept where this one does
        try:
            self._process = subprocess.Popen(  # noqa: S603 - kept's own module
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # so Ctrl-C does not reach it
            )
        except OSError as error:
            self._is_off = True
            show_once(f"versions keep their size until you run kept compact: {error}")
            return
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
        if self._saves:
            self._order(PAUSE)
        weakref.finalize(self, _end, self._process, os.getpid())

    def _end(self) -> str | None:
        process, self._process = self._process, None
        if process is None:
            return None
        done = _last_report(_end(process, os.getpid()))
        if done.get("error"):
            self._is_off = True
            show_once(f"versions keep their size until you run kept compact: {done['error']}")
        if not done.get("blobs"):
            return None
        before, after = size_text(done["before"]), size_text(done["after"])
        return f"{before} of {self._name} are now {after}"


def _last_report(words: bytes) -> dict[str, Any]:
    """Return the JSON of the last line; other code in the process may print there, too."""
    try:
        return dict(json.loads(words.splitlines()[-1]))
    except (LookupError, TypeError, ValueError):
        return {}


def _end(process: subprocess.Popen[bytes], owner: int) -> bytes:
    """End the process at its next step, or kill it after a while; return its output."""
    if os.getpid() != owner:  # this process is a fork of the owner
        return b""
    try:
        return process.communicate(timeout=_LAST_STEP)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]
