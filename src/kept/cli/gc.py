"""kept gc: frees the bytes that no version needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import dry_run_option, json_option, opened
from kept.cli.output import clean, print_json, with_local_times
from kept.units import counted, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.gc.collector import Collection


@click.command()
@click.option("--grace", default="24h", show_default=True, metavar="TIME",
              help="Spare bytes that are younger, or were deleted a shorter time ago.")  # fmt: skip
@dry_run_option
@json_option
@click.pass_obj
def gc(location: str | None, *, grace: str, dry_run: bool, as_json: bool) -> None:
    """Free the bytes that no version needs.

    Other programs may continue to write. A deleted version can no longer be undeleted once its
    bytes are freed; with --grace 0s that is every deleted version.
    """
    found = opened(location).gc(grace=grace, dry_run=dry_run)
    if as_json:
        print_json(_collection_json(found))
    else:
        _print_collection(found, grace, dry_run=dry_run)


def _collection_json(found: Collection) -> dict[str, Any]:
    return {
        "bytes": found.bytes,
        "keys": len(found.doomed),
        "young_bytes": found.young,
        "waiting": found.waiting,
        "expired": found.expired,
        "reasons": [
            {"why": why, "keys": keys, "bytes": size}
            for why, (keys, size) in found.by_reason().items()
        ],
    }


def _print_collection(found: Collection, grace: str, *, dry_run: bool) -> None:
    would_be = "would be " if dry_run else ""
    for reference in found.expired:
        click.echo(f"{clean(reference)}: expired, {would_be}deleted")
    _print_reasons(found.by_reason().items())
    young = f"; {size_text(found.young)} spared, younger than {grace}" if found.young else ""
    click.echo(f"{size_text(found.bytes)} {would_be}freed{clean(young + _waiting(found, grace))}")


def _waiting(found: Collection, grace: str) -> str:
    if not found.waiting:
        return ""
    keeps = "keeps its" if found.waiting == 1 else "keep their"
    versions = f"{counted(found.waiting, 'version')} deleted in the last {grace}"
    return f"; {versions} {keeps} bytes and can be undeleted"


def _print_reasons(reasons: Iterable[tuple[str, tuple[int, int]]]) -> None:
    for why, (keys, size) in sorted(reasons, key=_by_number):
        click.echo(f"{clean(with_local_times(why))}: {size_text(size)} in {counted(keys, 'blob')}")


def _by_number(reason: tuple[str, tuple[int, int]]) -> list[tuple[int, str]]:
    """Put v9 before v10."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", reason[0])
    ]
