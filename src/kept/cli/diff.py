"""kept diff: what differs between two versions, or between a version and files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import references
from kept.cli.output import Column, clean, print_json, print_table
from kept.progress import progress

if TYPE_CHECKING:
    from kept.store.diff.result import Diff
    from kept.store.diff.sides import Side
    from kept.store.store import Store

_HELP = """Show what differs between A and B, largest change first; A alone: against the version
before it.

\b
kept diff m:v3 m:v7                     two versions
kept diff m:best                        what the best version changed
kept diff m:best model.keras            a file or a folder on the disk
kept diff m:v3 s3://team/store/m:v3     a version of another store

The weights and the optimizer are compared tensor by tensor. Only chunks whose digests differ are
read, so a relative change with ≤ is an upper bound: a part of the tensor is equal and was not read.
"""
_WRAPS = ("before", "after", "note")


@click.command(help=_HELP, short_help="Show what differs between two versions or files.")
@click.argument("a", metavar="A", shell_complete=references)
@click.argument("b", metavar="[B]", required=False, shell_complete=references)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True,
              help="The number of rows of each table.")  # fmt: skip
@click.option("--all", "show_all", is_flag=True, help="Show all rows.")
@click.option("--exact", is_flag=True, help="Read equal parts of changed tensors, too: no bounds.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything differs, except aliases.")
@json_option
@click.pass_context
def diff(
    ctx: click.Context, /, a: str, b: str | None, *, limit: int, as_json: bool, **flags: bool
) -> None:
    """Show what differs between two versions or files."""
    from kept.store.diff.diff import diff as compare

    before, after = _sides(ctx.obj, a, b)
    with progress(f"Comparing {before.label} and {after.label}", "bytes") as compared:
        found = compare(before, after, exact=flags["exact"], progress=compared)
    if as_json:
        print_json(found.to_json())
    else:
        _print(found, None if flags["show_all"] else limit)
    if flags["exit_code"] and found.differs:
        ctx.exit(1)


def _sides(location: str | None, a: str, b: str | None) -> tuple[Side, Side]:
    from kept.store.diff.sides import find_side, side_before

    store = _store(location, a, b)
    first = find_side(a, store)
    return (side_before(first, store), first) if b is None else (first, find_side(b, store))


def _store(location: str | None, a: str, b: str | None) -> Store:
    """Return the store; it may be missing if both sides are elsewhere."""
    import os

    from kept.store.diff.sides import named

    def is_elsewhere(text: str) -> bool:
        found = named(text)
        return found.path is not None or found.location is not None or os.path.isfile(text)

    return opened(location, may_be_new=is_elsewhere(a) and (b is None or is_elsewhere(b)))


def _print(found: Diff, limit: int | None) -> None:
    from kept.store.diff.wording import sections, summary

    click.secho(clean(f"{found.before} → {found.after}"), bold=True)
    click.echo(clean(summary(found)))
    for section in sections(found, limit):
        click.echo()
        columns = [_column(title) for title in section.columns]
        print_table(columns, section.rows)
        if section.left_out:
            click.echo(f"… and {section.left_out:,} more; --all shows them")


def _column(title: str) -> Any:
    from kept.store.diff.wording import RIGHT

    return Column(title, right=title in RIGHT, wraps=title in _WRAPS)
