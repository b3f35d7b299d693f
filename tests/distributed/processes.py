"""Starts the processes of one run, and kills those that are left after a time limit.

A script is a file beside this one. It calls `tests.distributed.child.join(framework)` first, and
reports what a test compares by `child.report(name=value)`; see `Finished.reports`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KILLED = -signal.SIGKILL
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0", "GLOG_minloglevel": "2"}


class Finished(NamedTuple):
    """How a process ended: KILLED if a test killed it, SIGABRT at the time limit; its output."""

    returncode: int
    output: str

    @property
    def reports(self) -> dict[str, Any]:
        """What the script has reported, by name; the last value of each name."""
        found = {}
        for line in self.output.splitlines():
            name, tab, value = line.partition("\t")
            if tab and name.startswith("REPORT "):
                found[name.removeprefix("REPORT ")] = json.loads(value)
        return found


def launch(
    n: int, script: str, *args: object, env: Mapping[str, str] | None = None, seconds: float = 180
) -> list[Finished]:
    """Run a script in n processes with RANK, WORLD and PORT, and return how each one ended.

    script is the name of a file in this folder, or a path. After the time limit all are killed.
    """
    with started(n, script, *args, env=env) as run:
        return run.finish(seconds)


def succeed(
    n: int, script: str, *args: object, env: Mapping[str, str] | None = None, seconds: float = 180
) -> list[dict[str, Any]]:
    """Run a script in n processes, all of which must end well, and return what each reported."""
    found = launch(n, script, *args, env=env, seconds=seconds)
    text = "\n".join(
        f"--- rank {rank}: {one.returncode}\n{one.output}" for rank, one in ranks(found)
    )
    assert [one.returncode for one in found] == [0] * n, text
    return [one.reports for one in found]


def ranks(found: list[Finished]) -> Iterator[tuple[int, Finished]]:
    """Yield each rank and how it ended."""
    return enumerate(found)


class Run:
    """Processes that run; a context manager that kills what is left of them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self, command: list[str], env: Mapping[str, str]) -> None:
        with self._output(len(self.processes)).open("wb") as output:
            process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that a kill reaches its own child processes, too
            )
        self.processes.append(process)

    def output(self, rank: int) -> str:
        """Return what a process has printed by now."""
        return self._output(rank).read_text(errors="replace")

    def _output(self, rank: int) -> Path:
        return Path(self._folder.name, str(rank))

    def signal(self, rank: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one process and its own child processes."""
        if self.processes[rank].poll() is None:
            os.killpg(self.processes[rank].pid, number)

    def kill(self) -> None:
        """Kill all that are left."""
        for rank in range(len(self.processes)):
            self.signal(rank)
        for process in self.processes:
            process.wait()

    def finish(self, seconds: float) -> list[Finished]:
        """Wait for all processes up to a time limit, kill the others; return how each one ended.

        Those that are left print where their threads are, before they are killed.
        """
        if not self._have_ended(seconds):
            for rank in range(len(self.processes)):
                self.signal(rank, signal.SIGABRT)
            self._have_ended(5)
        self.kill()
        return [
            Finished(process.returncode, self.output(rank))
            for rank, process in enumerate(self.processes)
        ]

    def _have_ended(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        try:
            for process in self.processes:
                process.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            return False
        return True


def started(n: int, script: str, *args: object, env: Mapping[str, str] | None = None) -> Run:
    """Start a script in n processes; a context manager that kills what is left of them."""
    ports = free_ports(n)
    shared = os.environ | _ONE_THREAD | _QUIET | {"WANDB_BASE_URL": "http://127.0.0.1:9"}
    shared |= {
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "WORLD": str(n),
    }
    shared |= {"PORT": str(ports[0]), "PORTS": ",".join(map(str, ports)), **(env or {})}
    run = Run()
    for rank in range(n):
        command = [sys.executable, str(HERE / script), *map(str, args)]
        run.start(command, shared | {"RANK": str(rank)})
    return run


def free_ports(n: int) -> list[int]:
    """Return ports of the loopback that no process uses now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(n)]
        return [one.getsockname()[1] for one in sockets]
