"""Processes that start at once: forks of one that has imported Keras and done nothing else with it.

    python -m tests.training.save.forks SCRIPT

reads orders from its standard input, one JSON object a line. For each it forks, and the child runs
SCRIPT with the arguments of the order, in every way a process of its own: it may be killed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


class Forks:
    """Runs one script again and again, and waits for each run."""

    def __init__(self, script: Path, folder: Path) -> None:
        self._folder = folder
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        )

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run the script; what subprocess.run returns."""
        command, streams = [*map(str, arguments)], [self._folder / "out", self._folder / "err"]
        print(json.dumps([command, *map(str, streams)]), file=self._server.stdin, flush=True)
        code = self._server.stdout.readline()
        assert code, f"the process that forks has ended: {self._server.wait(60)}"
        out, err = (path.read_text() for path in streams)
        return subprocess.CompletedProcess(command, int(code), out, err)

    def end(self) -> None:
        """End the process that forks."""
        self._server.stdin.close()
        assert self._server.wait(60) == 0
        self._server.stdout.close()


def serve() -> list[str] | None:
    """Fork for each order; returns in a child its order, and None where there are no more."""
    import kept

    _ = kept.ModelCheckpoint  # imports Keras
    with contextlib.suppress(ImportError):
        importlib.import_module("tensorflow")  # as set_random_seed does on any framework
    for line in sys.stdin:
        child = os.fork()
        if not child:
            return json.loads(line)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def main(script: str) -> None:
    order = serve()
    if order is not None:
        sys.argv, *streams = order
        sys.argv.insert(0, script)
        for number, path in enumerate([os.devnull, *streams]):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
            os.dup2(os.open(path, flags), number)
        runpy.run_path(script, run_name="__main__")  # and the process ends as any other


if __name__ == "__main__":
    main(sys.argv[1])
