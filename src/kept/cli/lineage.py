"""kept lineage: what a version was made from, and what was made from it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import references
from kept.cli.layout import cut, terminal_columns
from kept.cli.output import clean, local_time, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.store.origin.lineage import Lineage

_FEW = 3  # versions in a row that are listed one by one
_LEAST_WIDTH = 20
_BRANCHES = ("├─ ", "│  ", "└─ ", "   ")
_PLAIN_BRANCHES = ("|- ", "|  ", "`- ", "   ")  # for a terminal without UTF-8
_SHORT_DIGEST = 23  # characters, with the scheme


class _Row(NamedTuple):
    """A node of a tree, or several versions in a row as one."""

    first: Lineage
    last: Lineage
    number: int


@click.command()
@click.argument("ref", shell_complete=references)
@click.option("--up", is_flag=True, help="Only what the version was made from.")
@click.option("--down", is_flag=True, help="Only what was made from the version.")
@json_option
@click.pass_obj
def lineage(location: str | None, ref: str, *, up: bool, down: bool, as_json: bool) -> None:
    """Show what a version was made from, and what was made from it.

    It follows the versions from which runs continued, and what uses= and --uses name, through all
    artifacts. Other stores are opened to see what their versions were made from.
    """
    version = opened(location).version(ref)
    found = version.lineage(up=up or not down, down=down or not up)
    if as_json:
        print_json(found.as_json())
        return
    width = max(terminal_columns(), _LEAST_WIDTH) if sys.stdout.isatty() else 0
    for line in _lines(found, up=up or not down, down=down or not up):
        click.echo(cut(line, width) if width else line)


def _lines(found: Lineage, *, up: bool, down: bool) -> Iterator[str]:
    yield _text(_Row(found, found, 1))
    for is_wanted, direction, title, nothing in (
        (up, "up", "made from", "made from nothing that is known"),
        (down, "down", "used for", "used for nothing in this store"),
    ):
        if is_wanted:
            has_any = bool(getattr(found, direction))
            yield title if has_any else nothing
            yield from _tree(found, direction)


def _tree(found: Lineage, direction: str) -> Iterator[str]:
    """Yield the lines of all nodes in one direction, without recursion: a tree can be deep."""
    middle, line, end, empty = _BRANCHES if _has_utf8() else _PLAIN_BRANCHES
    waiting = [(row, "", is_last) for row, is_last in _rows(getattr(found, direction), direction)]
    waiting.reverse()
    while waiting:
        row, indent, is_last = waiting.pop()
        yield f"{indent}{end if is_last else middle}{_text(row)}"
        below = indent + (empty if is_last else line)
        inner = _rows(getattr(row.first, direction), direction)
        waiting += [(each, below, last) for each, last in reversed(inner)]


def _rows(nodes: Sequence[Lineage], direction: str) -> list[tuple[_Row, bool]]:
    """Return the rows of nodes, each with whether it is the last.

    Versions of one artifact that follow each other and lead to nothing else become one row.
    """
    groups: list[list[Lineage]] = []
    for node in nodes:
        before = groups[-1][-1] if groups else None
        if before is not None and _kind(node, direction) == _kind(before, direction) != "":
            groups[-1].append(node)
        else:
            groups.append([node])
    rows = [
        row
        for group in groups
        for row in (
            [_Row(group[0], group[-1], len(group))]
            if len(group) > _FEW
            else [_Row(one, one, 1) for one in group]
        )
    ]
    return [(row, row is rows[-1]) for row in rows]


def _kind(node: Lineage, direction: str) -> str:
    """Return what nodes of one row have in common, empty for a node with a row of its own."""
    if getattr(node, direction) or node.state != "exists":
        return ""
    return f"{node.relation} {node.store} {node.reference.rpartition(':')[0]}"


def _text(row: _Row) -> str:
    node = row.first
    parts = [f"{node.relation} {node.reference}".strip()]
    if row.number > 1:
        parts[0] += f" to {row.last.reference.rpartition(':')[2]} ({row.number} versions)"
    elif node.aliases:
        parts[0] += f" ({', '.join(node.aliases)})"
    if node.state == "source":
        if node.digest:
            is_long = len(node.digest) > _SHORT_DIGEST
            parts.append(f"{node.digest[:_SHORT_DIGEST]}…" if is_long else node.digest)
    elif node.state == "repeated":
        parts.append("see above")
    elif node.state != "exists":
        parts.append(node.state)
    if node.created_at is not None and node.state != "repeated":
        parts.append(local_time(node.created_at))
    if node.store is not None:
        parts.append(f"in {node.store}")  # at the end, because a narrow terminal cuts it
    return clean(", ".join(parts))


def _has_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
