"""kept protect: aliases that only a promotion moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kept.cli.common import json_option, opened, print_result
from kept.cli.layout import Column
from kept.cli.output import local_time, print_json, print_table

if TYPE_CHECKING:
    from kept.store.store import Store

_HELP = """Protect an alias in all artifacts, or list the protected ones.

\b
kept protect                  the list
kept protect prod             only kept promote and kept rollback move prod
kept protect --remove prod    any writer moves prod

No run and no `kept alias` moves a protected alias, and nothing deletes the version that has it. A
run that saves with such an alias is refused before it trains.
"""


@click.command(help=_HELP, short_help="Let only promotions move an alias.")
@click.argument("aliases", metavar="[ALIAS...]", nargs=-1)
@click.option("--remove", is_flag=True, help="End the protection.")
@json_option
@click.pass_obj
def protect(location: str | None, aliases: tuple[str, ...], *, remove: bool, as_json: bool) -> None:
    """Protect aliases, or list the protected ones."""
    if remove and not aliases:
        raise click.UsageError("Name the alias that is no longer protected.")
    from kept.store.promotion import protected

    store = opened(location)
    if not aliases:
        _print_list(store, as_json=as_json)
        return
    change = protected.unprotect if remove else protected.protect
    change(store.bucket, aliases)
    names = ", ".join(aliases)
    text = f"Protected: {names}. Only kept promote and kept rollback move a protected alias."
    text = f"No longer protected: {names}" if remove else text
    print_result(text, {"protected": store.protected()}, as_json=as_json)


def _print_list(store: Store, *, as_json: bool) -> None:
    from kept.store.promotion.protected import protections

    found = [each for each in protections(store.bucket) if each.protected]
    if as_json:
        print_json([{"alias": p.alias, "since": p.time, "by": p.by} for p in found])
    elif not found:
        click.echo("No alias is protected. To protect one: kept protect ALIAS")
    else:
        rows = [(p.alias, local_time(p.time), p.by) for p in found]
        print_table([Column("alias"), Column("since"), Column("by")], rows)
