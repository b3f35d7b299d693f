"""kept rm and undelete for whole artifacts, kept mv and kept cp."""

from __future__ import annotations

import click
import pytest

import kept
from tests.helpers import write


@pytest.fixture
def runs(store, tmp_path):
    """Two artifacts of runs beside mnist; mnist:v0 is prod."""
    for name in ("run_1", "run_2"):
        for n in range(2):
            path = write(tmp_path / "in" / "f", f"{name} {n}".encode())
            store.log_artifact(name, path, aliases=[f"epoch_{n}", "best"])
    store.set_alias("mnist:v0", "prod")
    return store


def names(store):
    return [artifact.name for artifact in store.artifacts()]


def test_a_name_alone_deletes_nothing(run, runs):
    text = run("rm", "mnist", "--force", exit=2).stderr
    assert "mnist:v3" in text
    assert "kept rm --artifact mnist" in text
    assert len(runs.versions("mnist")) == 3
    assert "mnist:v3" in run("undelete", "mnist", exit=2).stderr


def test_several_versions_at_once(run, runs):
    run("rm", "run_1:v0", "run_1:v7", exit=3)
    assert len(runs.versions("run_1")) == 2, "all are found before one is deleted"
    shapes = run.json("rm", "run_1:v0", "run_2:v0", "--force")
    assert [(s["reference"], s["deleted"]) for s in shapes] == [
        ("run_1:v0", True),
        ("run_2:v0", True),
    ]
    result = run("undelete", "run_1:v0", "run_2:v0").stdout
    assert result == "Restored run_1:v0 (epoch_0)\nRestored run_2:v0 (epoch_0)\n"


def test_a_dry_run_of_a_version(run, runs):
    assert run("rm", "mnist:v0", "--dry-run").stdout == "Would delete mnist:v0 (1.0 kB)\n"
    assert run.json("rm", "mnist:v0", "--dry-run")["deleted"] is False
    assert len(runs.versions("mnist")) == 3


def test_a_plan_first(run, runs):
    lines = run("rm", "*", "--dry-run").stdout.splitlines()
    assert lines[0].split() == ["name", "versions", "newest", "aliases", "why"]
    assert lines[1].split()[-4:] == ["prod", "stays", "alias", "prod"]
    assert lines[2].split()[-1] == lines[3].split()[-1] == "remove"
    assert lines[4] == "2 artifacts with 4 versions would be removed"
    assert names(runs) == ["mnist", "run_1", "run_2"]
    text = run("rm", "*", exit=1).stderr
    assert "Nothing is removed, because of mnist (alias prod)" in text
    assert names(runs) == ["mnist", "run_1", "run_2"]


def test_a_pattern_removes_artifacts_and_undelete_restores_them(run, runs):
    text = run("rm", "run_*").stdout
    assert text == (
        "Removed 2 artifacts with 4 versions. To undo, before gc: kept undelete --artifact run_1 "
        "run_2\n"
    )
    assert names(runs) == ["mnist"]
    assert "run_1" not in run("ls").stdout
    assert "run_1" in run("ls", "--all").stdout
    again = run("rm", "run_*")
    assert (again.stdout, again.stderr) == ("", "Nothing to remove.\n")
    assert "kept undelete --artifact run_1" in run("show", "run_1", exit=3).stderr
    text = run("undelete", "run_*").stdout
    assert text == "Restored run_1 (2 versions)\nRestored run_2 (2 versions)\n"
    assert "none of these" in run("undelete", "run_*").stderr
    assert run("undelete", "--artifact", "run_1").stdout == "run_1: was not removed\n"
    assert runs.version("run_1:best").index == 1


def test_as_json(run, runs):
    [mnist, *others] = run.json("rm", "*", "--keep-aliased")
    assert mnist == {
        "name": "mnist",
        "versions": 3,
        "created_at": runs.version("mnist").record.created_at,
        "aliases": ["prod"],
        "remove": False,
        "why": "alias prod",
    }
    assert [(o["name"], o["remove"], o["why"]) for o in others] == [
        ("run_1", True, None),
        ("run_2", True, None),
    ]
    assert run.json("undelete", "run_1*") == [
        {"name": "run_1", "restored": ["v0", "v1"], "gone": []}
    ]
    assert run.json("rm", "run_*", "--older-than", "30d")[0]["remove"] is False


