"""All tests: everything once, and those of tests/training again on each other framework.

Keras chooses its framework once for a process, so each run has a process of its own. Options are
passed on to every run: python tests/run_all.py -x -k best
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
RUNS = (("jax", "tests"), ("torch", "tests/training"), ("tensorflow", "tests/training"))
NOTHING_SELECTED = 5  # pytest's exit code; fine as long as another run has tests


def main(options: list[str]) -> int:
    """Run everything, print the totals as the last line, return the exit code."""
    total: Counter[str] = Counter()
    codes = [run(framework, folder, options, total) for framework, folder in RUNS]
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    print(f"{total['passed']} passed, {total['failed']} failed{skipped}", flush=True)
    bad = any(code not in (0, NOTHING_SELECTED) for code in codes)
    return 1 if bad or total["failed"] or not total["passed"] else 0


def run(framework: str, folder: str, options: list[str], total: Counter[str]) -> int:
    """Run pytest on one framework, add to the totals, return pytest's exit code."""
    print(f"\n{folder} on {framework}", flush=True)
    with tempfile.TemporaryDirectory() as out:
        report = Path(out, "report.xml")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", folder, f"--junitxml={report}", *options],
            cwd=ROOT,
            env=os.environ | {"KERAS_BACKEND": framework},
            check=False,
        )
        total.update(count(report) if report.exists() else {"failed": 1})
    return done.returncode


def count(report: Path) -> Counter[str]:
    """Count what is in a JUnit report; a test that fails and cannot be cleaned up counts once."""
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
