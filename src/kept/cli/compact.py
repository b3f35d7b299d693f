"""kept compact: stores versions in less room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kept.cli.common import json_option, opened, print_result
from kept.cli.completion import artifact_names
from kept.progress import progress
from kept.units import counted, size_text

if TYPE_CHECKING:
    from kept.store.compact.compactor import Compacted


@click.command()
@click.argument("name", required=False, shell_complete=artifact_names)
@json_option
@click.pass_obj
def compact(location: str | None, name: str | None, *, as_json: bool) -> None:
    """Store the versions of an artifact, or of all, in less room.

    No byte is lost, and no version changes. The bytes of tensors are reordered, stored as
    differences to an earlier version if that is shorter, and compressed.
    """
    store = opened(location)
    with progress(f"Compacting {name or 'all artifacts'}", "versions") as compacted:
        done = store.compact(name, progress=compacted)
    shape = {"blobs": done.blobs, "bytes_before": done.before, "bytes_after": done.after}
    print_result(_text(done), shape, as_json=as_json)


def _text(done: Compacted) -> str:
    if not done.blobs:
        return "Nothing to compact."
    saved = 1 - done.after / done.before
    sizes = f"{size_text(done.before)} are now {size_text(done.after)}"
    return f"{counted(done.blobs, 'blob')} compacted: {sizes}, {saved:.0%} less"
