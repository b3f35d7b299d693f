"""How results look: JSON, tables on a terminal, aligned text elsewhere."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import orjson

from kept.units import size_text as size_text  # noqa: PLC0414 - all of output

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

# rich measures and wraps every cell: 10,000 rows take it seconds.
_MOST_DRAWN = 500
_BATCH = 128
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Column(NamedTuple):
    """A column of a table; on a terminal, one that wraps gets the room that is left."""

    title: str
    right: bool = False
    wraps: bool = False
    share: float = 0  # of the terminal's width, for a column that wraps only beyond that


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2))


def print_json_list(newest_first: Iterable[dict[str, Any]]) -> None:
    """Print a JSON list of items that come last one first, one a line.

    Encoding each item before the next is read keeps the work in the processor's cache.
    """
    lines = list(map(_line, newest_first))[::-1]
    # Not click.echo, which searches all of it for colours; in batches, which stay in the cache.
    out = sys.stdout.buffer
    out.write(b"[\n" if lines else b"[")
    for start in range(0, len(lines), _BATCH):
        batch = lines[start : start + _BATCH]
        out.write(b",\n".join(batch) + (b",\n" if start + _BATCH < len(lines) else b"\n"))
    out.write(b"]\n")
    out.flush()


def _line(item: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(item)
    except TypeError:  # a number of more than 64 bits
        return json.dumps(item).encode()


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below the titles of their columns."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and len(rows) <= _MOST_DRAWN:
        from rich.console import Console

        console = Console()
        _draw(console, _ruled(columns, cleaned, console.width), cleaned)
    else:
        _align([[clean(column.title) for column in columns], *cleaned], columns)


def print_pairs(title: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Print what is known, line by line, below a title."""
    cleaned = [[clean(key), clean(value)] for key, value in pairs]
    click.secho(title, bold=True)  # click drops the style where stdout is no terminal
    if sys.stdout.isatty():
        from rich.console import Console

        _draw(Console(), _grid(), cleaned)
    else:
        _align([["", *row] for row in cleaned], [Column("")] * 3)


def clean(text: str) -> str:
    """Return text with what could steer a terminal (or break a line) written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def value_text(value: Any) -> str:
    """Return a metadata value as a person reads it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def time_text(created_at: str) -> str:
    """Return a moment of the log in local time, to the minute."""
    from datetime import datetime

    return f"{datetime.fromisoformat(created_at).astimezone():%Y-%m-%d %H:%M}"


def moments(text: str) -> str:
    """Return text with the moments of the log in it as time_text has them."""
    return _MOMENT.sub(lambda found: time_text(found[0]), text)


def counted(number: int, noun: str) -> str:
    """Return 1 file, 2 files."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


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


def _ruled(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0),
        header_style="bold",
    )  # fmt: skip
    for column, *cells in zip(columns, *rows, strict=True):
        table.add_column(
            Text(clean(column.title)),
            justify="right" if column.right else "left",
            no_wrap=not (column.wraps or column.share),
            width=min(max(map(len, cells)), int(width * column.share)) if column.share else None,
            overflow="fold",  # never cut: what is shown can be copied
        )
    return table


def _grid() -> Table:
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
