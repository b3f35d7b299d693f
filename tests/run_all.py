"""Run all tests once, and those of tests/training again on each other framework.

Each part is a separate process, because Keras chooses its framework once for a process. As many
parts run at a time as the machine has processors. The output of a part is printed at its end. Every
part gets the options of the command: python tests/run_all.py -x -k best
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
NOTHING_SELECTED = 5  # pytest's exit code; fine as long as another part has tests
OTHER_FRAMEWORK = ("tests/training", "-m", "not any_framework and not integration")


class Part(NamedTuple):
    """The framework and the arguments of one pytest process."""

    framework: str
    arguments: tuple[str, ...]


REMOTE = ("tests/remote", "tests/reliability")
PAGES = ("tests/web", "tests/exchange")
APART = ("tests/training", *REMOTE, *PAGES)
PARTS = (  # the longest first
    Part("jax", REMOTE),
    Part("jax", ("tests", *(f"--ignore={folder}" for folder in APART))),
    Part("tensorflow", OTHER_FRAMEWORK),
    Part("jax", ("tests/training",)),
    Part("torch", OTHER_FRAMEWORK),
    Part("jax", PAGES),
)


def main(options: list[str]) -> int:
    """Run everything, print the totals as the last line, return the exit code."""
    total: Counter[str] = Counter()
    codes = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        places = [Path(folder, str(number)) for number in range(len(PARTS))]
        every = pool.map(run, PARTS, places, [options] * len(PARTS))
        for part, place, code in zip(PARTS, places, every, strict=True):
            print(f"\n{' '.join(part.arguments)} on {part.framework}", flush=True)
            print(place.with_suffix(".txt").read_text(errors="replace"), flush=True)
            report = place.with_suffix(".xml")
            total.update(count(report) if report.exists() else {"failed": 1})
            codes.append(code)
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    print(f"{total['passed']} passed, {total['failed']} failed{skipped}", flush=True)
    bad = any(code not in (0, NOTHING_SELECTED) for code in codes)
    return 1 if bad or total["failed"] or not total["passed"] else 0


def run(part: Part, place: Path, options: list[str]) -> int:
    """Run pytest, leave its output in place.txt and a report in place.xml, return its exit code."""
    report = f"--junitxml={place.with_suffix('.xml')}"
    with place.with_suffix(".txt").open("w") as output:
        return subprocess.run(
            [sys.executable, "-m", "pytest", *part.arguments, report, *options],
            cwd=ROOT,
            env=os.environ | compile_once(place.parent) | {"KERAS_BACKEND": part.framework},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode


def compile_once(folder: Path) -> dict[str, str]:
    """Return variables that let all tests share JAX's compiled programs.

    Many tests train the same small models.
    """
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def count(report: Path) -> Counter[str]:
    """Count the outcomes in a JUnit report; a test with a failure and an error counts once."""
    found: Counter[str] = Counter()
    for case in ET.parse(report).iter("testcase"):
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            found["failed"] += 1
        else:
            found["skipped" if "skipped" in outcomes else "passed"] += 1
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
