"""kept prune."""

from __future__ import annotations

import re

import pytest

from tests.helpers import write


def indexes(store):
    return [version.index for version in store.versions("mnist")]


def test_prune_lists_and_deletes(run, store):
    lines = run("prune", "mnist", "--keep-last", "1", "--dry-run").stdout.splitlines()
    assert lines[0].split() == ["version", "size", "value", "why"]
    assert lines[1].split() == [
        "v0",
        "1.0",
        "kB",
        "0.5",
        *["would", "be", "deleted", "no", "rule", "keeps", "it"],
    ]
    assert lines[2].split()[4:] == ["kept", "alias", "best"]
    assert lines[3].split()[4:] == ["kept", "newest,", "last", "1"]
    assert lines[4].startswith("1 version of 1.0 kB would be deleted")
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


def test_on_a_terminal_prune_asks(run, store, terminal):
    result = run("prune", "mnist", "--keep-last", "1", input="n\n", exit=1)
    assert "Delete 1 version of mnist?" in result.stderr
    assert indexes(store) == [0, 1, 2]
    run("prune", "mnist", "--keep-last", "1", input="y\n")
    assert indexes(store) == [1, 2]
    assert "?" not in run("prune", "mnist", "--keep-last", "1").stderr  # nothing to do


def test_moments_are_local_times(run, store):
    run("ttl", "mnist:v0", "0s")
    lines = run("prune", "mnist").stdout.splitlines()[1]
    assert re.search(r"deleted +expired 20\d\d-\d\d-\d\d \d\d:\d\d$", lines)
