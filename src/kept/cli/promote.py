"""kept promote: puts an alias on a version under a condition, and logs the decision."""

from __future__ import annotations

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import references
from kept.cli.moved import print_moved

_HELP = """Put an alias on a version, protected or not, and log the decision.

\b
kept promote mnist:v7 prod --if "test_acc >= 0.9"
kept promote mnist:v7 prod --from staging --message "passed review"
kept promote mnist prod --from staging      the version that is staging

If the version does not fulfil the condition, the alias stays where it is, and the exit code is 5.
The conditions are those of `kept ls --where`. To take a promotion back: kept rollback. To see who
promoted what: kept log.
"""


@click.command(help=_HELP, short_help="Put an alias on a version under a condition.")
@click.argument("ref", shell_complete=references)
@click.argument("alias")
@click.option(
    "--if", "condition", metavar="CONDITION", help='What must hold, such as "test_acc >= 0.9".'
)
@click.option("--from", "from_alias", metavar="ALIAS", help="The alias that REF must have already.")
@click.option("-m", "--message", metavar="TEXT", help="Why, for the people who read kept log.")
@json_option
@click.pass_obj
def promote(  # noqa: PLR0913 - the options of the verb
    location: str | None,
    ref: str,
    alias: str,
    *,
    condition: str | None,
    from_alias: str | None,
    message: str | None,
    as_json: bool,
) -> None:
    """Put an alias on a version, protected or not, and log the decision."""
    from kept.store.promotion.move import promote as move
    from kept.store.promotion.move import promotion_of
    from kept.store.rank.rule import check_unruled

    store = opened(location)
    wanted, terms = promotion_of(ref, alias, condition, from_alias, message)
    check_unruled(store.logs, wanted.name, alias)
    moved = move(store.logs, wanted, alias, terms)
    print_moved(store, wanted.name, alias, moved, as_json=as_json)
