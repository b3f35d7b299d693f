"""What docs/evaluate.md shows runs, in the order of the page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.test_docs import blocks


def test_the_page_runs(tmp_path):
    program = ["import subprocess"]
    for language, _, text in blocks("docs/evaluate.md"):
        if language == "python":
            program.append(text)
        elif language == "sh":
            program += [
                f"subprocess.run({line!r}, shell=True, check=True)" for line in text.splitlines()
            ]
    scripts = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("KEPT_STORE", None)
    command = [sys.executable, "-c", "\n".join(program)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "bytes 3000" in done.stdout
    assert "mnist:best is by test_acc (max): mnist:v2, 0.97" in done.stdout
