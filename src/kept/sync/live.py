"""The trainings that run now: each keeps a small file in the user's state folder.

    $XDG_STATE_HOME/kept/live/<32 hex digits>.json    what the run is doing, in one block
    $XDG_STATE_HOME/kept/live/<32 hex digits>.lock    held by the process while it trains

The lock ends with the process, also if it is killed, so its run is no longer live. A reader
removes the files of such a run. Without $XDG_STATE_HOME the folder is ~/.local/state/kept/live.

Nothing here can harm a run: an error of the disk only means that no file shows the run. An update
is one write of one block in place, so it needs no room on the disk. It takes about 20 µs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import socket
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kept.sync.outbox.file_lock import is_held, locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FILE = re.compile(r"[0-9a-f]{32}\.json")
_BLOCK = 4096  # bytes of a file, the rest is spaces
_MOST_METRICS = 16
_LONGEST = 200  # characters of a text
_TRIES = 3  # a file may be read in the middle of a write
_BETWEEN = 1.0  # seconds between updates at the end of batches
_ERRORS = (OSError, ValueError, TypeError, OverflowError, RuntimeError)


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A fit that runs now."""

    artifact: str
    epoch: int  # from 1
    epochs: int | None  # None if the fit does not know
    step: int | None  # steps of the optimizer, None if unknown
    started: str  # UTC, ISO 8601
    updated: str
    pid: int
    host: str
    framework: str
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the newest batch or epoch


def live_folder() -> str:
    """Return the folder of the files."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "kept", "live")


def live_runs(location: str) -> list[LiveRun]:
    """Return the runs of this user that log to a store now, by artifact and start.

    location is that of the store: Store.location. It raises nothing: what cannot be read is left
    out. The files of a process that has ended are removed.
    """
    found = []
    for path in _files():
        if not _is_alive(path):
            for file in (path, _lock_of(path)):
                with contextlib.suppress(OSError):
                    os.unlink(file)
            continue
        value = _read(path)
        if value is not None and value.get("store") == location:
            run = _parsed(value)
            found += [run] if run else []
    return sorted(found, key=lambda run: (run.artifact, run.started, run.pid))


def _files() -> Iterator[str]:
    folder = live_folder()
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        if _FILE.fullmatch(name):
            yield os.path.join(folder, name)


def _is_alive(path: str) -> bool:
    try:
        return is_held(_lock_of(path))
    except OSError:  # no lock can be tested here: the time of the last update is in the file
        return True


def _lock_of(path: str) -> str:
    return path.removesuffix(".json") + ".lock"


def _read(path: str) -> dict[str, Any] | None:
    """Return the content of a file; None if it is no JSON object, or no plain small file."""
    for attempt in range(_TRIES):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    return None
                value = json.loads(os.read(fd, _BLOCK))
            finally:
                os.close(fd)
            return value if isinstance(value, dict) else None
        time.sleep(0.002 * (attempt + 1))
    return None


def _parsed(value: dict[str, Any]) -> LiveRun | None:
    """Return the run of a file, None if a field is missing or of another kind."""
    texts = [value.get(key) for key in ("artifact", "started", "updated", "host", "framework")]
    numbers = [value.get(key) for key in ("epoch", "pid")]
    maybe = [value.get(key) for key in ("epochs", "step")]
    if not (
        all(isinstance(text, str) and len(text) <= _LONGEST for text in texts)
        and all(type(number) is int for number in numbers)
        and all(number is None or type(number) is int for number in maybe)
    ):
        return None
    artifact, started, updated, host, framework = map(str, texts)
    metrics = value.get("metrics")
    known = metrics if isinstance(metrics, dict) else {}
    return LiveRun(
        *(artifact, value["epoch"], maybe[0], maybe[1], started, updated),
        *(value["pid"], host, framework, small(known)),
    )


def small(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers among metrics, up to 16, with names that are not long."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if len(found) == _MOST_METRICS:
            break
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if isinstance(name, str) and len(name) <= _LONGEST // 4 and is_number:
            with contextlib.suppress(OverflowError):
                if math.isfinite(value):
                    found[name] = float(value)
    return found


class LiveFile:
    """The file of one fit, from begin to end. No method raises, and none waits for another process.

    A forked child shares nothing of it: the lock stays with the parent, and the child writes
    nothing.
    """

    def __init__(self) -> None:
        self._facts: dict[str, Any] = {}
        self._open: contextlib.ExitStack | None = None
        self._path = ""
        self._fd = -1
        self._next = 0.0  # time.monotonic() of the next update that is not forced

    def __del__(self) -> None:
        """Remove the file if the object is dropped without an end."""
        self.end()

    def begin(self, store: str, artifact: str, *, epochs: int | None, framework: str) -> None:
        """Make the file; a fit before, if it was interrupted, loses its own."""
        self.end()
        now = _now()
        self._facts = {
            "store": store, "artifact": artifact, "epoch": 1, "epochs": epochs, "step": None,
            "started": now, "updated": now, "pid": os.getpid(), "host": socket.gethostname(),
            "framework": framework, "metrics": {},
        }  # fmt: skip
        path = os.path.join(live_folder(), f"{os.urandom(16).hex()}.json")
        with contextlib.ExitStack() as stack, contextlib.suppress(*_ERRORS):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            if not stack.enter_context(locked(_lock_of(path), wait=False)):
                return
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            stack.callback(_remove, path, fd)
            self._path, self._fd = path, fd
            self._write()
            self._open = stack.pop_all()

    def update(self, *, is_forced: bool = False, **facts: Any) -> None:
        """Write new facts: epoch, step or metrics; without is_forced at most once a second."""
        if self._open is None:
            return
        now = time.monotonic()
        if not is_forced and now < self._next:
            return
        self._next = now + _BETWEEN
        with contextlib.suppress(*_ERRORS):
            if "metrics" in facts:
                facts["metrics"] = small(facts["metrics"])
            self._facts |= facts
            self._write()

    @property
    def is_due(self) -> bool:
        """Whether an update that is not forced would write."""
        return self._open is not None and time.monotonic() >= self._next

    def end(self) -> None:
        """Remove the file."""
        stack, self._open = self._open, None
        if stack is not None and self._facts.get("pid") == os.getpid():
            with contextlib.suppress(*_ERRORS):
                stack.close()

    def _write(self) -> None:
        if self._facts["pid"] != os.getpid():  # a forked child
            self._open = None
            return
        self._facts["updated"] = _now()
        data = json.dumps(self._facts).encode()
        if len(data) > _BLOCK:
            data = json.dumps(self._facts | {"metrics": {}}).encode()
        if len(data) <= _BLOCK:
            os.pwrite(self._fd, data.ljust(_BLOCK), 0)


def _remove(path: str, fd: int) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
    os.close(fd)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
