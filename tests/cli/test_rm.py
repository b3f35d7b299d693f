"""kept rm."""

from __future__ import annotations

import click
import pytest


def test_rm_refuses_a_version_with_aliases(run, store):
    refused = run("rm", "mnist:v1", exit=1).stderr
    assert "mnist:v1 has the aliases best. Remove them, or pass --force" in refused
    assert len(store.versions("mnist")) == 3


def test_rm_deletes_and_says_how_to_undo_it(run, store):
    text = run("rm", "mnist:v0").stdout
    assert text == "Deleted mnist:v0. To undo, before gc: kept undelete mnist:v0\n"
    assert [version.version for version in store.versions("mnist")] == ["v1", "v2"]
    assert "was deleted" in run("show", "mnist:v0", exit=3).stderr


def test_rm_with_force(run, store):
    shape = run.json("rm", "mnist:best", "--force")
    assert (shape["reference"], shape["deleted"]) == ("mnist:v1", True)
    run("show", "mnist:best", exit=3)


@pytest.mark.parametrize(("answer", "exit", "left"), [("y\n", 0, 2), ("n\n", 1, 3), ("\n", 1, 3)])
def test_on_a_terminal_rm_asks(run, store, terminal, answer, exit, left):
    result = run("rm", "mnist:v1", "--force", input=answer, exit=exit)
    assert "Delete mnist:v1 (1.0 kB)?" in result.stderr
    assert len(store.versions("mnist")) == left


def test_rm_does_not_ask_with_yes_or_when_it_will_refuse(run, store, terminal):
    assert "?" not in run("rm", "mnist:v1", exit=1).stderr
    assert "?" not in run("rm", "mnist:v0", "--force", "--yes").stderr


def test_rm_deletes_what_was_asked_about(run, store, terminal, monkeypatch):
    """The alias moves while the question is on the screen."""

    def answered(*_, **__):
        store.set_alias("mnist:v0", "best")

    monkeypatch.setattr(click, "confirm", answered)
    run("rm", "mnist:best", "--force")
    assert [version.version for version in store.versions("mnist")] == ["v0", "v2"]
