"""kept completion, and what the Tab key offers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from kept.cli import completion
from kept.cli.main import cli

BIN = os.path.dirname(sys.executable)


def offered(line: str, **environment: str) -> list[str]:
    """What the command answers to the completion script."""
    done = subprocess.run(
        [f"{BIN}/kept"],
        env=os.environ
        | {"_KEPT_COMPLETE": "bash_complete", "COMP_WORDS": line}
        | {"COMP_CWORD": str(len(line.split(" ")) - 1)}
        | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return [item.removeprefix("plain,") for item in done.stdout.split()]


def test_commands_and_options(run):
    assert offered("kept sh") == ["show"]
    assert offered("kept rm --f") == ["--force"]


def test_references(run, store):
    store.log_artifact("mnist-2", __file__)
    assert offered("kept show ") == ["mnist", "mnist-2"]
    assert offered("kept show mnist-2") == ["mnist-2", "mnist-2:latest", "mnist-2:v0"]
    assert offered("kept show mnist:") == [
        f"mnist:{what}"
        for what in ["latest", "epoch_2", "best", "epoch_1", "epoch_0", "v2", "v1", "v0"]
    ]
    assert offered("kept verify mnist:b") == ["mnist:best"]
    assert offered("kept ls m") == ["mnist", "mnist-2"]


def test_references_of_another_store(run, store):
    shutil.move("kept-store", "elsewhere")
    assert offered("kept show m") == []
    assert "mnist" in offered("kept --store elsewhere show m")
    assert "mnist" in offered("kept show m", KEPT_STORE="elsewhere")


@pytest.mark.parametrize("line", ["kept show no-such:", "kept show :::", "kept show a@b:"])
def test_the_tab_key_is_silent_about_trouble(run, store, line):
    assert offered(line) == []
    with open("kept-store/kept.json", "w") as file:
        file.write('{"format": 1000}')
    assert offered("kept show m") == []


def test_no_more_is_offered_than_a_shell_can_show(run, store, monkeypatch):
    monkeypatch.setattr(completion, "_MOST_OFFERED", 2)
    context = cli.make_context("kept", [], resilient_parsing=True)
    assert len(completion.references(context, None, "mnist:")) == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script(run, shell, monkeypatch):
    script = run("completion", shell).stdout
    assert f"{shell}_complete" in script
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert run("completion").stdout == script
    assert run.json("completion") == {"shell": shell, "script": script.removesuffix("\n")}


def test_a_shell_that_is_not_known(run, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/ksh")
    assert "bash, zsh, fish. $SHELL is 'ksh'" in run("completion", exit=2).stderr


BASH = """
eval "$(kept completion bash)"
COMP_LINE=$1 COMP_POINT=${#1}
_kept_completion kept
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("kept sh", ["show"]),
        ("kept show ", ["mnist"]),
        ("kept show mnist:e", ["epoch_2", "epoch_1", "epoch_0"]),  # bash keeps the "mnist:"
        ("kept --store ./kept-store  show mnist:best", ["best"]),
        ("kept completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_the_script_for_bash(run, store, line, replies):
    path = f"{BIN}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", line],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    found = done.stdout.split()
    assert (found[:1] if line.endswith("show ") else found) == replies
    assert not done.stderr


def test_json_for_scripts_is_one_document(run):
    assert set(json.loads(run("completion", "zsh", "--json").stdout)) == {"shell", "script"}
