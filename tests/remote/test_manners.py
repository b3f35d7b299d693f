"""Artifacts by their names, and what the command answers, on a store in object storage."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import kept
from kept import errors
from kept.cli.main import cli
from kept.sync.outbox.outbox import Outbox
from tests.helpers import write


def error_of(*args):
    result = CliRunner().invoke(cli, [*args, "--json"])
    assert result.stdout == ""
    return json.loads(result.stderr.splitlines()[-1])["error"], result.exit_code


def test_an_artifact_is_a_series_of_versions(s3, tmp_path):
    store = kept.open_store(s3)
    for n in range(3):
        aliases = ["prod"] if n == 1 else []
        store.log_artifact("mnist", write(tmp_path / "f", b"%d" % n), aliases=aliases)
    artifact = kept.open_store(s3)["mnist"]
    assert [version.index for version in artifact] == [0, 1, 2]
    assert artifact["prod"] == artifact[1] == artifact["v1"] == store["mnist:prod"]
    assert artifact.latest == artifact[-1]
    assert artifact == store["mnist"]
    assert list(store) == [artifact]
    with pytest.raises(errors.ArtifactNotFound, match="Did you mean 'mnist'"):
        store["mnits"]
    error, code = error_of("--store", s3, "show", "mnist:prd")
    assert "Did you mean 'prod'?" in error["message"]
    assert (error["type"], error["exit_code"], code) == ("VersionNotFound", 3, 3)


def test_no_store_yet_but_checkpoints_that_wait(s3, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Outbox().add(s3, {"m": write(tmp_path / "f", b"1")}, {"artifact": "m"})
    error, code = error_of("ls", "--store", s3)
    assert (
        f"There is no store in {s3}. 1 checkpoint waits in {tmp_path}/kept-outbox; "
        in (error["message"])
    )
    assert "kept sync --status" in error["message"]
    assert (error["type"], code) == ("NoStore", 3)


def test_a_list_says_what_waits_to_be_uploaded(s3, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept.open_store(s3).log_artifact("m", write(tmp_path / "f", b"0"))
    for name in ("m", "other"):
        Outbox().add(s3, {"m": write(tmp_path / "f", b"1")}, {"artifact": name})
    listed = CliRunner().invoke(cli, ["ls", "--store", s3])
    assert listed.stderr.startswith("2 checkpoints in ")
    one = CliRunner().invoke(cli, ["ls", "m", "--store", s3])
    assert one.stderr.startswith("1 checkpoint of m in ")
    assert one.stderr.endswith("not uploaded yet; to upload: kept sync\n")


def test_a_bucket_that_does_not_exist(s3_environment):
    error, code = error_of("ls", "--store", "s3://no-such-bucket/x")
    assert (error["type"], code) == ("BucketNotFound", 1)
