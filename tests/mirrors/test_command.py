"""kept sync, and what kept ls says of mirrors."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import kept
from kept.cli.main import cli
from kept.mirrors.receipts import Receipts
from tests.conftest import KEY_ID, SECRET
from tests.helpers import write


@pytest.fixture
def here(tmp_path):
    store = kept.open_store(tmp_path / "here")
    for n in range(3):
        store.log_artifact("m", write(tmp_path / "f", b"%d" % n * 1000), aliases=[f"e{n}"])
    store.log_artifact("other", write(tmp_path / "f", b"other"))
    return store


def run(*args, code=0):
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output


def test_to_object_storage_and_back(here, s3, tmp_path):
    out = json.loads(run("--store", here.location, "sync", s3, "--json"))
    [result] = out
    assert result["target"] == s3
    assert [(a["name"], a["versions"]) for a in result["artifacts"]] == [("m", 3), ("other", 1)]
    assert "nothing new" in run("--store", here.location, "sync", s3)
    run("sync", s3, tmp_path / "back", "--artifact", "m")
    back = kept.open_store(tmp_path / "back")
    assert [a.name for a in back.artifacts()] == ["m"]
    assert [v.digest for v in back.versions("m")] == [v.digest for v in here.versions("m")]
    assert back.verify().problems == []
    for command in (
        ["ls"],
        ["ls", "m"],
        ["show", "m:e1"],
        ["verify"],
        ["get", "m", tmp_path / "g"],
    ):
        shown = run("--store", s3, *command)
        assert KEY_ID not in shown
        assert SECRET not in shown
    run("--store", s3, "alias", "m:v0", "prod")
    run("--store", s3, "rm", "m:v1", "--force", "-y")
    run("sync", s3, here.location)
    assert here["m:prod"].index == 0
    assert [v.index for v in here.versions("m")] == [0, 2]


def test_ls_tells_what_is_mirrored(here, tmp_path):
    assert "mirrored" not in run("--store", here.location, "ls", "m")
    target = kept.open_store(tmp_path / "target")
    Receipts(here.bucket, target.location).register("m")
    listed = json.loads(run("--store", here.location, "ls", "m", "--json"))
    assert [v["mirrored"] for v in listed] == [{target.location: False}] * 3
    assert run("--store", here.location, "ls", "m").count("local") == 3
    assert "m: 3 versions" in run("--store", here.location, "sync")
    listed = json.loads(run("--store", here.location, "ls", "m", "--json"))
    assert [v["mirrored"] for v in listed] == [{target.location: True}] * 3
    here.log_artifact("m", write(tmp_path / "f", b"new"))
    listed = json.loads(run("--store", here.location, "ls", "m", "--json"))
    assert [v["mirrored"][target.location] for v in listed] == [True, True, True, False]


def test_wrong_usage(here, tmp_path):
    assert "has no mirrors" in run("--store", here.location, "sync", code=2)
    assert "same store" in run("--store", here.location, "sync", here.location, code=2)
    assert "No artifact" in run(
        "--store", here.location, "sync", tmp_path / "t", "--artifact", "none", code=3
    )
    run("sync", "a", "b", "c", code=2)
    run("sync", tmp_path / "nothing", tmp_path / "t", code=3)


def test_stores_that_differ_are_refused(here, tmp_path):
    other = kept.open_store(tmp_path / "t")
    other.log_artifact("m", write(tmp_path / "f", b"its own"))
    out = run("--store", here.location, "sync", tmp_path / "t", code=1)
    assert "is not a copy" in out
    assert len(other.versions("m")) == 1
