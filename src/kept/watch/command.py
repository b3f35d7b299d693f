"""Runs a command for each event."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from kept.watch.events import body_of
from kept.watch.secrets import SECRET_VARIABLE
from kept.watch.target import Outcome, Result

if TYPE_CHECKING:
    from kept.watch.events import Happening
    from kept.watch.target import Stop

ATTEMPTS = 5
_MOST = 100_000  # bytes of KEPT_EVENT: Linux allows 131,072 in a variable of the environment
_ROUND = 0.05  # seconds between two looks at the command
_PATIENCE = 5.0  # seconds that a command has to end after SIGTERM


class Command:
    """A command for the shell. It gets the event in its environment and on its standard input."""

    kind = "run"
    attempts: int | None = ATTEMPTS

    def __init__(
        self,
        command: str,
        place: tuple[str, str],
        stop: Stop,
        timeout: float | None = None,
        *,
        shows: bool = True,
    ) -> None:
        """Take the command, the location and id of the store, and the seconds a run may take.

        Without shows its output goes to stderr.
        """
        self._command, self._place, self._stop, self._timeout = command, place, stop, timeout
        self._stdout = None if shows else 2

    def send(self, happening: Happening, *, again: bool) -> Outcome:
        """See Target; an exit code other than 0 is a failure."""
        own = {
            "KEPT_EVENT": body_of(happening, *self._place, _MOST).decode(),
            "KEPT_EVENT_ID": happening.id,
            "KEPT_REFERENCE": happening.reference,
            "KEPT_STORE": self._place[0],
        }
        environment = {k: v for k, v in os.environ.items() if k != SECRET_VARIABLE}
        environment.pop("KEPT_REDELIVERY", None)
        environment |= own | ({"KEPT_REDELIVERY": "1"} if again else {})
        with tempfile.TemporaryFile() as given:
            given.write(body_of(happening, *self._place))
            given.seek(0)
            # A session of its own, so that Ctrl-C reaches the watcher and not the command.
            try:
                process = subprocess.Popen(  # noqa: S602 - the user's own command line
                    self._command, shell=True, stdin=given, stdout=self._stdout, env=environment,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                return Outcome(Result.FAILED, f"the command cannot be started: {error.strerror}")
            with process:
                return self._outcome(process)

    def _outcome(self, process: subprocess.Popen[bytes]) -> Outcome:
        end = None if self._timeout is None else time.monotonic() + self._timeout
        while process.poll() is None:
            if self._stop.is_set:
                _end(process)
                return Outcome(Result.STOPPED)
            if end is not None and time.monotonic() > end:
                _end(process)
                return Outcome(Result.FAILED, f"the command took more than {self._timeout:g} s")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_ROUND)
        code = process.returncode
        if code == 0:
            return Outcome(Result.SENT)
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        return Outcome(Result.FAILED, f"the command ended with {how}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and the processes that it started: by SIGTERM, and what is left by SIGKILL."""
    _signal(process, signal.SIGTERM)
    end = time.monotonic() + _PATIENCE
    # Signal 0 finds whether the group has a process; poll makes sure that it is not the ended one.
    while (process.poll() is None or _signal(process, 0)) and time.monotonic() < end:
        time.sleep(_ROUND)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to the group of a command; return whether the group has a process."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
