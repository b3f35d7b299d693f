"""What the command answers to a word, option or reference that it does not know."""

from __future__ import annotations

import click
import pytest

import kept
from kept.cli.group import GROUPS
from kept.cli.main import _VERBS, cli
from kept.cli.suggest import _OPTIONS_ELSEWHERE, _VERBS_ELSEWHERE


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("lst", "kept ls"), ("sl", "kept ls"), ("LS", "kept ls"), ("verfy", "kept verify"),
        ("list", "kept ls"), ("delete", "kept rm"), ("Download", "kept get"),
        ("status", "kept sync --status"), ("version", "kept --version"), ("alais", "kept alias"),
    ],
)  # fmt: skip
def test_an_unknown_verb(run, word, meant):
    error = run(word, exit=2).stderr.splitlines()[-1]
    assert error.startswith(f"Error: No such command {word!r}. Did you mean {meant!r}")


def test_a_verb_like_nothing_else(run):
    error = run("xyzzy", exit=2).stderr
    assert error.endswith("No such command 'xyzzy'. All verbs: kept --help\n")


def test_a_reference_without_a_verb(run):
    assert "To see a version: kept show mnist:v3" in run("mnist:v3", exit=2).stderr


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (("ls", "--jsn"), "'--json'"), (("ls", "-a"), "'--all'"),
        (("rm", "m:v0", "-f"), "'--force'"),
        (("get", "m", "--format", "x"), "'--json'"), (("--stor", "x", "ls"), "'--store'"),
        (("prune", "m", "--last", "3"), "'--keep-last'"), (("gc", "-n"), "'--dry-run'"),
    ],
)  # fmt: skip
def test_an_unknown_option(run, args, meant):
    error = run(*args, exit=2).stderr.splitlines()[-1]
    assert error.startswith("Error: No such option: ")
    assert meant in error.partition("Did you mean ")[2]


def test_an_unknown_option_like_nothing_else(run):
    assert run("ls", "--xyzzy", exit=2).stderr.endswith("No such option: --xyzzy.\n")


def test_an_option_of_a_verb_before_it(run):
    assert "Options of a verb come after it: kept VERB --all" in run("--all", "ls", exit=2).stderr


def test_help_as_a_verb(run):
    assert run("help").stdout == run("--help").stdout
    assert run("help", "ls").stdout == run("ls", "--help").stdout
    assert "No such command 'nope'" in run("help", "nope", exit=2).stderr


@pytest.mark.parametrize(
    ("ref", "meant"),
    [("mnsit", "mnist"), ("MNIST:v0", "mnist"), ("mnist:bset", "best"), ("mnist:Best", "best")],
)
def test_a_reference_that_is_almost_right(run, store, ref, meant):
    assert f"Did you mean {meant!r}?" in run("show", ref, exit=3).stderr


def test_another_epoch_is_no_suggestion(run, store):
    error = run("show", "mnist:epoch_7", exit=3).stderr
    assert "Did you mean" not in error
    assert "the aliases: best, latest, epoch_2" in error.replace("latest, best", "best, latest")


@pytest.mark.parametrize("args", [("--store", "other", "ls"), ("ls", "--store", "other")])
def test_the_store_before_or_after_the_verb(run, store, tmp_path, args):
    kept.open_store("other").log_artifact("elsewhere", __file__)
    assert "elsewhere" in run(*args).stdout
    assert "mnist" in run("ls").stdout
    assert "mnist" in run("--store", "other", "ls", "--store", "kept-store").stdout


def test_every_verb_is_in_one_group_of_the_help():
    grouped = [verb for verbs in GROUPS.values() for verb in verbs]
    assert len(grouped) == len(set(grouped))
    assert set(_VERBS) <= set(grouped)


def test_what_is_suggested_exists():
    context = click.Context(cli)
    verbs = [cli.get_command(context, name) for name in _VERBS]
    options = {o for v in [cli, *verbs] for p in v.get_params(click.Context(v)) for o in p.opts}
    for own in _VERBS_ELSEWHERE:
        verb, *option = own.split()
        assert verb in {verb for verbs in GROUPS.values() for verb in verbs} or verb in options
        assert verb not in _VERBS or set(option) <= options
    elsewhere = [word for words in _VERBS_ELSEWHERE.values() for word in words.split()]
    assert not set(elsewhere) & set(_VERBS) - {"open"}
    assert not {o for o in _OPTIONS_ELSEWHERE if o in {"--json", "--yes", "--force"}} - options
