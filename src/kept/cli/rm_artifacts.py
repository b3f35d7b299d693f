"""For kept rm: removes whole artifacts, after a plan."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from kept.cli.common import confirm
from kept.cli.output import Column, local_time, print_json, print_table, with_local_times
from kept.errors import Damaged, InvalidReference
from kept.names import is_name
from kept.progress import progress
from kept.store.whole.remove import Removal, check, is_pattern, plan, remove_all
from kept.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.store import Store
    from kept.store.whole.rules import Rules

_FEW = 40  # artifacts that are listed
_NAMED = 8  # that are named in the command to undo it


class Wanted(NamedTuple):
    """How the user wants the verb to work."""

    dry_run: bool
    yes: bool
    as_json: bool


def remove_artifacts(store: Store, names: Sequence[str], rules: Rules, wanted: Wanted) -> None:
    """Remove the artifacts that names and patterns name, and print what was done or would be."""
    for name in names:
        if not (is_name(name) or is_pattern(name)) or ":" in name:
            raise InvalidReference(
                "Whole artifacts are named by NAME or by a pattern such as 'run_*', and versions "
                f"in a call of their own. Received: {name!r}"
            )
    with progress("Reading the artifacts"):
        found = plan(store.logs, names, rules)
    if not wanted.dry_run:
        check(found)
        doomed = [each for each in found if each.stays is None]
        if doomed and not wanted.yes:
            confirm(_question(doomed))
        with progress("Removing artifacts", "artifacts") as moved:
            found = remove_all(store.logs, found, rules, moved)
    if wanted.as_json:
        print_json([_json(each) for each in found])
    else:
        _print(found, names, dry_run=wanted.dry_run)
    if failed := [each for each in found if each.error is Damaged]:
        what = "; ".join(str(each.stays) for each in failed[:3])
        raise Damaged(f"{counted(len(failed), 'artifact')} not removed: {what}")


def _question(doomed: Sequence[Removal]) -> str:
    names = [each.name for each in doomed]
    if len(names) <= _NAMED:
        return f"Remove {', '.join(names)}: {_amount(doomed)}?"
    return f"Remove {_amount(doomed)}, {names[0]} to {names[-1]}? (--dry-run lists them)"


def _amount(removals: Sequence[Removal]) -> str:
    versions = sum(each.versions for each in removals)
    return f"{counted(len(removals), 'artifact')} with {counted(versions, 'version')}"


def _json(removal: Removal) -> dict[str, Any]:
    return {
        "name": removal.name,
        "versions": removal.versions,
        "created_at": removal.newest,
        "aliases": list(removal.aliases),
        "remove": removal.stays is None,
        "why": removal.stays,
    }


def _print(found: Sequence[Removal], names: Sequence[str], *, dry_run: bool) -> None:
    gone = [each for each in found if each.stays is None]
    stay = [each for each in found if each.stays is not None]
    shown = found if dry_run or len(found) <= _FEW else stay
    if shown and (dry_run or stay):
        _print_table(shown, "remove" if dry_run else "removed")
    if not gone:
        click.echo("Nothing to remove.", err=True)
    elif dry_run:
        click.echo(f"{_amount(gone)} would be removed")
    else:
        named = [each.name for each in gone] if len(gone) <= _NAMED else names
        undo = shlex.join(["kept", "undelete", "--artifact", *named])
        what = f"{gone[0].name}: " if len(gone) == 1 else ""
        click.echo(f"Removed {what}{_amount(gone)}. To undo, before gc: {undo}")


def _print_table(found: Sequence[Removal], done: str) -> None:
    columns = [
        Column("name"),
        Column("versions", right=True),
        Column("newest", extra=True),
        Column("aliases", extra=True),
        Column(""),
        Column("why", wraps=True),
    ]
    print_table(columns, [
        [each.name, str(each.versions), local_time(each.newest) if each.newest else "",
         ", ".join(each.aliases), done if each.stays is None else "stays",
         with_local_times(each.stays or "")]
        for each in found
    ])  # fmt: skip
