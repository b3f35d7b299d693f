"""kept rollback: puts an alias back on the version that had it before."""

from __future__ import annotations

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import references
from kept.cli.moved import print_moved

_HELP = """Put an alias back on the version that had it before.

\b
kept rollback mnist:prod --message "v7 is slow"

A second rollback goes one move further back. Deleted versions are passed over and named. To choose
a version yourself: kept promote.
"""


@click.command(help=_HELP, short_help="Put an alias back where it was before.")
@click.argument("ref", metavar="NAME:ALIAS", shell_complete=references)
@click.option("-m", "--message", metavar="TEXT", help="Why, for the people who read kept log.")
@json_option
@click.pass_obj
def rollback(location: str | None, ref: str, *, message: str | None, as_json: bool) -> None:
    """Put an alias back on the version that had it before."""
    from kept.store.promotion.move import alias_in
    from kept.store.promotion.move import rollback as move
    from kept.store.rank.rule import check_unruled

    wanted = alias_in(ref)
    store = opened(location)
    check_unruled(store.logs, wanted.name, str(wanted.alias))
    moved = move(store.logs, wanted, message)
    print_moved(store, wanted.name, str(wanted.alias), moved, as_json=as_json)
