"""How results look: on a terminal, and in a pipe."""

from __future__ import annotations

import json
import os
import pty
import re
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kept
from kept.cli import output
from kept.cli.output import Column, clean, print_table
from kept.units import size_text, value_text


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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.100000023841858, "1.1"), (0.6274999976158142, "0.6275"), (0.123456789, "0.123456789"),
        (0.1234567890123, "0.1234567890123"), (1.0, "1.0"), (1e5, "100000.0"), (1e300, "1e+300"),
        (1796053322.756717, "1796053322.756717"), (1.2345678901234e300, "1.2345678901234e+300"),
        (1.0000000116860974e-07, "1e-07"), (float("nan"), "nan"), (float("-inf"), "-inf"),
    ],
)  # fmt: skip
def test_a_number_has_the_digits_that_it_needs(value, text):
    assert value_text(value) == text


@given(st.floats(width=32, allow_nan=False))
def test_a_32_bit_float_stays_the_same(value):
    assert struct.pack("f", float(value_text(value))) == struct.pack("f", value)


def test_clean_leaves_nothing_that_steers_a_terminal():
    assert clean("é ✓ [b]") == "é ✓ [b]"
    assert clean("a\x1b[2J\r\n\x9b\u202e") == r"a\x1b[2J\r\n\x9b\u202e"


ODD = "".join(map(chr, [*range(0x20), 0x7F, *range(0x80, 0xA1), 0xAD, 0x200B, 0x202E, 0x2028,
                        0x2066, 0xFEFF, 0xE000, 0x1F600, 0xE0041, 0x10FFFF]))  # fmt: skip
ODD += 'é✓漢\\"'


@pytest.mark.parametrize(
    "value", [ODD, {ODD: [ODD]}, {"big": 2**70, "odd": ODD}, "\x7f", "plain", "é", {}, "\ud800\x7f"]
)
def test_json_is_the_same_value_and_steers_no_terminal(value, capfdbinary):
    """\\ud800 is half a character: orjson refuses it, and the slow way prints it."""
    for printed, expected in ((output.print_json, {"a": value}), (print_list, [{"a": value}])):
        printed({"a": value})
        text = capfdbinary.readouterr().out.decode()
        assert json.loads(text) == expected
        assert all(c.isprintable() or c == "\n" for c in text)


def print_list(value):
    output.print_json_list(iter([value]))


@given(st.text(), st.text())
def test_any_text_as_json(key, value):
    line = output._joined([output._line({key: value})]).decode()
    assert json.loads(line) == {key: value}
    assert line.isprintable()


def test_what_can_be_read_stays_readable_in_json():
    assert output._joined([output._line({"a": "é✓漢"})]).decode() == '{"a":"é✓漢"}'


@pytest.mark.parametrize("command", [("ls", "m"), ("ls",), ("ls", "m", "--all"), ("show", "m")])
def test_no_command_prints_what_steers_a_terminal(run, tmp_path, command):
    (tmp_path / "f").write_text("")
    kept.open_store().log_artifact("m", "f", metadata={ODD: ODD, "value": ODD, "monitor": ODD})
    for json_option in ((), ("--json",)):
        result = run(*command, *json_option)
        assert all(c.isprintable() or c == "\n" for c in result.output)


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


@pytest.mark.parametrize("width", [40, 60, 80, 100])
@pytest.mark.parametrize("command", [("ls",), ("ls", "mnist"), ("ls", "mnist", "--all")])
def test_a_table_has_a_line_for_each_row_and_cuts_with_a_mark(run, crowded, command, width):
    shown = on_terminal(*command, width=width)
    assert "\x1b[" in shown
    lines = plain(shown).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == len(run(*command).stdout.splitlines()) + 1  # the rule
    assert "…" in shown
    assert lines[-1].startswith(("mnist ", "v3 "))


def test_nothing_is_cut_if_the_terminal_is_wide_enough(run, crowded):
    in_a_pipe = run("ls", "mnist").stdout.split()
    shown = plain(on_terminal("ls", "mnist", width=160))
    assert [word for word in shown.split() if "─" not in word] == in_a_pipe


@pytest.mark.parametrize("width", [40, 80])
def test_show_cuts_nothing(run, crowded, width):
    shown = plain(on_terminal("show", "mnist", width=width))
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    # Every letter of a wrapped text is there: as many as in the text that is not wrapped.
    letters = [re.sub(r"\s", "", text) for text in (shown, run("show", "mnist").stdout)]
    assert sorted(letters[0]) == sorted(letters[1])


def test_on_a_terminal_names_are_not_markup(run, crowded):
    assert re.search(r"\[b\] +\[/b\]", plain(on_terminal("show", "mnist")))


def test_no_command_colours_a_pipe(run, store):
    for command in (("ls",), ("ls", "mnist"), ("show", "mnist"), ("verify",), ("get", "mnist")):
        result = run(*command)
        assert "\x1b" not in result.output
        assert "│" not in result.output
