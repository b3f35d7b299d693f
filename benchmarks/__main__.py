"""`make bench`: every benchmark on every framework, each in a process of its own."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from typing import Any

from benchmarks import report

BENCHMARKS = (
    "idle",
    "training",
    "wandb_stall",
    "away",
    "layers",
    "frozen",
    "space",
    "coded",
    "health",
)
COMMAND = "command"
NO_FRAMEWORK = (COMMAND, "restore_s3", "many_artifacts", "search", "diff", "page")


def main() -> int:
    """Run what is asked for; return 1 if a limit does not hold."""
    asked = _arguments()
    results: report.Results = {}
    whole = not (asked.quick or asked.only or asked.framework)
    file = report.new_file()
    for name in asked.only or [*BENCHMARKS, *NO_FRAMEWORK]:
        frameworks = (
            [""] if name in NO_FRAMEWORK else asked.framework or ["jax", "torch", "tensorflow"]
        )
        for framework in frameworks:
            outcome = _command() if name == COMMAND else _run(name, framework, quick=asked.quick)
            results.setdefault(name, {})[framework] = outcome
            report.write(results, file)  # each time: all of it takes an hour
            _show(outcome["rows"])
    if whole or asked.page:
        report.write_page(results)
    print(f"\nResults: {file}")
    rows = [row for by in results.values() for outcome in by.values() for row in outcome["rows"]]
    over = [row for row in rows if row["ok"] is False]
    print(f"{len(over)} of {sum(row['ok'] is not None for row in rows)} limits are not kept.")
    return 1 if over and whole else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--only", action="append", choices=[*BENCHMARKS, *NO_FRAMEWORK])
    parser.add_argument("--framework", action="append", choices=["jax", "torch", "tensorflow"])
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md in any case")
    return parser.parse_args()


def _run(name: str, framework: str, *, quick: bool) -> dict[str, Any]:
    print(f"\n{name} on {framework}" if framework else f"\n{name}", flush=True)
    start = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.child", name, *(["--quick"] if quick else [])]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": framework}
    done = subprocess.run(
        command, env=os.environ | quiet, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} on {framework} failed:\n{done.stderr[-4000:]}")
    # At its end a process may print that a mirror did not answer.
    printed = [line for line in done.stdout.splitlines() if line.startswith("{")]
    outcome: dict[str, Any] = json.loads(printed[-1])
    print(f"  {time.perf_counter() - start:.0f} s")
    return outcome


def _command() -> dict[str, Any]:
    print("\ncommand", flush=True)
    if importlib.util.find_spec("benchmarks.command") is None:
        return {"rows": [], "seconds": {}}
    from benchmarks import command

    found = command.main()
    rows = [
        {"what": row["what"], "ratio": row["ratio"], "limit": row["limit"], "at_least": False}
        | {"ok": row["ratio"] <= row["limit"]}
        for row in found
    ]
    return {"rows": rows, "seconds": {row["what"]: row["seconds"] for row in found}, "raw": {}}


def _show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(f"  {row['what']:72} {report.cell(row):>14}")


if __name__ == "__main__":
    sys.exit(main())
