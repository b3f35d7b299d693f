"""Runs a command that prints metrics, passes its output on, and ends it if it takes too long."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections import deque
from reprlib import repr as short
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TextIO

from kept.errors import CommandFailed
from kept.store.log.later_events import is_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LONGEST = 1 << 20  # bytes of a line; a longer one is passed on in pieces
_LAST_LINES = 5  # in the message of an error
_GRACE = 5.0  # seconds from SIGTERM to SIGKILL, and for the output after the end
_EXAMPLE = '{"test_acc": 0.93}'


class Command(NamedTuple):
    """A command and its limit."""

    arguments: Sequence[str]
    seconds: float | None = None  # after which it is ended; None for no limit

    def run(self, variables: Mapping[str, str], to: TextIO) -> dict[str, Any]:
        """Run it with more variables in its environment; return the metrics that it prints.

        These are the last line of its stdout that is a JSON object of numbers. All other output
        goes to the given stream. Raises CommandFailed if it cannot start, ends with another exit
        code than 0, takes too long, or prints no metrics.
        """
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own command
                self.arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env={**os.environ, **variables}, start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise CommandFailed(f"The command cannot be started: {error}") from None
        with _ended(process):
            output = _Output(to)
            threads = [
                threading.Thread(target=output.read, args=(stream,), daemon=True)
                for stream in (process.stdout, process.stderr)
            ]
            output.metrics_in = process.stdout
            for thread in threads:
                thread.start()
            problem = self._problem(process)
            for thread in threads:
                thread.join(_GRACE)
            if any(thread.is_alive() for thread in threads):
                _kill(process)  # what it has left behind holds its output open
        if problem:
            raise CommandFailed(f"The command {problem}.{output.tail()}")
        return output.metrics()

    def _problem(self, process: subprocess.Popen[bytes]) -> str | None:
        """Wait for the end; return what was wrong with it."""
        try:
            code = process.wait(self.seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"was ended after {self.seconds:g} seconds, its time limit"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        return f"failed with exit code {code}" if code else None


class _Output:
    """What a command prints: passed on line by line, except its metrics."""

    def __init__(self, to: TextIO) -> None:
        self._to, self._lock = to, threading.Lock()
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._found: dict[str, Any] | None = None
        self._found_line = b""
        self.metrics_in: IO[bytes] | None = None  # the stdout
        self._nearly = ""  # why the last object that is no metrics is none

    def read(self, stream: IO[bytes]) -> None:
        """Read a stream to its end, on a thread of its own."""
        with stream:
            for line in iter(lambda: stream.readline(_LONGEST), b""):
                with self._lock:
                    self._take(line, is_stdout=stream is self.metrics_in)

    def metrics(self) -> dict[str, Any]:
        """Return the metrics; raises CommandFailed if there are none."""
        if self._found is None:
            raise CommandFailed(
                "The command printed no metrics: its stdout has no line that is a JSON object of "
                f"numbers, such as {_EXAMPLE}.{self._nearly}{self.tail()}"
            )
        return self._found

    def tail(self) -> str:
        """Return the last lines of the output, for a message."""
        with self._lock:
            lines = [line for line in self._last if line]
        return f" Its last lines: {' | '.join(lines)}" if lines else " It printed nothing."

    def _take(self, line: bytes, *, is_stdout: bool) -> None:
        found = _object(line) if is_stdout else {}
        wrong = {k: v for k, v in found.items() if not _is_metric(k, v)}
        if found and not wrong:
            self._found_line, line = line, self._found_line
            self._found = found
        elif wrong:
            self._nearly = f" One line has {short(wrong)}."
        if line:
            text = line.decode(errors="replace")
            self._last.append(text.strip())
            with contextlib.suppress(OSError, ValueError):  # of a closed stderr
                self._to.write(text)
                self._to.flush()


def _object(line: bytes) -> dict[str, Any]:
    """Return the JSON object that a line is, empty if it is something else."""
    if not line.lstrip().startswith(b"{"):
        return {}
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_metric(name: str, value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and is_label(name)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the command, and all that it has started, with the block or with this process."""
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    except BaseException:  # an interruption
        _end(process)
        raise
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _exit(number: int, _: Any) -> None:
    raise SystemExit(128 + number)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it has started: first by SIGTERM, then by SIGKILL."""
    with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(_GRACE)
    _kill(process)
    process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
