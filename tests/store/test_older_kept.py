"""An earlier kept reads and continues a store of this one, and this one continues after it.

It is the real source of that kept, out of the history of this repository.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import kept
from kept.store.log.pages import PAGE
from tests.helpers import tree, write

ROOT = Path(__file__).resolve().parents[2]
OLDER = "601d51c"  # the last commit whose records do not form a chain
pytestmark = pytest.mark.integration

READ = """
import json, sys, kept
store = kept.open_store(sys.argv[1])
print(json.dumps({
    "versions": [[v.index, list(v.aliases), v.metadata] for v in store.versions("m")],
    "deleted": [v.index for v in store.deleted("m")],
    "problems": [str(p) for p in store.verify().problems],
}))
"""
WRITE = """
import sys, kept
store = kept.open_store(sys.argv[1])
store.log_artifact("m", sys.argv[2], aliases=["older"])
store.set_alias("m:v1", "prod")
store.gc(grace=0)
"""


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """The folder of the source of the earlier kept."""
    command = ["git", "-C", str(ROOT), "archive", OLDER, "src"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"the history of this clone lacks {OLDER}")
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def run(source, code, *args):
    environment = os.environ | {"PYTHONPATH": str(source)}
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


@pytest.fixture
def store(tmp_path):
    """A store with a page, and with what a repair writes in place of lost records."""
    store = kept.open_store(tmp_path / "store")
    for n in range(PAGE + 3):
        store.log_artifact("m", write(tmp_path / "in" / "x", str(n).encode()), metadata={"n": n})
    store.delete("m:v0", force=True)
    for number in (PAGE + 1, PAGE + 4):  # a version in the middle, and the deletion at the end
        Path(store.location, store.log("m").records.key(number)).write_bytes(b"")
    store = kept.open_store(store.location)
    assert store.repair().lost == []
    return kept.open_store(store.location)


def facts(store):
    return {
        "versions": [[v.index, list(v.aliases), v.metadata] for v in store.versions("m")],
        "deleted": [v.index for v in store.deleted("m")],
        "problems": [],
    }


def test_it_reads_what_this_one_wrote(older, store):
    assert json.loads(run(older, READ, store.location).stdout) == facts(store)


def test_both_write_in_turns(older, store, tmp_path):
    expected = store.versions("m")[-1].index + 1
    for turn in range(3):
        file = write(tmp_path / "older" / "y", f"older {turn}".encode())
        run(older, WRITE, store.location, file)
        store = kept.open_store(store.location)
        assert store["m:older"].index == expected + 2 * turn
        assert tree(store["m:older"].download(tmp_path / "out")) == {"y": file.read_bytes()}
        mine = store.log_artifact("m", write(tmp_path / "in" / "x", f"mine {turn}".encode()))
        assert mine.index == expected + 2 * turn + 1
        assert store["m:prod"].index == 1
        store.gc(grace=0)
        assert store.verify().ok
        assert json.loads(run(older, READ, store.location).stdout) == facts(store)
