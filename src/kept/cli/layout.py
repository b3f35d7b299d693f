"""Fits a table into the width of a terminal: a row is one line, and what is cut has a mark."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CUT = "…"
_USUAL = 80
_GAP = "  "  # between columns
_WIDEST_WHOLE = 16  # numbers, versions and dates are never cut
_LEAST = 14  # what stays of a longer text
_LEAST_WRAPPED = 24
_LEAST_TITLE = 6


def terminal_columns() -> int:
    """Return the width of the terminal, as shutil does, whose import takes 2 ms."""
    try:
        return int(os.environ["COLUMNS"]) or _actual_columns()
    except (KeyError, ValueError):
        return _actual_columns()


def _actual_columns() -> int:
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or _USUAL  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):  # no stdout, or no terminal
        return _USUAL


class Column(NamedTuple):
    """A column of a table.

    On a terminal that is too narrow, long texts are cut; those of a column that wraps continue on
    the next line. Columns that are extra are the first that are left out.
    """

    title: str
    right: bool = False
    wraps: bool = False
    extra: bool = False


class _Fitted(NamedTuple):
    at: int  # which column
    width: int


def cells(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cells_of, text))


def table_lines(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int
) -> Iterator[str]:
    """Yield the titles, a rule and the rows of a table, each in at most `width` cells."""
    shown = _fitted(columns, rows, width)
    left_out = len(shown) < len(columns)
    titles = _GAP.join(_padded(_title(columns[at], w), w, columns[at]) for at, w in shown)
    titles += _GAP + CUT if left_out else ""
    yield titles.rstrip()
    yield "─" * cells(titles)
    for row in rows:
        texts = [_texts(row[at], w, columns[at]) for at, w in shown]
        for line in range(max(map(len, texts))):
            here = [text[line] if line < len(text) else "" for text in texts]
            padded = [_padded(t, w, columns[at]) for t, (at, w) in zip(here, shown, strict=True)]
            yield _GAP.join(padded).rstrip()


def _title(column: Column, width: int) -> str:
    if cells(column.title) <= width or width >= _LEAST:
        return cut(column.title, width)
    return _head(column.title, width - 1) + CUT


def cut(text: str, width: int) -> str:
    """Return a text in at most `width` cells: a name loses its middle, another text its end."""
    if cells(text) <= width:
        return text
    tail = "" if " " in text else _head(text[::-1], (width - 1) // 2)[::-1]
    return _head(text, width - 1 - cells(tail)).rstrip() + CUT + tail


def wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text; a word that is too long for a line continues on the next one."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and cells(lines[-1]) + 1 + cells(word) <= width:
            lines[-1] += f" {word}"
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = word
        while cells(lines[-1]) > width:
            start = _head(lines[-1], width) or lines[-1][0]
            lines[-1:] = [start, lines[-1][len(start) :]]
    return lines


def _fitted(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[_Fitted]:
    """Choose the columns that fit into a width, and how wide each is."""
    whole, least = [], []
    for number, column in enumerate(columns):
        widest = max((cells(row[number]) for row in rows), default=0)
        whole.append(max(widest, cells(column.title)))
        least.append(min(whole[-1], _least(column, widest)))
    shown = list(range(len(columns)))
    while len(shown) > 1 and _total(least, shown, columns) > width:
        extra = [at for at in shown if columns[at].extra]
        shown.remove(extra[-1] if extra else shown[-1])
    room = width - _total(least, shown, columns)
    widths = {at: least[at] for at in shown}
    while room > 0 and (narrow := [at for at in shown if widths[at] < whole[at]]):
        for at in narrow[:room]:  # the next cell for each of them
            widths[at] += 1
        room -= len(narrow[:room])
    return [_Fitted(at, widths[at]) for at in shown]


def _least(column: Column, widest: int) -> int:
    if column.wraps:
        return _LEAST_WRAPPED
    return max(widest, _LEAST_TITLE) if widest <= _WIDEST_WHOLE else _LEAST


def _total(widths: Sequence[int], shown: Sequence[int], columns: Sequence[Column]) -> int:
    """Return how wide these columns are together, with a mark if others are left out."""
    mark = len(_GAP + CUT) if len(shown) < len(columns) else 0
    return sum(widths[at] for at in shown) + len(_GAP) * (len(shown) - 1) + mark


def _texts(text: str, width: int, column: Column) -> list[str]:
    return wrapped(text, width) if column.wraps else [cut(text, width)]


def _padded(text: str, width: int, column: Column) -> str:
    room = " " * (width - cells(text))
    return room + text if column.right else text + room


def _head(text: str, width: int) -> str:
    """Return the longest beginning of a text that takes at most `width` cells."""
    taken = 0
    for number, character in enumerate(text):
        taken += _cells_of(character)
        if taken > width:
            return text[:number]
    return text


def _cells_of(character: str) -> int:
    if character.isascii():
        return 1
    import unicodedata

    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
