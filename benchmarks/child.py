"""One benchmark on one framework, in a process of its own: prints its outcome as JSON."""

from __future__ import annotations

import importlib
import json
import sys


def main(name: str, *options: str) -> None:
    """Run benchmarks.<name>; the last line on stdout is the outcome."""
    module = importlib.import_module(f"benchmarks.{name}")
    outcome = module.measure(quick="--quick" in options)
    print(json.dumps(outcome.to_json()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
