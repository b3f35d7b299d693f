"""kept alias and kept rm: names for versions, and an end to versions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened, version_shape
from kept.cli.completion import references
from kept.cli.output import print_json, size_text
from kept.errors import InvalidReference
from kept.names import LATEST, parse_reference

if TYPE_CHECKING:
    from kept.store.version import Version


@click.command()
@click.argument("ref", shell_complete=references)
@click.argument("new", metavar="[ALIAS]", required=False)
@click.option("--remove", is_flag=True, help="Take the alias that REF names away: NAME:ALIAS.")
@json_option
@click.pass_obj
def alias(location: str | None, ref: str, new: str | None, *, remove: bool, as_json: bool) -> None:
    """Put an alias on a version, or take one away.

    \b
    kept alias mnist:v3 prod          mnist:prod now names mnist:v3
    kept alias --remove mnist:prod    mnist:prod names nothing any more

    A version that had the alias before loses it.
    """  # noqa: D301 (click's mark for lines that stay as they are)
    if remove == (new is not None):
        raise click.UsageError("Write `kept alias REF ALIAS` or `kept alias --remove NAME:ALIAS`.")
    if new is None:
        _take_away(location, ref, as_json=as_json)
        return
    version = opened(location).set_alias(ref, new)
    _tell(f"{version.name}:{new} is {version.reference}", version_shape(version), as_json=as_json)


def _take_away(location: str | None, ref: str, *, as_json: bool) -> None:
    wanted = parse_reference(ref)
    if wanted.alias is None:
        raise InvalidReference(
            "Only an alias can be removed, written as NAME:ALIAS ('latest' is computed). "
            f"Received: {ref!r}"
        )
    store = opened(location)
    version = store.version(ref)
    store.remove_alias(wanted.name, wanted.alias)
    shape = version_shape(store.version(version.reference)) | {"removed": wanted.alias}
    _tell(f"{ref} is no more; it was {version.reference}", shape, as_json=as_json)


@click.command()
@click.argument("ref", shell_complete=references)
@click.option("--force", is_flag=True, help="Delete it though it has aliases; they go with it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def rm(location: str | None, ref: str, *, force: bool, yes: bool, as_json: bool) -> None:
    """Delete a version. Its number is never used again; until gc it can be undeleted.

    A version that has aliases is refused unless --force is given. On a terminal you are asked
    first.
    """
    store = opened(location)
    version = store.version(ref)
    if (force or not _own_aliases(version)) and not yes and sys.stdin.isatty():
        size = size_text(version.size)
        click.confirm(f"Delete {version.reference} ({size})?", abort=True, err=True)
    # By its number: what an alias named a moment ago is not what it names now.
    store.delete(version.reference, force=force)
    told = (
        f"Deleted {version.reference}; until gc, kept undelete {version.reference} takes that back."
    )
    _tell(told, version_shape(version) | {"deleted": True}, as_json=as_json)


def _own_aliases(version: Version) -> list[str]:
    return [alias for alias in version.aliases if alias != LATEST]


def _tell(text: str, shape: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(shape)
    else:
        click.echo(text)
