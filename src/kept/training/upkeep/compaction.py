"""Has the versions of a run stored in less room, by a process beside it (store/recoding.py).

Invariants: no hook of the training thread waits for it, but the one that ends the fit, for as long
as FINISH says; it pauses from the moment a checkpoint is due until its version is durable and its
file published; what it has not come to stays raw, which is as good.
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
from kept.store.compact.worker import FINISH, GO, PAUSE
from kept.training.messages import show, show_once
from kept.units import size_text

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.store.version import Version

COMPRESSIONS = ("none", "auto", "max")
LEAST = 16_000_000  # new bytes of a run before "auto" starts a process, which costs 0.3 s of CPU
FINISH_SHARE, FINISH_AUTO, FINISH_MAX = 1 / 50, 30.0, 300.0  # of the fit's time; seconds
_NOTICE_AFTER = 1.0  # seconds of waiting before the user is told
_LAST_STEP = 2.0  # seconds that it may take to come to the end of a step


def check_compression(value: object) -> None:
    """Raise InvalidCheckpoint unless it is one of COMPRESSIONS."""
    if value not in COMPRESSIONS:
        raise InvalidCheckpoint(
            f"compression is 'none', 'auto' or 'max'. Received: compression={value!r}"
        )


class BackgroundCompactor:
    """Starts the process when there is something to do, and tells it when to pause.

    Only for stores in a folder. Its methods are called by the training thread and by the writer.
    """

    def __init__(self, compression: str, store: Store | None) -> None:
        """Raises InvalidCheckpoint where "max" was asked for and cannot be had."""
        bucket = store.bucket if store else None
        self._folder = bucket.root if isinstance(bucket, LocalBucket) else None
        if compression == "max" and self._folder is None:
            where = store.location if store else None
            raise InvalidCheckpoint(
                "compression='max' needs a store in a folder. Object storage is compacted by hand, "
                f"with kept compact. Received: compression='max', store={where!r}"
            )
        self._is_max = compression == "max"
        self._is_off = compression == "none" or self._folder is None or not sys.executable
        self._lock = threading.Lock()
        self._saves = 0  # that are due or being written
        self._bytes_new = 0
        self._name = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()

    def begin(self) -> None:
        """Note that a fit begins."""
        self._began = time.monotonic()

    def save_begins(self) -> None:
        """Have the process pause; returns at once."""
        with self._lock:
            self._saves += 1
            self._order(PAUSE)

    def save_ends(self) -> None:
        """Have the process go on, with what is new, unless another checkpoint is due."""
        with self._lock:
            self._saves -= 1
            if not self._saves:
                self._order(GO)

    def committed(self, version: Version) -> None:
        """Take note of a new version; start the process if that is worth it."""
        with self._lock:
            self._bytes_new += int(version.metadata.get("bytes_new", 0))
            if self._is_off or (self._bytes_new < LEAST and not self._is_max):
                return
            if version.name != self._name:
                self._end()
            if self._process is None:
                self._name = version.name
                self._start()

    def finish(self) -> str | None:
        """At the end of a fit: wait a while for what is left; return what the user is told.

        With "max" that is FINISH_MAX at most, with "auto" a small share of the fit's time.
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
            told = self.close()
        left = "" if is_done else "; the rest the next run does, or: kept compact"
        return f"{told or 'nothing could be stored in less room'}{left}"

    def close(self) -> str | None:
        """End the process; return what it has done, if anything."""
        with self._lock:
            return self._end()

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> bool:
        """Return whether it ended by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(_NOTICE_AFTER, seconds))
            return True
        if seconds > _NOTICE_AFTER:
            show(f"storing {self._name} in less room, {seconds:.0f} s at most")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds - _NOTICE_AFTER)
                return True
        return False

    def _order(self, order: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            # It may have died; a pipe that is full of orders has all that matter in it.
            with contextlib.suppress(BrokenPipeError, BlockingIOError):
                os.write(self._process.stdin.fileno(), order)

    def _start(self) -> None:
        command = [sys.executable, "-P", "-m", "kept.store.compact.worker",
                   str(self._folder), self._name, str(os.getpid())]  # fmt: skip
        command += ["max"] if self._is_max else []
        path = os.pathsep.join(map(os.path.abspath, sys.path))  # as it is found here, so there
        try:
            self._process = subprocess.Popen(  # noqa: S603 - kept's own module
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is not for it
            )
        except OSError as error:
            self._is_off = True
            show_once(f"versions stay as large as they are until kept compact: {error}")
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
        done = _told(_end(process, os.getpid()))
        if done.get("error"):
            self._is_off = True
            show_once(f"versions stay as large as they are until kept compact: {done['error']}")
        if not done.get("blobs"):
            return None
        before, after = size_text(done["before"]), size_text(done["after"])
        return f"{before} of {self._name} are now {after}"


def _told(words: bytes) -> dict[str, Any]:
    """Return what the last line says, if it is the process's own: others may print there, too."""
    try:
        return dict(json.loads(words.splitlines()[-1]))
    except (LookupError, TypeError, ValueError):
        return {}


def _end(process: subprocess.Popen[bytes], owner: int) -> bytes:
    """End the process at its next step, or at once where that is far; return its last words."""
    if os.getpid() != owner:  # a fork of the one that has started it
        return b""
    try:
        return process.communicate(timeout=_LAST_STEP)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]
