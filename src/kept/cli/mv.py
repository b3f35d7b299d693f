"""kept mv: renames an artifact."""

from __future__ import annotations

import click

from kept.cli.common import json_option, opened, print_result
from kept.cli.completion import artifact_names
from kept.progress import progress
from kept.units import counted


@click.command(short_help="Rename an artifact.")
@click.argument("old", shell_complete=artifact_names)
@click.argument("new")
@json_option
@click.pass_obj
def mv(location: str | None, old: str, new: str, *, as_json: bool) -> None:
    """Rename the artifact OLD to NEW, with all versions, their numbers, aliases and history.

    No byte is moved. A run that still logs to OLD makes versions there again; the same command
    brings them along. Signatures name the artifact, so sign NEW again. To undo it: kept mv NEW OLD.
    """
    from kept.store.signing.signatures import has_signatures

    store = opened(location)
    with progress(f"Renaming {old}", "records") as moved:
        versions = store.rename(old, new, progress=moved)
    text = f"Renamed {old} to {new} ({counted(versions, 'version')}). To undo: kept mv {new} {old}"
    shape = {"old": old, "name": new, "versions": versions}
    print_result(text, shape, as_json=as_json)
    if has_signatures(store.bucket, old):
        note = f"Signatures stay behind, because they name {old}. To sign again: kept sign {new}:vN"
        click.echo(note, err=True)
