"""A disk that is really full: a file system of 40 MB, mounted in a namespace of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[3]


def run(tmp_path, *args):
    """Run full_disk.py with a small file system; return what it prints."""
    small = tmp_path / "disk" / "small"
    small.mkdir(parents=True)
    script = [sys.executable, "-m", "tests.training.save.full_disk", *map(str, args)]
    mount = f"mount -t tmpfs -o size=40m none {shlex.quote(str(small))}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False).returncode:
        pytest.skip("nothing can be mounted here: it takes root, or user namespaces")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{mount} && exec {shlex.join(script)}"],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("on_error", ["warn", "raise"])
@pytest.mark.parametrize("where", ["store", "files", "outbox"])
def test_what_is_good_stays_good_and_saving_works_again(where, on_error, s3, tmp_path):
    found = run(tmp_path, where, on_error, tmp_path / "disk", s3)
    assert found["before"] == [0, 1]
    told = found["warned"] if on_error == "warn" else [found["raised"]]
    if on_error == "raise":
        assert found["raised"]
    elif where == "files":  # one that the next save replaces at once may be passed over
        assert "Epoch 3" in told[-1]
    else:
        assert len(told) == 3
    for text in told:
        assert "m.keras could not be saved" in text
        assert "No space left on device" in text
        assert "Free some space" in text
    if on_error == "warn":
        assert not found["raised"]
    # Where the file alone has no room, the version is there all the same.
    assert (found["full"] == [0, 1]) == (where != "files")
    assert found["left"] == []  # nothing half
    assert found["again"] == [""]
    assert len(found["after"]) == len(found["full"]) + 2


def test_with_keep_the_disk_never_stays_full(tmp_path):
    found = run(tmp_path, "keeping", "raise", tmp_path / "disk")
    assert (found["warned"], found["raised"]) == ([], "")
    assert len(found["after"]) == 2
    assert found["written"] > 2 * 40_000_000
