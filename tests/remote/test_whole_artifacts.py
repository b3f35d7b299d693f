"""Whole artifacts in a store on S3: what it costs, and writers of other processes."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import kept
from kept.bucket.memory import MemoryBucket
from kept.bucket.object_storage.bucket import ObjectBucket
from kept.cli.main import cli
from tests.helpers import finish, start
from tests.remote.test_costs import content, put_all

RENAMES = """
import sys, kept
store = kept.open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(store.rename("m", "net"), flush=True)
"""
LOGS = """
import sys, kept
store = kept.open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for n in range(6):
    version = store.log_artifact("m", kept.MemoryFile("f", [b"late %d" % n]), aliases=[f"late_{n}"])
    print(version.reference, flush=True)
"""


@pytest.fixture
def requests(monkeypatch):
    """The calls to the server, by name."""
    found = []

    def counted(name):
        call = getattr(ObjectBucket, name)

        def method(self, *args, **options):
            found.append(name)
            return call(self, *args, **options)

        return method

    for name in ("get", "put", "put_if_absent", "items", "names", "keys", "size"):
        monkeypatch.setattr(ObjectBucket, name, counted(name))
    return found


def command(location, *args):
    result = CliRunner().invoke(cli, ["--store", location, *args, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_all_of_it_works_there(s3, tmp_path):
    store = kept.open_store(s3)
    for n in range(3):
        store.log_artifact("m", content(f"{n}"), aliases=[f"epoch_{n}", "best"])
    store.set_alias("m:v0", "prod")
    store.rename("m", "net")
    copy = store.copy("net:prod", "best")
    assert (copy.bytes_new, str(copy.uses[0])) == (0, "net:v0")
    local = kept.open_store(tmp_path / "local")
    assert local.copy(copy, "m").bytes_new == 1
    assert store.copy(local.version("m"), "back").is_new
    store.remove_artifact("net", force=True)
    assert [a.name for a in kept.open_store(s3).artifacts()] == ["back", "best"]
    assert store.restore_artifact("net").versions == (0, 1, 2)
    assert [v.aliases for v in kept.open_store(s3).versions("net")] == [
        ("epoch_0", "prod"),
        ("epoch_1",),
        ("latest", "best", "epoch_2"),
    ]
    assert store.verify().problems == []


def test_a_dry_run_of_many_reads_no_log_that_the_overview_knows(s3, requests):
    source = kept.Store(MemoryBucket())
    for n in range(40):
        for v in range(3):
            source.log_artifact(f"run_{n:02}", content(f"{n} {v}"))
    put_all(source.bucket, s3)
    command(s3, "ls")  # writes the overview
    requests.clear()
    planned = command(s3, "rm", "run_*", "--dry-run")
    assert [each["remove"] for each in planned] == [True] * 40
    assert requests.count("get") <= 4  # kept.json and the overview
    assert requests.count("items") <= 41  # the end of each log
    command(s3, "rm", "run_*")
    requests.clear()
    assert command(s3, "ls") == []
    assert requests.count("get") <= 4, "the removal has noted the new end of each log"
    command(s3, "undelete", "run_*")
    requests.clear()
    assert len(command(s3, "ls")) == 40
    assert requests.count("get") <= 4


def test_no_version_is_lost_if_others_log_and_rename_meanwhile(s3):
    store = kept.open_store(s3)
    for n in range(3):
        store.log_artifact("m", content(f"{n}"))
    writers = [start(code, s3) for code in (RENAMES, LOGS)]
    for writer in writers:
        assert writer.line() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        finish(writer)
    store = kept.open_store(s3)
    if store.log("m").view().has_version() and store.versions("m"):
        store.rename("m", "net")  # what was logged to the old name after it was renamed
    versions = store.versions("net")
    assert [v.index for v in versions] == list(range(9))
    assert {alias for v in versions for alias in v.aliases} == {
        "latest",
        *(f"late_{n}" for n in range(6)),
    }
    assert store.verify().problems == []
