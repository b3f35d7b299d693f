"""kept undelete, until gc."""

from __future__ import annotations

import re


def test_undelete_until_gc(run, store):
    run("rm", "mnist:best", "--force")
    assert run("undelete", "mnist:v1").stdout == "Restored mnist:v1 (best, epoch_1)\n"
    assert run("undelete", "mnist:v1").stdout == "mnist:v1 was not deleted\n"
    run("rm", "mnist:best", "--force")
    assert run.json("undelete", "mnist:v1")["aliases"] == ["best", "epoch_1"]
    run("rm", "mnist:best", "--force")
    assert run("gc").stdout == (
        "0 B freed; 1 version deleted in the last 24h keeps its bytes and can be undeleted\n"
    )
    assert run.json("gc")["waiting"] == 1
    lines = run("gc", "--grace", "0s", "--dry-run").stdout.splitlines()
    assert re.match(r"mnist:v1, deleted 20\d\d-\d\d-\d\d \d\d:\d\d: .* in 2 blobs", lines[0])
    assert lines[1].endswith("kB would be freed")
    shape = run.json("gc", "--grace", "0s")
    assert (shape["keys"], shape["expired"]) == (2, [])
    assert shape["bytes"] == shape["reasons"][0]["bytes"] > 1000
    assert "gc has removed its content" in run("undelete", "mnist:v1", exit=3).stderr
    assert store.verify().problems == []
    assert run("gc").stdout == "0 B freed\n"  # it can no longer be undeleted
    run("gc", "--grace", "x", exit=2)


def test_ls_shows_the_deleted_when_asked(run, store):
    run("rm", "mnist:v0", "--force")
    assert "v0" not in run("ls", "mnist").stdout
    lines = run("ls", "mnist", "--all").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["version", "v0", "v1", "v2"]
    shapes = run.json("ls", "mnist", "--all")
    assert [bool(shape["deleted_at"]) for shape in shapes] == [True, False, False]
