"""kept alias and kept rm."""

from __future__ import annotations

import sys
import types

import pytest

from kept.cli import change


def test_an_alias_is_put_and_moved(run, store):
    assert run("alias", "mnist:v0", "prod").stdout == "mnist:prod is mnist:v0\n"
    shape = run.json("alias", "mnist:best", "prod")
    assert (shape["reference"], shape["aliases"]) == ("mnist:v1", ["best", "epoch_1", "prod"])
    assert "prod" not in store.version("mnist:v0").aliases


def test_an_alias_is_taken_away(run, store):
    text = run("alias", "--remove", "mnist:best").stdout
    assert text == "mnist:best is no more; it was mnist:v1\n"
    assert store.version("mnist:v1").aliases == ("epoch_1",)
    shape = run.json("alias", "mnist:epoch_1", "--remove")
    assert (shape["removed"], shape["reference"], shape["aliases"]) == ("epoch_1", "mnist:v1", [])


@pytest.mark.parametrize("ref", ["mnist:v1", "mnist", "mnist:latest"])
def test_only_an_alias_can_be_taken_away(run, store, ref):
    assert f"Received: {ref!r}" in run("alias", "--remove", ref, exit=2).stderr


@pytest.mark.parametrize(
    "args", [("mnist:v1",), ("--remove", "mnist:best", "x"), ("mnist:v1", "v7"), ("mnist", "a b")]
)
def test_wrong_use_of_alias(run, store, args):
    run("alias", *args, exit=2)
    assert store.version("mnist:best").aliases == ("best", "epoch_1")


def test_an_alias_that_is_not_there_cannot_be_taken_away(run, store):
    assert "best" in run("alias", "--remove", "mnist:nope", exit=3).stderr


def test_rm_refuses_a_version_with_aliases(run, store):
    assert "epoch_0" in run("rm", "mnist:v0", exit=1).stderr
    assert len(store.versions("mnist")) == 3


def test_rm_deletes_and_says_how_to_take_it_back(run, store):
    store.remove_alias("mnist", "epoch_0")
    text = run("rm", "mnist:v0").stdout
    assert text == "Deleted mnist:v0; until gc, kept undelete mnist:v0 takes that back.\n"
    assert [version.version for version in store.versions("mnist")] == ["v1", "v2"]
    assert "was deleted" in run("show", "mnist:v0", exit=3).stderr


def test_rm_with_force(run, store):
    shape = run.json("rm", "mnist:best", "--force")
    assert (shape["reference"], shape["deleted"]) == ("mnist:v1", True)
    run("show", "mnist:best", exit=3)


class Terminal:
    """The input of the test, which says that it is a terminal."""

    def __getattr__(self, name):
        return getattr(sys.stdin, name)

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(change, "sys", types.SimpleNamespace(stdin=Terminal()))


@pytest.mark.parametrize(("answer", "exit", "left"), [("y\n", 0, 2), ("n\n", 1, 3), ("\n", 1, 3)])
def test_on_a_terminal_rm_asks(run, store, terminal, answer, exit, left):
    result = run("rm", "mnist:v1", "--force", input=answer, exit=exit)
    assert "Delete mnist:v1 (1.0 kB)?" in result.stderr
    assert len(store.versions("mnist")) == left


def test_rm_does_not_ask_when_told_so_or_when_it_will_refuse(run, store, terminal):
    assert "?" not in run("rm", "mnist:v0", exit=1).stderr
    assert "?" not in run("rm", "mnist:v0", "--force", "--yes").stderr


def test_rm_deletes_what_was_asked_about(run, store, terminal, monkeypatch):
    """The alias moves while the question is on the screen."""

    def answered(*_, **__):
        store.set_alias("mnist:v0", "best")

    monkeypatch.setattr(change.click, "confirm", answered)
    run("rm", "mnist:best", "--force")
    assert [version.version for version in store.versions("mnist")] == ["v0", "v2"]
