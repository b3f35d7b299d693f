"""Prints results: JSON, tables on a terminal, aligned text elsewhere."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import click
import orjson

from kept.cli import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

Column = layout.Column
_BATCH = 128
_DELETE = "\x7f"  # the one control character that JSON in ASCII does not escape
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def print_json(value: Any) -> None:
    """Print one JSON document, in ASCII."""
    click.echo(json.dumps(value, indent=2).replace(_DELETE, _escaped(_DELETE)))


def print_json_list(newest_first: Iterable[dict[str, Any]]) -> None:
    """Print a JSON list, oldest item first and one a line, of items that arrive newest first.

    What is not printable is escaped, so that no name or metadata can steer a terminal.

    Encoding each item before the next is read keeps the work in the processor's cache.
    """
    lines = list(map(_line, newest_first))[::-1]
    # Not click.echo, which searches the whole text for colours. Batches stay in the cache.
    out = sys.stdout.buffer
    out.write(b"[\n" if lines else b"[")
    for start in range(0, len(lines), _BATCH):
        batch = lines[start : start + _BATCH]
        out.write(_joined(batch) + (b",\n" if start + _BATCH < len(lines) else b"\n"))
    out.write(b"]\n")
    out.flush()


def _line(item: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(item)
    except TypeError:  # a number of more than 64 bits, or half a character
        return json.dumps(item).encode()


def _joined(lines: list[bytes]) -> bytes:
    """Join lines of JSON, with escapes for what is not printable.

    orjson has escaped the control characters of ASCII, except one.
    """
    joined = b",\n".join(lines)
    if joined.isascii() and _DELETE.encode() not in joined:
        return joined
    texts = (line.decode() for line in lines)
    return ",\n".join(t if t.isprintable() else "".join(map(_printable, t)) for t in texts).encode()


def _printable(character: str) -> str:
    return character if character.isprintable() else _escaped(character)


def _escaped(character: str) -> str:
    """Return a character as JSON can escape it: in UTF-16, four hex digits for each half."""
    halves = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{halves[at : at + 4]}" for at in range(0, len(halves), 4))


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below the titles of their columns."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    columns = [column._replace(title=clean(column.title)) for column in columns]
    if sys.stdout.isatty():
        titles, *lines = layout.table_lines(columns, cleaned, layout.terminal_columns())
        click.echo("\n".join([click.style(titles, bold=True), *lines]))
    else:
        _align([[column.title for column in columns], *cleaned], columns)


def print_pairs(title: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Print keys and values, one pair a line, below a title."""
    cleaned = [[clean(key), clean(value)] for key, value in pairs]
    click.secho(clean(title), bold=True)  # click drops the style if stdout is no terminal
    if sys.stdout.isatty():
        from rich.console import Console

        _draw(Console(), _pairs_table(), cleaned)
    else:
        _align([["", *row] for row in cleaned], [Column("")] * 3)


def clean(text: str) -> str:
    """Return text with control characters and line breaks as escapes, safe on a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def local_time(moment: str) -> str:
    """Return a moment of the log in local time, to the minute."""
    from datetime import datetime

    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M}"


def with_local_times(text: str) -> str:
    """Return text with its moments of the log replaced by local times."""
    return _MOMENT.sub(lambda found: local_time(found[0]), text)


def _align(rows: Sequence[Sequence[str]], columns: Sequence[Column]) -> None:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in rows
    ]
    click.echo("\n".join(lines))


def _pairs_table() -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2), pad_edge=True)
    table.add_column(style="cyan", overflow="fold")
    table.add_column(overflow="fold")
    return table


def _draw(console: Console, table: Table, rows: Sequence[Sequence[str]]) -> None:
    from rich.text import Text

    for row in rows:
        table.add_row(*map(Text, row))  # Text, not str: names are not markup
    console.print(table)
