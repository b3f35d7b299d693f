"""Runs cases, each in a forked child of this process: a hang or a crash ends one case only."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LIMIT = 600.0  # seconds of a case; the limit of a call inside it is far shorter
CALL_LIMIT = 40  # seconds; a call takes less than one, except on a busy machine


class Hang(BaseException):
    """A call took longer than CALL_LIMIT."""


class Ended(NamedTuple):
    """A case and its result; None if the child was killed or has crashed."""

    case: Any
    result: Any
    error: str = ""


class _Running(NamedTuple):
    case: Any
    pid: int
    until: float
    folder: str
    data: list[bytes]


@contextlib.contextmanager
def limited(seconds: int = CALL_LIMIT) -> Iterator[None]:
    """Raise Hang in the main thread of a child if what follows takes longer."""

    def end(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(
    work: Callable[[Any, str], Any], cases: Iterable[Any], *, jobs: int | None = None
) -> Iterator[Ended]:
    """Yield the result of work(case, an empty folder) for each case, as the cases end."""
    waiting, running = iter(cases), selectors.DefaultSelector()
    jobs = jobs or os.cpu_count() or 1
    base = tempfile.mkdtemp(prefix="kept-reliability-", dir=in_memory())
    os.chmod(base, 0o755)
    try:
        while True:
            while len(running.get_map()) < jobs:
                case = next(waiting, running)
                if case is running:
                    break
                _start(work, case, base, running)
            if not running.get_map():
                return
            yield from _ended(running)
    finally:
        for key in running.get_map().values():
            os.kill(key.data.pid, signal.SIGKILL)
            os.waitpid(key.data.pid, 0)
        shutil.rmtree(base, ignore_errors=True)


def in_memory() -> str | None:
    """Return a folder in memory for many small files, None if the system has none."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _start(
    work: Callable[[Any, str], Any], case: Any, base: str, running: selectors.BaseSelector
) -> None:
    folder = tempfile.mkdtemp(dir=base)
    os.chmod(folder, 0o777)
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        _child(work, case, folder, writer)
    os.close(writer)
    running.register(
        reader, selectors.EVENT_READ, _Running(case, pid, time.monotonic() + LIMIT, folder, [])
    )


def _child(work: Callable[[Any, str], Any], case: Any, folder: str, writer: int) -> None:
    """Do the work and end the process."""
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1):
            os.dup2(quiet, stream)
        faulthandler.disable()
        os.chdir(folder)
        try:
            answer = {"result": work(case, folder)}
        except BaseException:  # noqa: BLE001 - the parent reports it
            answer = {"error": traceback.format_exc()}
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        sys.stderr.flush()
        os._exit(0)


def _ended(running: selectors.BaseSelector) -> Iterator[Ended]:
    for key, _ in running.select(1.0):
        data = os.read(key.fd, 1 << 20)
        if data:
            key.data.data.append(data)
            continue
        yield _end(running, key)
    now = time.monotonic()
    for key in [key for key in running.get_map().values() if key.data.until < now]:
        os.kill(key.data.pid, signal.SIGKILL)
        key.data.data.clear()
        yield _end(running, key)


def _end(running: selectors.BaseSelector, key: selectors.SelectorKey) -> Ended:
    running.unregister(key.fd)
    os.close(key.fileobj)  # type: ignore[arg-type]
    _, status = os.waitpid(key.data.pid, 0)
    shutil.rmtree(key.data.folder, ignore_errors=True)
    if not key.data.data:
        return Ended(key.data.case, None, f"the child ended with {status:#x}")
    answer = json.loads(b"".join(key.data.data))
    return Ended(key.data.case, answer.get("result"), answer.get("error", ""))
