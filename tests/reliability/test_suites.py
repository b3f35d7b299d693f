"""Runs the suites: a part of each with all tests, and everything with the integration tests.

Each suite is a process of its own, because it forks, and changes what Python's os functions do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.table import FOLDER, Tally

ROOT = Path(__file__).parent.parent.parent
SUITES = ("corruption", "repairing", "syscalls", "forged", "chaos", "objects", "remote")


def run(suite: str, *options: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.reliability.{suite}", *options],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("KEPT")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("suite", SUITES)
def test_a_part(suite):
    run(suite, "--short")


@pytest.mark.integration
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("suite", SUITES)
def test_everything(suite):
    run(suite, *(["180"] if suite == "chaos" else []))


@pytest.mark.integration
@pytest.mark.timeout(4 * 3600)
def test_every_system_call():
    run("strace")


@pytest.mark.integration
@pytest.mark.timeout(7200)
def test_fuzzing_for_long(monkeypatch):
    monkeypatch.setenv("FUZZ", "20000")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--timeout=6000", "tests/reliability/test_fuzz.py"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]


def test_the_table_has_the_figures_of_a_suite(monkeypatch, tmp_path):
    monkeypatch.setattr("tests.reliability.table.FOLDER", tmp_path)
    from tests.reliability.table import table

    tally = Tally("example")
    tally.tried = 7
    tally.add("lost", "a version")
    assert not tally.ok
    tally.save("long")
    assert json.loads((tmp_path / "example-long.json").read_text())["counts"]["lost"] == 1
    heading, row = table("long").splitlines()
    assert dict(zip(heading.split(), row.split(), strict=False))["tried"] == "7"
    assert tmp_path != FOLDER
