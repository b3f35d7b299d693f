"""kept lineage, and what kept put and kept show say of the origin of versions."""

from __future__ import annotations

import pytest

import kept
from kept.cli import lineage as module


@pytest.fixture
def family(run):
    store = kept.open_store()

    def put(name, data, *uses):
        return store.log_artifact(name, kept.MemoryFile("f", [data]), uses=uses, capture=False)

    put("data", b"d")
    for n in range(5):
        put("m", b"%d" % n, "data:v0", kept.Source("s3://b/k", "sha256:" + "a" * 64))
    put("ensemble", b"e", "m:v4")
    return store


def test_both_directions_as_a_tree(run, family, monkeypatch):
    monkeypatch.setattr(module, "local_time", lambda _: "TODAY")
    monkeypatch.setattr(module, "_has_utf8", lambda: True)
    assert run("lineage", "ensemble").stdout == (
        "ensemble:v0 (latest), TODAY\n"
        "made from\n"
        "└─ uses m:v4 (latest), TODAY\n"
        "   ├─ uses data:v0 (latest), TODAY\n"
        "   └─ uses s3://b/k, sha256:aaaaaaaaaaaaaaaa…\n"
        "used for nothing in this store\n"
    )
    assert run("lineage", "data").stdout == (
        "data:v0 (latest), TODAY\n"
        "made from nothing that is known\n"
        "used for\n"
        "├─ used by m:v0 to v3 (4 versions), TODAY\n"
        "└─ used by m:v4 (latest), TODAY\n"
        "   └─ used by ensemble:v0 (latest), TODAY\n"
    )


def test_one_direction_and_a_terminal_without_utf8(run, family, monkeypatch):
    monkeypatch.setattr(module, "local_time", lambda _: "TODAY")
    monkeypatch.setattr(module, "_has_utf8", lambda: False)
    assert run("lineage", "m:v4", "--down").stdout == (
        "m:v4 (latest), TODAY\nused for\n`- used by ensemble:v0 (latest), TODAY\n"
    )
    assert "used for" not in run("lineage", "m:v4", "--up").stdout
    both = run("lineage", "m:v4", "--up", "--down").stdout
    assert "made from" in both
    assert "used for" in both


def test_deleted_versions_and_missing_stores_are_marked(run, family, tmp_path):
    other = kept.open_store(tmp_path / "other")
    base = other.log_artifact("base", kept.MemoryFile("f", [b"b"]), capture=False)
    family.log_artifact("tuned", kept.MemoryFile("f", [b"t"]), uses=[base, "m:v2"], capture=False)
    family.delete("m:v2")
    (tmp_path / "other").rename(tmp_path / "away")
    lines = run("lineage", "tuned", "--up").stdout.splitlines()
    assert lines[2].endswith(f"uses base:v0, there is no store, in {other.location}")
    assert "uses m:v2, deleted, " in lines[3]


def test_as_json(run, family):
    found = run.json("lineage", "m:v4")
    assert [node["reference"] for node in found["up"]] == ["data:v0", "s3://b/k"]
    assert [node["relation"] for node in found["down"]] == ["used by"]


def test_put_names_what_it_uses(run, family, tmp_path):
    (tmp_path / "f").write_text("1")
    run("put", "x", "f", "--uses", "data:latest", "--uses", "m:v1", "--source", "hf://d", "git:12")
    version = family.version("x")
    assert [str(link) for link in version.uses] == ["data:v0", "m:v1", "hf://d"]
    assert version.uses[2].digest == "git:12"
    assert version.provenance["command"]
    shown = run("show", "x").stdout
    for text in ("data:v0", "m:v1", "hf://d (git:12)", "packages.digest", "kept 0.1"):
        assert text in shown
    assert run.json("show", "x")["uses"][1]["artifact"] == "m"


def test_put_without_capture(run, tmp_path):
    (tmp_path / "f").write_text("1")
    run("put", "x", "f", "--no-capture")
    shown = run.json("show", "x")
    assert (shown["provenance"], shown["parent"], shown["uses"]) == ({}, None, [])
    assert "provenance" not in run("show", "x").stdout


@pytest.mark.parametrize(
    ("options", "exit", "message"),
    [
        (("--uses", "nope:v1"), 3, "No artifact 'nope'"),
        (("--uses", "data:v9"), 3, "data has no 'v9'"),
        (("--uses", "./f"), 2, "kept put f ./f --type dataset"),
        (("--source", "x", "nodigest"), 2, "<scheme>:<value>"),
    ],
)
def test_put_refuses_what_names_nothing(run, family, tmp_path, options, exit, message):
    (tmp_path / "f").write_text("1")
    assert message in run("put", "x", "f", *options, exit=exit).stderr
    assert "x" not in [artifact.name for artifact in family.artifacts()]


def test_a_version_that_does_not_exist(run, family):
    assert "no 'v9'" in run("lineage", "m:v9", exit=3).stderr
