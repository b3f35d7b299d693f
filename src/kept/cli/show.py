"""kept show: all about one version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import files_json, json_option, opened, version_json
from kept.cli.completion import references
from kept.cli.output import counted, local_time, metric_text, print_json, print_pairs, value_text
from kept.store.problems import warn
from kept.units import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.version import Version


@click.command()
@click.argument("ref", shell_complete=references)
@json_option
@click.pass_obj
def show(location: str | None, ref: str, *, as_json: bool) -> None:
    """Show all about a version: aliases, metadata, files."""
    version = opened(location).version(ref)
    if version.record.is_uncertain:
        message = "a newer record cannot be read: it may move the aliases, or delete the version"
        warn(version.reference, [message])
    if as_json:
        print_json(version_json(version) | {"files": files_json(version)})
    else:
        _print_version(version)


def _print_version(version: Version) -> None:
    files = version.files
    facts = [
        ("type", version.type),
        ("aliases", ", ".join(version.aliases) or "none"),
        ("created", local_time(version.record.created_at)),
        ("size", f"{size_text(version.size)} in {counted(len(files), 'file')}"),
        ("digest", version.digest),
        *_said_of(version),
    ]
    print_pairs(version.reference, facts)
    if version.metrics:
        metrics = version.metrics.items()
        print_pairs(
            "metrics, logged later", [(name, metric_text(value)) for name, value in metrics]
        )
    if version.metadata:
        print_pairs("metadata", list(_flat(version.metadata)))
    print_pairs("files", [(file.path, size_text(file.size)) for file in files])


def _said_of(version: Version) -> Iterable[tuple[str, str]]:
    if version.tags:
        yield "tags", ", ".join(version.tags)
    if version.description is not None:
        yield "description", version.description
    for note in version.notes:
        yield "note", f"{note.text} ({note.by or 'unknown'}, {local_time(note.time)})"


def _flat(metadata: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in metadata.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value_text(value)
