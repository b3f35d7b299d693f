"""What a fresh process costs: `import kept`, the newest version, `kept ls` of 10,000 versions.

Each figure is a ratio to a bare `python -c "import json"`, measured in turns with it, so that a
busy machine slows both.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any
from unittest import mock

from kept.bucket.local import LocalBucket
from kept.store.encoding import canonical
from kept.store.log.log import Logs

VERSIONS = 10_000
RUNS = 15
NAME = "run_bench_model"
LIMITS = {"import kept": 3, "the newest version": 5, f"kept ls --json of {VERSIONS:,}": 12}


def main() -> list[dict[str, Any]]:
    """Measure, print and return a row for each figure."""
    with tempfile.TemporaryDirectory() as root:
        fill(root, VERSIONS)
        rows = _rows(_medians(_programs(root)))
    for row in rows:
        print(
            f"{row['what']:30} {row['seconds'] * 1000:6.1f} ms  {row['ratio']:5.2f} x bare  "
            f"(limit {row['limit']} x)"
        )
    return rows


def fill(root: str, versions: int) -> None:
    """Make a store whose one artifact has so many versions; only its log, no blobs."""
    bucket = LocalBucket(root)
    chance = random.Random(0)
    with mock.patch("os.fsync"):  # nothing here has to outlive a power cut
        bucket.put("kept.json", [canonical({"format": 1})])
        log = Logs(bucket).of(NAME)
        for index in range(versions):
            log.append(version_event(index, chance))


def version_event(index: int, chance: random.Random) -> dict[str, Any]:
    metrics = {name: chance.random() for name in ("accuracy", "loss", "val_accuracy", "val_loss")}
    return {
        "event": "version",
        "index": index,
        "type": "model",
        "manifest": chance.randbytes(32).hex(),
        "digest": chance.randbytes(32).hex(),
        "size": 51_234_567 + index,
        "aliases": [f"epoch_{index}", *(["best"] if index % 3 == 0 else [])],
        "metadata": {
            "epoch": index, "batch": None, "step": 469 * (index + 1),
            "monitor": "val_loss", "mode": "min", "value": metrics["val_loss"], "metrics": metrics,
            "format": "keras", "framework": "tensorflow", "keras_version": "3.15.1",
        },
    }  # fmt: skip


def _programs(root: str) -> dict[str, list[str]]:
    python, (imported, newest, listed) = sys.executable, LIMITS
    look_up = f"import kept; kept.open_store({root!r}).version({NAME!r})"
    kept = os.path.join(os.path.dirname(python), "kept")
    return {
        "bare": [python, "-c", "import json"],
        imported: [python, "-c", "import kept"],
        newest: [python, "-c", look_up],
        listed: [kept, "--store", root, "ls", NAME, "--json"],
    }


def _medians(programs: dict[str, list[str]]) -> dict[str, float]:
    taken: dict[str, list[float]] = {what: [] for what in programs}
    for _ in range(RUNS):
        for what, command in programs.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            taken[what].append(time.perf_counter() - start)
    return {what: statistics.median(times) for what, times in taken.items()}


def _rows(seconds: dict[str, float]) -> list[dict[str, Any]]:
    bare = seconds["bare"]
    return [
        {"what": what, "seconds": seconds[what], "ratio": seconds[what] / bare, "limit": limit}
        for what, limit in LIMITS.items()
    ]


if __name__ == "__main__":
    main()
