"""Writers, two gcs, a compactor and a mirror work on one store; one of them is killed all the time.

`python -m tests.reliability.chaos SECONDS` runs it for some time.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import kept
from kept.errors import KeptError
from kept.store.log.history import version_records
from tests.helpers import start, tree
from tests.reliability.cases import in_memory
from tests.reliability.table import Tally, report
from tests.store.gc.test_processes import COLLECTOR, WRITER

if TYPE_CHECKING:
    from tests.helpers import Child

COMPACTOR = """
import sys, time, kept
store = kept.open_store(sys.argv[1])
print("ready", flush=True)
while True:
    print(store.compact().blobs, flush=True)
    time.sleep(0.2)
"""
# A gc in the mirror can be about to delete what a copy needs; then the next round copies it.
MIRROR = """
import sys, time, kept
from kept.errors import ArtifactNotFound, BeingCollected
from kept.sync.mirror.replicate import Sync
source, target = kept.open_store(sys.argv[1]), kept.open_store(sys.argv[2])
print("ready", flush=True)
while True:
    for artifact in source.artifacts():
        try:
            print(Sync(source, target, artifact.name).run().versions, flush=True)
        except (ArtifactNotFound, BeingCollected):
            pass
    time.sleep(0.1)
"""
WRITERS = 3


class Chaos:
    """The processes, and what the writers reported as committed."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.chance = root, random.Random(seed)
        self.tally = Tally("chaos", is_shown=True)
        self.committed: set[str] = set()
        self.running: dict[str, Child] = {}

    def start(self, name: str) -> None:
        store, words = self.root / "store", self.root / "words"
        kind, _, number = name.partition(" ")
        match kind:
            case "writer":
                child = start(WRITER, store, words, number)
            case "gc":
                child = start(COLLECTOR, store, self.chance.choice([0, 0, 0.05]))
            case "compactor":
                child = start(COMPACTOR, store)
            case _:
                child = start(MIRROR, store, self.root / "mirror")
        self.running[name] = child

    def end(self, name: str, with_signal: int = signal.SIGKILL) -> None:
        """Kill a process, and take what it has printed."""
        child = self.running.pop(name)
        code = child.poll()
        child.send_signal(with_signal)
        out, _ = child.communicate(timeout=120)
        if code is not None:
            self.tally.add(
                "tracebacks", f"{name} ended by itself with {code}: {child.said()[-2000:]}"
            )
        if name.startswith("writer"):
            self.committed |= {line for line in out.split("\n")[:-1] if ":v" in line}

    def run(self, seconds: float) -> Tally:
        names = [*(f"writer {n}" for n in range(WRITERS)), "gc 1", "gc 2", "compactor", "mirror"]
        kept.open_store(self.root / "store").create()
        for name in names:
            self.start(name)
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until or not (self.committed or self.tally.bad):
                time.sleep(self.chance.uniform(0.1, 0.8))
                name = self.chance.choice(names)
                self.end(name)
                self.start(name)
                self.tally.tried += 1
        finally:
            for name in list(self.running):
                self.end(name)
        self.check()
        return self.tally

    def check(self) -> None:
        store = kept.open_store(self.root / "store")
        for problem in store.verify().problems:
            self.tally.add("lost", str(problem))
        logged = {
            f"{name}:v{record.index}"
            for name in store.logs.names()
            for record in version_records(store.log(name).view().items())
        }
        for reference in sorted(self.committed - logged):
            self.tally.add("lost", f"{reference} was reported as committed")
        versions = [v for artifact in store.artifacts() for v in artifact.versions()]
        for version in versions:
            self.check_version(version)
        if not versions or not self.committed:
            self.tally.add("lost", "nothing was committed")
        self.check_mirror()
        self.tally.survived = self.tally.tried

    def check_version(self, version: kept.Version) -> None:
        try:
            found = tree(version.download(self.root / "out"))
        except (KeptError, OSError) as error:
            self.tally.add("lost", f"{version.reference} in {version.record}: {error}")
            return
        finally:
            shutil.rmtree(self.root / "out", ignore_errors=True)
        words = version.metadata["words"]
        if found != {w: (w * 200)[: 190 if w < "f" else 40].encode() for w in words}:
            self.tally.add("wrong", version.reference)

    def check_mirror(self) -> None:
        from kept.sync.mirror.replicate import Sync

        store, mirror = (kept.open_store(self.root / name) for name in ("store", "mirror"))
        for artifact in store.artifacts():
            Sync(store, mirror, artifact.name).run()
            there = [(v.index, v.aliases, v.digest) for v in mirror.versions(artifact.name)]
            if there != [(v.index, v.aliases, v.digest) for v in artifact.versions()]:
                self.tally.add("lost", f"{artifact.name} differs in the mirror")
        for problem in mirror.verify().problems:
            self.tally.add("lost", f"in the mirror: {problem}")


def main(options: list[str]) -> Tally:
    seconds = float(next((o for o in options if not o.startswith("--")), 8))
    with tempfile.TemporaryDirectory(prefix="kept-chaos-", dir=in_memory()) as folder:
        chaos = Chaos(Path(folder), seed=int(time.time()) if "--short" not in options else 1)
        tally = chaos.run(seconds)
        tally.cases = len(chaos.committed)
        return tally


if __name__ == "__main__":
    sys.exit(report(main(sys.argv[1:]), sys.argv[1:]))
