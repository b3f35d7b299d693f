"""kept prune, ttl, undelete and gc."""

from __future__ import annotations

import re

import pytest

from kept.cli import retain
from tests.cli.test_change import Terminal
from tests.helpers import write


def indexes(store):
    return [version.index for version in store.versions("mnist")]


def test_prune_tells_and_does(run, store):
    told = run("prune", "mnist", "--keep-last", "1", "--dry-run").stdout.splitlines()
    assert told[0].split() == ["version", "size", "value", "why"]
    assert told[1].split() == [
        "v0",
        "1.0",
        "kB",
        "0.5",
        *["would", "be", "deleted", "no", "rule", "keeps", "it"],
    ]
    assert told[2].split()[4:] == ["kept", "alias", "best"]
    assert told[3].split()[4:] == ["kept", "newest,", "last", "1"]
    assert told[4].startswith("1 version of 1.0 kB would be deleted")
    assert indexes(store) == [0, 1, 2]
    shapes = run.json("prune", "mnist", "--keep-last", "1")
    assert [(s["reference"], s["keep"]) for s in shapes] == [
        ("mnist:v0", False), ("mnist:v1", True), ("mnist:v2", True),
    ]  # fmt: skip
    assert shapes[1]["reasons"] == ["alias best"]
    assert indexes(store) == [1, 2]


def test_every_rule_has_its_option(run, store, tmp_path):
    for epoch in range(3):
        path = write(tmp_path / "f", b"%d" % epoch * 1000)
        metadata = {"epoch": epoch, "monitor": "acc", "mode": "max", "value": abs(epoch - 1.2)}
        store.log_artifact("m", path, metadata=metadata)
    for option, value, kept in [
        ("--keep-best", "1", [0, 2]),
        ("--keep-every", "2 epochs", [1, 2]),
        ("--keep-within", "1d", [0, 1, 2]),
        ("--keep-bytes", "2.5kB", [1, 2]),
    ]:
        shapes = run.json("prune", "m", option, value, "--dry-run")
        assert [shape["reference"] for shape in shapes if shape["keep"]] == [
            f"m:v{n}" for n in kept
        ], option


@pytest.mark.parametrize(
    ("args", "says"),
    [(("--keep-last", "0"), "last=0"), (("--keep-every", "x"), "'10 epochs'"),
     (("--keep-bytes", "much"), "'much'")],
)  # fmt: skip
def test_bad_rules(run, store, args, says):
    assert says in run("prune", "mnist", *args, exit=2).stderr
    run("prune", "nothing", "--keep-last", "1", exit=3)


def test_on_a_terminal_prune_asks(run, store, monkeypatch):
    monkeypatch.setattr(retain, "sys", type("", (), {"stdin": Terminal()}))
    result = run("prune", "mnist", "--keep-last", "1", input="n\n", exit=1)
    assert "Delete 1 version of mnist?" in result.stderr
    assert indexes(store) == [0, 1, 2]
    run("prune", "mnist", "--keep-last", "1", input="y\n")
    assert indexes(store) == [1, 2]
    assert "?" not in run("prune", "mnist", "--keep-last", "1").stderr  # nothing to do


def test_ttl_and_prune_without_rules(run, store):
    told = run("ttl", "mnist:v0", "7d").stdout
    assert re.fullmatch(r"mnist:v0 expires 20\d\d-\d\d-\d\d \d\d:\d\d\n", told)
    run("prune", "mnist")
    assert indexes(store) == [0, 1, 2]
    assert run.json("ttl", "mnist:v0", "0s")["expires"] is not None
    run("prune", "mnist")
    assert indexes(store) == [1, 2]
    assert run("ttl", "mnist:v2", "--remove").stdout == "mnist:v2 stays\n"
    run("ttl", "mnist:v2", exit=2)
    run("ttl", "mnist:v2", "soon", exit=2)


def test_undelete_until_gc(run, store):
    run("rm", "mnist:best", "--force")
    assert run("undelete", "mnist:v1").stdout == "mnist:v1 is there again, with best, epoch_1\n"
    assert run("undelete", "mnist:v1").stdout == "mnist:v1 was not deleted\n"
    run("rm", "mnist:best", "--force")
    assert run.json("undelete", "mnist:v1")["aliases"] == ["best", "epoch_1"]
    run("rm", "mnist:best", "--force")
    assert run("gc").stdout == (
        "0 B freed; "
        "1 version that was deleted in the last 24h can be undeleted and keeps its bytes\n"
    )
    assert run.json("gc")["waiting"] == 1
    told = run("gc", "--grace", "0s", "--dry-run").stdout.splitlines()
    assert re.match(r"mnist:v1, deleted 20\d\d-\d\d-\d\d \d\d:\d\d: .* in 2 blobs", told[0])
    assert told[1].endswith("kB would be freed")
    shape = run.json("gc", "--grace", "0s")
    assert (shape["keys"], shape["expired"]) == (2, [])
    assert shape["bytes"] == shape["reasons"][0]["bytes"] > 1000
    assert "gc has removed its content" in run("undelete", "mnist:v1", exit=3).stderr
    assert store.verify().problems == []
    assert run("gc").stdout == "0 B freed\n"  # it can be undeleted no more
    run("gc", "--grace", "x", exit=2)


def test_gc_tells_of_versions_in_their_order(run, store, tmp_path):
    for n in range(3, 12):
        store.log_artifact("mnist", write(tmp_path / "f", b"%d" % n * 1000))
    for n in (10, 9, 0):
        run("rm", f"mnist:v{n}", "--force")
    told = run("gc", "--grace", "0s").stdout.splitlines()
    assert [line.partition(",")[0] for line in told[:-1]] == ["mnist:v0", "mnist:v9", "mnist:v10"]


def test_moments_are_told_as_people_read_them(run, store):
    run("ttl", "mnist:v0", "0s")
    told = run("prune", "mnist").stdout.splitlines()[1]
    assert re.search(r"deleted +expired 20\d\d-\d\d-\d\d \d\d:\d\d$", told)


def test_ls_shows_the_deleted_when_asked(run, store):
    run("rm", "mnist:v0", "--force")
    assert "v0" not in run("ls", "mnist").stdout
    lines = run("ls", "mnist", "--all").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["version", "v0", "v1", "v2"]
    shapes = run.json("ls", "mnist", "--all")
    assert [bool(shape["deleted_at"]) for shape in shapes] == [True, False, False]
