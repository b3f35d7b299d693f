"""kept alias: names for versions."""

from __future__ import annotations

import click

from kept.cli.common import json_option, opened, print_result, version_json
from kept.cli.completion import references
from kept.cli.moved import print_moved
from kept.errors import InvalidReference
from kept.names import BEST, check_own_alias, parse_reference

_HELP = """Put an alias on a version, or remove one.

\b
kept alias mnist:v3 prod          mnist:prod names mnist:v3
kept alias --remove mnist:prod    mnist:prod names no version

If another version has the alias, that version loses it. A protected alias is moved by kept promote.
"""


@click.command(help=_HELP)
@click.argument("ref", shell_complete=references)
@click.argument("new", metavar="[ALIAS]", required=False)
@click.option("--remove", is_flag=True, help="Remove the alias that REF names: NAME:ALIAS.")
@json_option
@click.pass_obj
def alias(location: str | None, ref: str, new: str | None, *, remove: bool, as_json: bool) -> None:
    """Put an alias on a version, or remove one."""
    if remove == (new is not None):
        raise click.UsageError("Write `kept alias REF ALIAS` or `kept alias --remove NAME:ALIAS`.")
    if new is None:
        _remove(location, ref, as_json=as_json)
        return
    from kept.store.promotion.move import set_alias

    store, wanted = opened(location), parse_reference(ref)
    if new == BEST:
        from kept.store.rank.rule import check_unruled

        check_unruled(store.logs, wanted.name, new)
    moved = set_alias(store.logs, wanted, check_own_alias(new))
    print_moved(store, wanted.name, new, moved, as_json=as_json)


def _remove(location: str | None, ref: str, *, as_json: bool) -> None:
    wanted = parse_reference(ref)
    if wanted.alias is None:
        raise InvalidReference(
            "Only an alias can be removed, written as NAME:ALIAS; 'latest' is computed. "
            f"Received: {ref!r}"
        )
    store = opened(location)
    version = store.version(ref)
    store.remove_alias(wanted.name, wanted.alias)
    shape = version_json(store.version(version.reference)) | {"removed": wanted.alias}
    print_result(f"Removed alias {ref} (was {version.reference})", shape, as_json=as_json)
