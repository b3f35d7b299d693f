"""Check the sdist and the wheel in dist/: what they hold, and that the wheel works alone.

Run by `make dist`. It installs the wheel into an environment in a temporary folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
IN_WHEEL = {"kept/py.typed", "kept/training/snapshot/_streaming.pyi"}
PROGRAM = """
import kept
from kept import *
from kept.training.snapshot import _streaming
store = kept.open_store("store")
store.log_artifact("m", kept.MemoryFile("f", [b"bytes"]))
print(*store.verify().problems)
assert not hasattr(kept, "ModelCheckpoint"), "the environment has Keras"
"""


def main() -> int:
    """Run every check; return the exit code."""
    problems = [*check_sdist(only("*.tar.gz")), *check_wheel(only("*.whl"))]
    problems = problems or list(check_install(only("*.whl")))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(problems)} problems in {', '.join(sorted(path.name for path in DIST.iterdir()))}")
    return bool(problems)


def only(pattern: str) -> Path:
    """Return the one file in dist/ that matches."""
    [path] = DIST.glob(pattern)
    return path


def check_sdist(path: Path) -> list[str]:
    """Return a problem for each tracked file that the sdist lacks."""
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    existing = [name for name in tracked if (ROOT / name).exists()]
    return [f"{path.name} lacks {name}" for name in existing if name not in held]


def check_wheel(path: Path) -> list[str]:
    """Return what is wrong with the wheel's tag and files."""
    wheel = zipfile.ZipFile(path)
    names = set(wheel.namelist())
    problems = [f"{path.name} lacks {name}" for name in sorted(IN_WHEEL - names)]
    compiled = [name for name in names if name.endswith(".so")]
    if not compiled:
        problems.append(f"{path.name} lacks the compiled module _streaming")
    if sys.base_prefix != "/usr":
        local = [name for name in compiled if sys.base_prefix.encode() in wheel.read(name)]
        problems += [f"{path.name}: {name} holds the path {sys.base_prefix}" for name in local]
    if any(name.endswith(".c") for name in names):
        problems.append(f"{path.name} holds the source of the compiled module")
    if "abi3-manylinux" not in path.name:
        problems.append(f"{path.name} has another tag than abi3-manylinux")
    strangers = {name for name in names if not name.startswith(("kept/", "kept-"))}
    return problems + [f"{path.name} holds {name}" for name in sorted(strangers)]


def check_install(path: Path) -> list[str]:
    """Install the wheel into a fresh environment and use it there."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        programs = Path(folder, "bin")
        for command in (
            [programs / "pip", "install", "--quiet", "--disable-pip-version-check", path],
            [programs / "kept", "--version"],
            [programs / "python", "-c", PROGRAM],
            [programs / "kept", "--store", "store", "ls"],
        ):
            clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            run = subprocess.run(
                command, cwd=folder, env=clean, capture_output=True, text=True, check=False
            )
            print(run.stdout, end="")
            if run.returncode:
                return [f"{' '.join(map(str, command))} failed:\n{run.stderr}"]
    return []


if __name__ == "__main__":
    sys.exit(main())
