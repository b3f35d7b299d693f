"""For kept sync: copies an artifact to another name, and resolves a divergence."""

from __future__ import annotations

import click

from kept.cli.common import confirm, opened
from kept.cli.output import clean
from kept.cli.sync_copy import StoreCopy, copy_artifact, target_store


def copy_as(source_location: str | None, location: str, name: str, new_name: str) -> StoreCopy:
    """Copy an artifact to another name in the store at a location."""
    source = opened(source_location)
    target = target_store(source, location)
    copied = copy_artifact(source, target, name, new_name)
    return StoreCopy(source, target, {new_name: copied}, {})


def resolve(
    source_location: str | None,
    location: str,
    names: tuple[str, str | None],
    *,
    ours: bool,
    yes: bool,
) -> StoreCopy:
    """Let both stores have one history of an artifact, and rename the other one.

    names are the artifact's, and the new one of what is renamed, if the user has chosen it.
    """
    from kept.sync.mirror.resolve import rename_history

    source = opened(source_location)
    target = target_store(source, location)
    winner, loser = (source, target) if ours else (target, source)
    name, new_name = names
    if not yes:
        confirm(
            f"Rename {name} in {clean(loser.location)}, and replace it with that of "
            f"{clean(winner.location)}? No process may write to it meanwhile."
        )
    renamed = rename_history(loser, winner, name, new_name)
    if renamed is None:
        click.echo(f"{name} has not diverged.", err=True)
    source, target = opened(source_location), opened(location, may_be_new=True)
    winner, loser = (source, target) if ours else (target, source)
    copied = copy_artifact(winner, loser, name)
    if not ours:
        copy_artifact(source, target, name)  # confirms to the source that its mirror has all
    return StoreCopy(winner, loser, {name: copied}, {}, renamed)
