"""kept log: who changed what, when, the newest change first."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import artifact_names
from kept.cli.layout import Column
from kept.cli.output import print_json, print_table, with_local_times

if TYPE_CHECKING:
    from kept.store.promotion.history import Change

_USUAL = 50


@click.command(short_help="Show who changed what, the newest change first.")
@click.argument("name", required=False, shell_complete=artifact_names)
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), metavar="N",
    help=f"Show N changes. Default: {_USUAL}, and with --json all.",
)  # fmt: skip
@json_option
@click.pass_obj
def log(location: str | None, name: str | None, *, limit: int | None, as_json: bool) -> None:
    """Show who changed what, when, and why, the newest change first.

    With NAME of one artifact, otherwise of all. These are changes of versions, aliases, promotions,
    rollbacks, metrics, tags, notes, deletions and repairs.
    """
    changes = opened(location).history(name)
    if as_json:
        print_json([change.as_json() for change in itertools.islice(changes, limit)])
        return
    shown = list(itertools.islice(changes, limit or _USUAL))
    if not shown:
        click.echo("Nothing has changed yet.")
        return
    columns = [Column("time", extra=True), Column("by", extra=True), Column("what", wraps=True)]
    if name is None:
        columns.insert(1, Column("artifact"))
    print_table(columns, [_row(change, with_name=name is None) for change in shown])
    if limit is None and next(changes, None) is not None:
        click.echo(f"These are the newest {_USUAL} changes. For more: --limit N", err=True)


def _row(change: Change, *, with_name: bool) -> list[str]:
    moment = f"{change.time.astimezone():%Y-%m-%d %H:%M}"
    name = [change.artifact or "all"] if with_name else []
    return [moment, *name, change.by or "unknown", with_local_times(change.text)]
