"""kept undelete: restores deleted versions, or whole artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened, print_result, version_json
from kept.cli.output import print_json
from kept.progress import progress
from kept.units import counted

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.store.whole.restore import Restored

_FEW = 10  # artifacts that are named one by one


@click.command(short_help="Restore deleted versions or artifacts.")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--artifact", "whole", is_flag=True, help="Restore the artifacts of these names.")
@json_option
@click.pass_obj
def undelete(location: str | None, refs: tuple[str, ...], *, whole: bool, as_json: bool) -> None:
    """Restore the deleted version NAME:v3, or with --artifact or a pattern whole artifacts.

    An artifact gets back the versions that its last removal has deleted. This works until gc has
    freed their content.
    """
    from kept.names import is_word
    from kept.store.whole.remove import is_pattern

    store = opened(location)
    if not whole and (names := [ref for ref in refs if is_word(ref)]):
        raise click.UsageError(
            f"Name a version ({names[0]}:v3), or pass --artifact to restore the whole artifact."
        )
    if whole or any(map(is_pattern, refs)):
        _restore_artifacts(store, refs, as_json=as_json)
    else:
        shapes = [_restore(store, ref) for ref in refs]
        lines = [text for text, _ in shapes]
        values = [value for _, value in shapes]
        print_result(lines, values[0] if len(values) == 1 else values, as_json=as_json)


def _restore(store: Store, ref: str) -> tuple[str, dict[str, Any]]:
    from kept.names import parse_reference

    deleted = {version.index for version in store.deleted(parse_reference(ref).name)}
    version = store.undelete(ref)
    if version.index not in deleted:
        return f"{version.reference} was not deleted", version_json(version)
    aliases = ", ".join(version.aliases)
    text = f"Restored {version.reference}" + (f" ({aliases})" if aliases else "")
    return text, version_json(version)


def _restore_artifacts(store: Store, names: tuple[str, ...], *, as_json: bool) -> None:
    with progress("Restoring artifacts", "artifacts") as moved:
        found = store.restore_artifacts(names, moved)
    if as_json:
        print_json([
            {"name": r.name, "restored": [f"v{n}" for n in r.versions],
             "gone": [f"v{n}" for n in r.gone]}
            for r in found
        ])  # fmt: skip
        return
    worth = [each for each in found if each.gone or len(found) <= _FEW]
    for each in worth:
        click.echo(_told(each))
    if len(found) > _FEW:
        versions = sum(len(each.versions) for each in found)
        back = [each for each in found if each.versions]
        amount = f"{counted(len(back), 'artifact')} with {counted(versions, 'version')}"
        click.echo(f"Restored {amount}")
    elif not found:
        click.echo("Nothing to restore: none of these artifacts is removed.", err=True)


def _told(restored: Restored) -> str:
    freed = f"gc has freed {counted(len(restored.gone), 'version')}" if restored.gone else ""
    if restored.versions:
        text = f"Restored {restored.name} ({counted(len(restored.versions), 'version')})"
        return f"{text}; {freed}" if freed else text
    return f"{restored.name}: {freed or 'was not removed'}"
