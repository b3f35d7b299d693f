"""How results look: on a terminal, and in a pipe."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from kept.cli import output
from kept.cli.output import Column, clean, print_table, value_text
from kept.units import size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_400_000, "3.4 MB"),
        (999_949, "999.9 kB"), (999_950, "1.0 MB"), (5 * 10**12, "5.0 TB"), (10**16, "10.0 PB"),
    ],
)  # fmt: skip
def test_sizes(size, text):
    assert size_text(size) == text


def test_values():
    assert [value_text(v) for v in (0.1, 3, "é", None, ["é"])] == ["0.1", "3", "é", "null", '["é"]']


def test_clean_leaves_nothing_that_steers_a_terminal():
    assert clean("é ✓ [b]") == "é ✓ [b]"
    assert clean("a\x1b[2J\r\n\x9b\u202e") == r"a\x1b[2J\r\n\x9b\u202e"


def test_plain_text_is_aligned(capsys):
    print_table([Column("a"), Column("size", right=True), Column("b")], [["x" * 200, "1", ""]])
    heading, row = capsys.readouterr().out.splitlines()
    assert heading == "a".ljust(200) + "  size  b"
    assert row == "x" * 200 + "     1"


def on_terminal(*args: str, width: int = 80) -> str:
    """What the command shows on a terminal of that width."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kept", *args],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"COLUMNS": str(width), "TERM": "xterm-256color"},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0, shown
    return shown.decode().replace("\r\n", "\n")


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


@pytest.fixture
def crowded(store):
    store.log_artifact(
        "mnist", __file__,
        aliases=["best", "epoch_12_batch_1000", "production-in-the-factory", "candidate"],
        metadata={"monitor": "val_sparse_categorical_accuracy", "value": 0.98123456, "[b]": "[/b]"},
    )  # fmt: skip
    store.log_artifact("a-very-long-name_" + "x" * 100, __file__)
    return store


@pytest.mark.parametrize("command", [("ls",), ("ls", "mnist"), ("show", "mnist")])
def test_a_table_fits_80_columns_and_nothing_is_cut(run, crowded, command):
    shown = on_terminal(*command)
    assert "\x1b[" in shown
    assert max(map(len, plain(shown).splitlines())) <= 80
    assert "…" not in shown or command == ("ls",)
    in_a_pipe = run(*command).stdout
    for word in in_a_pipe.split():
        assert all(letter in shown for letter in word)
    # Every letter of a wrapped cell is there: as many as in the text that is not wrapped.
    letters = [re.sub(r"[\s─]", "", plain(text)) for text in (shown, in_a_pipe)]
    assert sorted(letters[0]) == sorted(letters[1])


def test_on_a_terminal_names_are_not_markup(run, crowded):
    assert re.search(r"\[b\] +\[/b\]", plain(on_terminal("show", "mnist")))


def test_long_tables_are_not_drawn(run, store, monkeypatch, capsys):
    monkeypatch.setattr(output, "_MOST_DRAWN", 1)
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True)
    print_table([Column("a")], [["1"], ["2"]])
    assert capsys.readouterr().out == "a\n1\n2\n"


def test_no_command_colours_a_pipe(run, store):
    for command in (("ls",), ("ls", "mnist"), ("show", "mnist"), ("verify",), ("get", "mnist")):
        result = run(*command)
        assert "\x1b" not in result.output
        assert "│" not in result.output
