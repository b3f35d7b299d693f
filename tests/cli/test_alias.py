"""kept alias."""

from __future__ import annotations

import pytest


def test_an_alias_is_put_and_moved(run, store):
    assert run("alias", "mnist:v0", "prod").stdout == "mnist:prod is mnist:v0\n"
    assert run("alias", "mnist:v2", "prod").stdout == "mnist:prod is mnist:v2 (was mnist:v0)\n"
    assert run("alias", "mnist:v2", "prod").stdout == "mnist:prod is mnist:v2, as before\n"
    shape = run.json("alias", "mnist:best", "prod")
    assert (shape["alias"], shape["was"]) == ("prod", "mnist:v2")
    assert (shape["reference"], shape["aliases"]) == ("mnist:v1", ["best", "epoch_1", "prod"])
    assert "prod" not in store.version("mnist:v0").aliases


def test_an_alias_is_removed(run, store):
    text = run("alias", "--remove", "mnist:best").stdout
    assert text == "Removed alias mnist:best (was mnist:v1)\n"
    assert store.version("mnist:v1").aliases == ("epoch_1",)
    shape = run.json("alias", "mnist:epoch_1", "--remove")
    assert (shape["removed"], shape["reference"], shape["aliases"]) == ("epoch_1", "mnist:v1", [])


@pytest.mark.parametrize("ref", ["mnist:v1", "mnist", "mnist:latest"])
def test_only_an_alias_can_be_removed(run, store, ref):
    assert f"Received: {ref!r}" in run("alias", "--remove", ref, exit=2).stderr


@pytest.mark.parametrize(
    "args",
    [
        ("mnist:v1",), ("--remove", "mnist:best", "x"), ("mnist:v1", "v7"), ("mnist", "a b"),
        ("mnist:v1", "latest"), ("mnist:v1", "epoch_7"), ("mnist:v1", "epoch_7_batch_1"),
    ],
)  # fmt: skip
def test_wrong_use_of_alias(run, store, args):
    run("alias", *args, exit=2)
    assert store.version("mnist:best").aliases == ("best", "epoch_1")


def test_an_alias_that_is_missing_cannot_be_removed(run, store):
    assert "best" in run("alias", "--remove", "mnist:nope", exit=3).stderr
