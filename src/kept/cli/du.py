"""kept du: how much room versions take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import json_option, opened
from kept.cli.completion import artifact_names
from kept.cli.output import Column, print_json, print_pairs, print_table
from kept.progress import progress
from kept.units import size_text

if TYPE_CHECKING:
    from kept.store.gc.usage import Usage


@click.command(short_help="Show how much room artifacts take.")
@click.argument("name", required=False, shell_complete=artifact_names)
@json_option
@click.pass_obj
def du(location: str | None, name: str | None, *, as_json: bool) -> None:
    """Show how much room an artifact takes, or all, and what deleting versions would free.

    Only gc frees the bytes of deleted versions. Bytes that other versions need too are not counted
    as freed.
    """
    store = opened(location)
    with progress(f"Looking at {name or 'all artifacts'}"):
        found = store.usage(name)
    if as_json:
        print_json(_usage_json(found))
        return
    print_pairs(name or store.location, _facts(found))
    if found.frees:
        click.echo()
        columns = [Column("version"), Column("deleting it frees", right=True)]
        rows = [[f"{of}:v{index}", size_text(size)] for (of, index), size in found.frees.items()]
        print_table(columns, rows)


def _facts(found: Usage) -> list[tuple[str, str]]:
    part = f" ({found.stored / found.logical:.0%})" if found.logical else ""
    return [
        ("versions hold", size_text(found.logical)),
        ("stored", size_text(found.stored) + part),
        ("saved by deduplication", size_text(found.dedup)),
        ("saved by differences", size_text(found.deltas)),
        ("saved by compression", size_text(found.compression)),
        ("bases, neighbours, manifests", size_text(found.overhead)),
        *([("deleted, until kept gc", size_text(found.deleted))] if found.deleted else []),
    ]


def _usage_json(found: Usage) -> dict[str, Any]:
    return {
        "logical": found.logical,
        "stored": found.stored,
        "saved": {
            "dedup": found.dedup,
            "deltas": found.deltas,
            "compression": found.compression,
        },
        "overhead": found.overhead,
        "deleted": found.deleted,
        "versions": [
            {"reference": f"{of}:v{index}", "frees": size}
            for (of, index), size in found.frees.items()
        ],
    }