def test_named_artifacts(run, runs):
    assert "run_9" in run("rm", "--artifact", "run_1", "run_9", exit=3).stderr
    assert len(names(runs)) == 3
    assert "alias prod" in run("rm", "--artifact", "mnist", exit=1).stderr
    out = run("rm", "--artifact", "mnist", "--force").stdout
    assert out.startswith("Removed mnist: 1 artifact with 3 versions.")
    runs.restore_artifact("mnist")
    runs.protect("prod")
    assert "prod is protected" in run("rm", "--artifact", "mnist", "--force", exit=1).stderr


@pytest.mark.parametrize(("answer", "exit", "left"), [("y\n", 0, 1), ("n\n", 1, 3)])
def test_on_a_terminal_it_asks(run, runs, terminal, answer, exit, left):
    result = run("rm", "run_*", input=answer, exit=exit)
    assert "Remove run_1, run_2: 2 artifacts with 4 versions?" in result.stderr
    assert len(names(runs)) == left


def test_it_asks_nothing_if_nothing_is_to_be_removed(run, runs, terminal, monkeypatch):
    monkeypatch.setattr(click, "confirm", lambda *_, **__: pytest.fail("it asked"))
    run("rm", "run_*", "--older-than", "30d")
    run("rm", "run_*", "--dry-run")
    run("rm", "run_*", "--yes")


@pytest.mark.parametrize("args", [
    ("mnist:v0", "--older-than", "3d"),
    ("mnist:v0", "--keep-aliased"),
    ("--artifact", "mnist:v0"),
    ("run_*", "mnist:v0"),
    ("run_*:v0",),
    ("run_*", "--older-than", "soon"),
    (),
])  # fmt: skip
def test_wrong_usage(run, runs, args):
    run("rm", *args, exit=2)
    assert names(runs) == ["mnist", "run_1", "run_2"]


def test_a_damaged_log(run, runs):
    runs.bucket.put(runs.log("run_1").records.key(2), [b"{}"])
    result = run("rm", "run_*", exit=4)
    assert "Removed run_2" in result.stdout
    assert "1 artifact not removed" in result.stderr
    assert kept.open_store().versions("run_2") == []


def test_mv_and_back(run, runs):
    text = run("mv", "mnist", "digits").stdout
    assert text == "Renamed mnist to digits (3 versions). To undo: kept mv digits mnist\n"
    assert "mnist was renamed: its versions are in digits" in run("show", "mnist", exit=3).stderr
    assert "renamed to digits" in run("ls", "mnist").stderr
    assert runs.version("digits:prod").index == 0
    assert run.json("mv", "digits", "mnist") == {"old": "digits", "name": "mnist", "versions": 3}
    assert "exists already" in run("mv", "run_1", "mnist", exit=2).stderr
    run("mv", "none", "x", exit=3)


def test_cp_within_the_store_and_to_another_one(run, runs, tmp_path):
    assert run("cp", "mnist:prod", "best").stdout == "mnist:v0 is best:v0 now; 0 B copied\n"
    assert run("cp", "mnist:prod", "best").stdout == (
        "best:v0 has the content of mnist:v0 already\n"
    )
    text = run("cp", "mnist:v1", "other/best").stdout
    there = tmp_path / "other"
    assert text == f"mnist:v1 is best:v0 in {there} now; 1.0 kB copied\n"
    shape = run.json("cp", "mnist:v2", f"{there}/best")
    assert (shape["reference"], shape["is_new"], shape["bytes_new"]) == ("best:v1", True, 1002)
    assert kept.open_store(there).verify().problems == []
    run("cp", "mnist:v9", "x", exit=3)
    run("cp", "mnist", "other/", exit=2)
    run("cp", "mnist", "a:b", exit=2)
