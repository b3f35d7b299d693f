"""kept undelete: restores a deleted version."""

from __future__ import annotations

import click

from kept.cli.common import json_option, opened, print_result, version_json


@click.command(short_help="Restore a deleted version.")
@click.argument("ref")
@json_option
@click.pass_obj
def undelete(location: str | None, ref: str, *, as_json: bool) -> None:
    """Restore the deleted version NAME:v3. This works until gc has removed its content."""
    from kept.names import parse_reference

    store = opened(location)
    deleted = {version.index for version in store.deleted(parse_reference(ref).name)}
    version = store.undelete(ref)
    if version.index not in deleted:
        text = f"{version.reference} was not deleted"
    else:
        aliases = ", ".join(version.aliases)
        text = f"Restored {version.reference}" + (f" ({aliases})" if aliases else "")
    print_result(text, version_json(version), as_json=as_json)
