"""kept rm: deletes versions, or removes whole artifacts."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from kept.cli.common import (
    confirm,
    dry_run_option,
    json_option,
    opened,
    print_result,
    version_json,
    yes_option,
)
from kept.cli.completion import references
from kept.names import check_selected, is_automatic
from kept.units import counted, size_text

if TYPE_CHECKING:
    from kept.cli.rm_artifacts import Wanted
    from kept.store.store import Store
    from kept.store.version import Version


_HELP = """Delete versions (NAME:v3, NAME:ALIAS), or with --artifact or a pattern whole artifacts.

\b
kept rm m:v3 m:v4              versions
kept rm --artifact m old       artifacts, with all their versions
kept rm 'run_*' --older-than 30d --keep-aliased --dry-run

Until gc, kept undelete takes it back. What has aliases of your own is deleted only with
--force; a version with a protected alias is never deleted. On a terminal the command asks
first.
"""


@click.command(help=_HELP, short_help="Delete versions or whole artifacts.")
@click.argument("refs", metavar="REF...", nargs=-1, required=True, shell_complete=references)
@click.option("--artifact", "whole", is_flag=True, help="Remove the artifacts of these names.")
@click.option("--older-than", metavar="TIME",
              help="Only artifacts whose newest version is older: 30d, 12h, …")  # fmt: skip
@click.option("--keep-aliased", is_flag=True,
              help="Skip artifacts with an alias other than latest, best and epoch_….")  # fmt: skip
@click.option("--force", is_flag=True, help="Delete them with their aliases.")
@dry_run_option
@yes_option
@json_option
@click.pass_obj
def rm(  # noqa: PLR0913 - the options of the verb
    location: str | None,
    refs: tuple[str, ...],
    *,
    whole: bool,
    older_than: str | None,
    keep_aliased: bool,
    force: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete versions or whole artifacts."""
    from kept.cli.rm_artifacts import Wanted, remove_artifacts
    from kept.store.whole.remove import is_pattern
    from kept.store.whole.rules import Rules
    from kept.units import parse_span

    store, wanted = opened(location), Wanted(dry_run, yes, as_json)
    if whole or any(map(is_pattern, refs)):
        span = None if older_than is None else parse_span(older_than, "--older-than")
        rules = Rules(span, keep_aliased, force, frozenset(store.protected()))
        remove_artifacts(store, refs, rules, wanted)
    elif older_than is not None or keep_aliased:
        option = "--keep-aliased" if keep_aliased else "--older-than"
        raise click.UsageError(f"{option} is for whole artifacts: pass --artifact or a pattern.")
    else:
        _delete(store, refs, wanted, force=force)


def _delete(store: Store, refs: tuple[str, ...], wanted: Wanted, *, force: bool) -> None:
    versions = list(dict.fromkeys(map(store.version, refs)))
    for ref in refs:
        check_selected(ref)
    named = [version.reference for version in versions]
    size = size_text(sum(version.size for version in versions))
    text = f"Would delete {', '.join(named)} ({size})"
    if not wanted.dry_run:
        if not wanted.yes and (force or not any(map(_own_aliases, versions))):
            what = counted(len(named), "version") if len(named) > 1 else named[0]
            confirm(f"Delete {what} ({size})?")
        for version in versions:  # by number: an alias can move while the question is asked
            store.delete(version.reference, force=force)
        undo = shlex.join(["kept", "undelete", *named])
        text = f"Deleted {', '.join(named)}. To undo, before gc: {undo}"
    shapes = [version_json(version) | {"deleted": not wanted.dry_run} for version in versions]
    print_result(text, shapes[0] if len(shapes) == 1 else shapes, as_json=wanted.as_json)


def _own_aliases(version: Version) -> list[str]:
    return [alias for alias in version.aliases if not is_automatic(alias)]
