"""kept sync, if both stores have changed: notes, another name, and which history stays."""

from __future__ import annotations

import json
import shlex

import pytest
from click.testing import CliRunner

import kept
from kept.cli.main import cli
from kept.store.receipts import Receipts, receipts


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEPT_OUTBOX", raising=False)


def run(*args, code=0):
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output


def log(store, text, name="m", **options):
    return store.log_artifact(name, kept.MemoryFile("f", [text.encode()]), **options)


def texts(location, name="m"):
    """The content of each version, deleted ones not included."""
    store = kept.open_store(location)
    assert store.verify().ok
    return {v.index: v.metadata["text"] for v in store.versions(name)}


@pytest.fixture
def stores(tmp_path):
    return diverged(tmp_path / "here", tmp_path / "there")


def diverged(here, there):
    """A store and its mirror: both have v0, and each another v1; the source has a v2, too."""
    source, target = map(kept.open_store, (here, there))
    log(source, "common", metadata={"text": "common"})
    Receipts(source.bucket, target.location).register("m")
    run("--store", source.location, "sync")
    for n in (1, 2):
        log(source, f"here {n}", metadata={"text": f"here {n}"}, aliases=["best"])
    log(target, "there 1", metadata={"text": "there 1"}, aliases=["best"])
    kept.open_store(target.location).set_alias("m:v0", "prod")
    return source.location, target.location


HERE = {0: "common", 1: "here 1", 2: "here 2"}
THERE = {0: "common", 1: "there 1"}


def test_an_artifact_that_diverged_is_named_with_commands_that_work_and_stops_no_other(stores):
    here, there = stores
    log(kept.open_store(here), "other", "other")
    result = CliRunner().invoke(cli, ["sync", here, there])
    assert result.exit_code == 1
    assert "other: 1 version" in result.stdout
    command = f"kept sync {here} {there} --artifact m"
    assert f"{command} --as m-2" in result.stderr
    assert f"{command} --ours" in result.stderr
    assert (texts(here), texts(there)) == (HERE, THERE)
    [copied] = json.loads(CliRunner().invoke(cli, ["sync", here, there, "--json"]).stdout)
    assert list(copied["diverged"]) == ["m"]
    words = shlex.split(command)[1:]
    assert "m-2: 3 versions" in run(*words, "--as", "m-2")
    assert texts(there, "m-2") == HERE
    assert texts(there) == THERE
    assert "m-2: nothing new" in run(*words, "--as", "m-2")


def test_ours(stores):
    here, there = stores
    out = run("sync", here, there, "--artifact", "m", "--ours", "-y")
    assert f"m of {there} is m-2 now" in out
    assert "m: 2 versions" in out
    assert texts(here) == texts(there) == HERE
    assert texts(there, "m-2") == THERE
    renamed = kept.open_store(there)
    assert renamed["m-2:prod"].index == 0
    assert renamed["m-2:best"].index == 1
    assert renamed["m:best"].index == 2
    assert "nothing new" in run("sync", here, there, "--artifact", "m")
    [receipt] = receipts(kept.open_store(here).bucket)
    assert receipt.version == 2
    kept.open_store(there).gc(grace="0s")
    assert texts(there, "m-2") == THERE
    assert texts(there) == HERE


def test_both_in_object_storage(s3, tmp_path):
    here, there = diverged(tmp_path / "here", s3)
    run("sync", here, there, "--artifact", "m", "--ours", "-y")
    assert texts(here) == texts(there) == HERE
    assert texts(there, "m-2") == THERE
    log(kept.open_store(there), "own", metadata={"text": "own"})
    log(kept.open_store(here), "mine", metadata={"text": "mine"})
    run("sync", here, there, "--artifact", "m", "--theirs", "-y")
    assert texts(here) == texts(there) == HERE | {3: "own"}
    assert texts(here, "m-2") == HERE | {3: "mine"}


def test_theirs(stores):
    here, there = stores
    out = run("sync", here, there, "--artifact", "m", "--theirs", "-y", "--as", "mine", "--json")
    [copied] = json.loads(out)
    assert (copied["source"], copied["target"], copied["renamed"]) == (there, here, "mine")
    assert texts(here) == texts(there) == THERE
    assert texts(here, "mine") == HERE
    [receipt] = receipts(kept.open_store(here).bucket)
    assert receipt.version == 1
    log(kept.open_store(here), "next", metadata={"text": "next"})
    assert "m: 1 version" in run("--store", here, "sync", "--artifact", "m")
    assert texts(here) == texts(there) == THERE | {2: "next"}


def test_without_a_divergence_it_only_copies(tmp_path):
    store = kept.open_store(tmp_path / "here")
    log(store, "a", metadata={"text": "a"})
    words = ["sync", store.location, tmp_path / "there", "--artifact", "m", "--ours", "-y"]
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert (result.exit_code, result.stderr) == (0, "m has not diverged.\n")
    assert texts(tmp_path / "there") == {0: "a"}
    assert [a.name for a in kept.open_store(tmp_path / "there").artifacts()] == ["m"]


def test_wrong_combinations(stores):
    here, there = stores
    need = "need a TARGET and --artifact NAME"
    for option in (["--ours"], ["--theirs"], ["--as", "x"]):
        assert need in run("sync", here, there, *option, code=2)
        assert need in run("--store", here, "sync", "--artifact", "m", *option, code=2)
    both = run("sync", here, there, "--artifact", "m", "--ours", "--theirs", code=2)
    assert "not both" in both
    one = ["sync", here, there, "--artifact", "m", "-y", "--ours"]
    assert "Pass a free name" in run(*one, "--as", "m", code=2)
    log(kept.open_store(there), "x", "taken")
    assert "Pass a free name" in run(*one, "--as", "taken", code=2)
    assert "is not a copy" in run(*one[:-2], "--as", "taken", code=1)
    assert "No artifact" in run("sync", here, there, "--artifact", "none", "--as", "x", code=3)
    assert "same store" in run("sync", here, here, "--artifact", "m", "--as", "x", code=2)
    assert (texts(here), texts(there)) == (HERE, THERE)


def test_what_was_changed_in_both_stores_is_printed(tmp_path):
    source = kept.open_store(tmp_path / "here")
    for n in range(3):
        log(source, f"{n}")
    here, there = source.location, str(tmp_path / "there")
    run("sync", here, there)
    run("--store", here, "alias", "m:v1", "prod")
    run("--store", there, "alias", "m:v2", "prod")
    run("--store", there, "alias", "m:v0", "mine")
    run("--store", here, "rm", "m:v0", "-y")
    out = run("sync", here, there)
    assert (
        f"m: the alias prod was moved in both stores: the later move counts, v2 in {there}" in out
    )
    assert f"m: v0 was deleted in {here} and stays in {there}: the alias mine was set there" in out
    run("--store", there, "alias", "m:v1", "other")
    run("--store", here, "rm", "m:v1", "--force", "-y")
    [copied] = json.loads(run("sync", here, there, "--json"))
    assert len(copied["artifacts"][0]["notes"]) == 1
