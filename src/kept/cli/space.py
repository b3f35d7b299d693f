"""kept compact and kept du: how much room versions take, and how they take less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import artifact_names
from kept.cli.output import counted, print_json, size_text
from kept.cli.progress import progress

if TYPE_CHECKING:
    from kept.store.compacting import Compacted


@click.command()
@click.argument("name", required=False, shell_complete=artifact_names)
@json_option
@click.pass_obj
def compact(location: str | None, name: str | None, *, as_json: bool) -> None:
    """Store the versions of an artifact, or all, in less room.

    Nothing is lost, and every version stays as it is: the bytes of tensors are put in another
    order, stored as differences to an earlier version where that is shorter, and compressed.
    """
    store = opened(location)
    with progress(f"Compacting {name or 'all artifacts'}", "versions") as told:
        done = store.compact(name, progress=told)
    if as_json:
        print_json({"blobs": done.blobs, "bytes_before": done.before, "bytes_after": done.after})
    else:
        click.echo(_told(done))


def _told(done: Compacted) -> str:
    if not done.blobs:
        return "Nothing to compact."
    saved = 1 - done.after / done.before
    sizes = f"{size_text(done.before)} are now {size_text(done.after)}"
    return f"{counted(done.blobs, 'blob')} compacted: {sizes}, {saved:.0%} less"
