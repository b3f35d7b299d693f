"""Makes the HTML of notebooks: tables and lines in the colours of the page around them.

Every text is escaped. There is no script, no style sheet and nothing from elsewhere. Widths and
alignments are attributes and inline styles, because notebooks remove <style> from outputs.
"""

from __future__ import annotations

import warnings
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from kept.charts.look import label
from kept.errors import KeptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONGEST = 120  # characters of a text in a cell
_CELL = (
    "padding:2px 14px 2px 0;border:0;vertical-align:top;text-align:left;white-space:nowrap;"
    "background:none"
)
_TABLE = "border-collapse:collapse;background:none;color:inherit;font-size:inherit;margin:4px 0"
_NUMBER = f"{_CELL};text-align:right;font-variant-numeric:tabular-nums"
_HEAD = "font-weight:600;opacity:.7;border-bottom:1px solid #8886"


class Html(str):
    """A text that is HTML already."""

    __slots__ = ()


Cell = str | tuple[str, str]  # a text; with a second text, which the mouse shows


def text_of(cell: str, longest: int = _LONGEST) -> str:
    """Return a text escaped, on one line, and not too long; HTML as it is."""
    return cell if isinstance(cell, Html) or not cell else escape(label(cell, longest))


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], right: Iterable[int] = ()) -> Html:
    """Return a table; right has the columns of numbers."""
    numbers = set(right)
    styles = [_NUMBER if at in numbers else _CELL for at in range(len(head))]
    titles = "".join(
        f'<th scope="col" style="{style};{_HEAD}">{text_of(title)}</th>'
        for style, title in zip(styles, head, strict=True)
    )
    lines = "".join(f"<tr>{''.join(map(_cell, row, styles))}</tr>" for row in rows)
    return Html(
        f'<table style="{_TABLE}"><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>'
    )


def pairs(facts: Iterable[tuple[str, Cell]]) -> Html:
    """Return names and values, one pair a line."""
    head = f"{_CELL};opacity:.7;font-weight:normal"
    lines = "".join(
        f'<tr><th scope="row" style="{head}">{text_of(name)}</th>{_cell(value, _CELL)}</tr>'
        for name, value in facts
    )
    return Html(f'<table style="{_TABLE}">{lines}</table>')


def heading(name: str, rest: str = "") -> Html:
    """Return the first line: a name, and what it is."""
    more = f' <span style="opacity:.7">{text_of(rest, 300)}</span>' if rest else ""
    return Html(f'<div style="margin:2px 0 6px"><b>{text_of(name)}</b>{more}</div>')


def note(text: str) -> Html:
    """Return a line of less weight."""
    return Html(f'<div style="opacity:.7;margin:4px 0">{text_of(text, 500)}</div>')


def code(lines: Iterable[str]) -> Html:
    """Return lines to copy."""
    return Html(
        '<pre style="margin:6px 0;background:none;color:inherit;white-space:pre-wrap">'
        f"{escape(chr(10).join(label(line, 500) for line in lines))}</pre>"
    )


class Display:
    """Collects the parts of a display; an error of the store becomes a message.

    Warnings of damage become lines of the display, too.
    """

    def __init__(self, what: str) -> None:
        """Take the name of what is displayed."""
        self.parts: list[Html] = []
        self._what = what
        self._warnings: Any = warnings.catch_warnings(record=True)

    def __enter__(self) -> list[Html]:
        self._caught = self._warnings.__enter__()
        warnings.simplefilter("always")
        return self.parts

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        self._warnings.__exit__(None, None, None)
        if isinstance(error, (KeptError, OSError)):
            self.parts = [heading(self._what), note(f"Cannot be shown: {error}")]
        messages = dict.fromkeys(str(each.message) for each in self._caught)
        self.parts += [note(f"Warning: {message}") for message in messages]
        return error is None or isinstance(error, (KeptError, OSError))

    def __str__(self) -> str:
        return f'<div style="font-size:13px;overflow-x:auto">{"".join(self.parts)}</div>'


def local_time(moment: str) -> str:
    """Return a moment of the log in local time, to the minute."""
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M}"


def _cell(cell: Cell, style: str) -> str:
    text, title = cell if isinstance(cell, tuple) else (cell, "")
    said = f' title="{text_of(title, 300)}"' if title else ""
    return f'<td style="{style}"{said}>{text_of(text)}</td>'
