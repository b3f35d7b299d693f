"""kept rm: deletes a version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kept.cli.common import confirm, json_option, opened, print_result, version_json, yes_option
from kept.cli.completion import references
from kept.names import LATEST
from kept.units import size_text

if TYPE_CHECKING:
    from kept.store.version import Version


@click.command()
@click.argument("ref", shell_complete=references)
@click.option("--force", is_flag=True, help="Delete it with its aliases.")
@yes_option
@json_option
@click.pass_obj
def rm(location: str | None, ref: str, *, force: bool, yes: bool, as_json: bool) -> None:
    """Delete a version. Its number is never used again; until gc it can be undeleted.

    A version that has aliases is deleted only with --force. On a terminal the command asks first.
    """
    store = opened(location)
    version = store.version(ref)
    if (force or not _own_aliases(version)) and not yes:
        confirm(f"Delete {version.reference} ({size_text(version.size)})?")
    # By its number: an alias can move while the question is on the screen.
    store.delete(version.reference, force=force)
    text = f"Deleted {version.reference}. To undo, before gc: kept undelete {version.reference}"
    print_result(text, version_json(version) | {"deleted": True}, as_json=as_json)


def _own_aliases(version: Version) -> list[str]:
    return [alias for alias in version.aliases if alias != LATEST]
