"""The command as a process: how it starts, ends, and what it loads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import click
import pytest

import kept
from kept.cli.main import cli

SCRIPT = os.path.join(os.path.dirname(sys.executable), "kept")
MODULE = [sys.executable, "-m", "kept"]


def process(*command: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, capture_output=True, timeout=60, **{"text": True} | options
    )


@pytest.mark.parametrize("command", [[SCRIPT], MODULE], ids=["kept", "python -m kept"])
def test_both_ways_to_start_it(run, store, command):
    assert process(*command, "--version").stdout == f"kept, version {kept.__version__}\n"
    assert len(json.loads(process(*command, "ls", "mnist", "--json").stdout)) == 3
    assert process(*command, "ls", "--nonsense").stderr.startswith("Usage: kept ls [OPTIONS]")


@pytest.mark.parametrize(
    ("args", "code"),
    [(["ls"], 0), (["rm", "mnist:v1"], 1), (["show", "a b"], 2), (["put"], 2), (["show", "x"], 3)],
)
def test_exit_codes(run, store, args, code):
    done = process(*MODULE, *args)
    assert done.returncode == code
    assert bool(done.stderr) == bool(code)
    assert "Traceback" not in done.stderr


def test_exit_code_of_damage(run, damaged):
    done = process(*MODULE, "verify")
    assert (done.returncode, done.stderr) == (4, "")


@pytest.mark.parametrize("args", [("show",), ("show", "--json"), ("ls", "--json")])
def test_a_reader_that_leaves_is_no_error(run, store, args):
    store.log_artifact("many", __file__, metadata={"text": "x" * 1_000_000})
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*MODULE, *args, "many"],
        check=False,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert done.stderr == ""


def test_ctrl_c(run, store):
    with store.bucket.locked("bases"):
        waiting = subprocess.Popen([*MODULE, "gc"], stderr=subprocess.PIPE, text=True)
        time.sleep(1)  # by now it waits for the lock
        waiting.send_signal(signal.SIGINT)
        _, error = waiting.communicate(timeout=10)
    assert (waiting.returncode, error) == (130, "Interrupted.\n")


def test_a_terminal_without_utf_8(run, store):
    store.log_artifact("mnist", __file__, metadata={"name": "dé→"})
    latin = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = process(*MODULE, "show", "mnist", env=latin, encoding="latin-1")
    assert r"dé\u2192" in done.stdout
    assert done.returncode == 0


def test_json_loads_nothing_that_is_dear(run, store):
    code = (
        "import sys; from kept.cli.main import cli\n"
        "cli(['ls', 'mnist', '--json'], standalone_mode=False)\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    loaded = process(sys.executable, "-c", code).stderr
    assert "'kept.cli.ls'" in loaded
    for module in ("rich", "h5py", "numpy", "keras", "asyncio", "kept.cli.put"):
        assert f"'{module}'" not in loaded


def commands() -> list[click.Command]:
    context = click.Context(cli)
    found = [cli.get_command(context, name) for name in cli.list_commands(context)]
    return [cli, *(command for command in found if command)]


def test_every_command_and_option_has_help(run):
    assert len(commands()) >= 10
    for command in commands():
        assert command.help, command.name
        assert len(command.get_short_help_str()) < 80
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (command.name, parameter.name)
        if command is not cli:
            assert "--json" in [option for p in command.params for option in p.opts]
            assert "Usage: kept" in run(command.name, "--help").stdout


def test_help_cuts_no_sentence_off(run):
    listed = run("--help").stdout.partition("Look:")[2].partition("REF names")[0]
    assert "..." not in listed


def test_help_explains_references_and_exit_codes(run):
    text = run("--help").stdout
    for code in (0, 1, 2, 3, 4, 5, 130):
        assert f"\n    {code} " in text
    assert "NAME@DIGEST" in text
    assert "KEPT_STORE" in text
    order = [text.index(f"\n  {command.name} ") for command in commands()[1:]]
    assert order == sorted(order)


def test_examples_in_help_stay_as_they_are(run):
    text = run("alias", "--help").stdout
    assert "\n  kept alias --remove mnist:prod    mnist:prod names no version\n" in text
    assert "\b" not in text
    assert r"\b" not in text


def test_an_unknown_command_is_wrong_usage(run):
    assert "No such command 'nope'" in run("nope", exit=2).stderr


@pytest.mark.parametrize("width", [40, 50, 80])  # click tests with 80, if it may
def test_the_help_fits_the_terminal(run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for args in ((), ("show",), ("gc",)):
        text = run(*args, "--help").stdout
        options = text.partition("Options:")[2].partition("REF names")[0]
        assert max(map(len, options.splitlines())) <= width
        assert "..." not in options
