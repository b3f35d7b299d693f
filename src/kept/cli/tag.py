"""kept tag: tags of a version."""

from __future__ import annotations

import click

from kept.cli.common import json_option, opened, print_result, version_json
from kept.cli.completion import references


@click.command(short_help="Add tags to a version, or remove them.")
@click.argument("ref", shell_complete=references)
@click.argument("tags", metavar="[TAG]...", nargs=-1)
@click.option("--remove", is_flag=True, help="Remove the tags.")
@json_option
@click.pass_obj
def tag(
    location: str | None, ref: str, tags: tuple[str, ...], *, remove: bool, as_json: bool
) -> None:
    """Add tags to a version, or remove them; without TAG, print its tags.

    Any number of versions can have one tag. An alias is on one version only: see kept alias.
    """
    if remove and not tags:
        raise click.UsageError("Write `kept tag REF --remove TAG`.")
    version = opened(location).version(ref)
    if tags:
        version = version.update(remove_tags=tags) if remove else version.update(tags=tags)
    text = f"{version.reference}: {', '.join(version.tags) or 'no tags'}"
    print_result(text, version_json(version), as_json=as_json)
