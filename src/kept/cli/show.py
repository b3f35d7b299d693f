"""kept show: all about one version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kept.cli.common import files_json, json_option, opened, version_json
from kept.cli.completion import references
from kept.cli.output import local_time, print_json, print_pairs
from kept.store.health.state import FINDINGS, STATE, health_of
from kept.store.problems import warn
from kept.units import counted, metric_text, size_text, value_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.version import Version


_IN_FACTS = (STATE, FINDINGS)  # metadata that are shown as the health


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
        print_json(version_json(version) | _origin_json(version) | {"files": files_json(version)})
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
        *_health_of(version),
        *_said_of(version),
        *_links_of(version),
    ]
    print_pairs(version.reference, facts)
    if version.metrics:
        metrics = version.metrics.items()
        print_pairs(
            "metrics, logged later", [(name, metric_text(value)) for name, value in metrics]
        )
    if version.metadata:
        rest = {key: value for key, value in version.metadata.items() if key not in _IN_FACTS}
        print_pairs("metadata", list(_flat(rest)))
    if provenance := version.provenance:
        print_pairs("provenance", list(_provenance(provenance)))
    print_pairs("files", [(file.path, size_text(file.size)) for file in files])


def _health_of(version: Version) -> Iterable[tuple[str, str]]:
    """Yield the health, and what was found; nothing for a version that is no model of a run."""
    found = health_of(version.record)
    if found.state is not None or "framework" in version.metadata:
        yield "health", str(found)
    for text in found.findings:
        yield "", text


def _said_of(version: Version) -> Iterable[tuple[str, str]]:
    if version.tags:
        yield "tags", ", ".join(version.tags)
    if version.description is not None:
        yield "description", version.description
    for note in version.notes:
        yield "note", f"{note.text} ({note.by or 'unknown'}, {local_time(note.time)})"


def _links_of(version: Version) -> Iterable[tuple[str, str]]:
    if version.parent is not None:
        yield "parent", str(version.parent)
    if not version.uses:
        return
    from kept.store.origin.links import Source

    for link in version.uses:
        is_source = isinstance(link, Source) and link.digest
        yield "uses", f"{link} ({link.digest})" if is_source else str(link)


def _provenance(provenance: dict[str, Any]) -> Iterable[tuple[str, str]]:
    packages = provenance.get("packages")
    if isinstance(packages, dict) and isinstance(versions := packages.get("versions"), dict):
        yield "packages", ", ".join(f"{name} {version}" for name, version in versions.items())
        rest = {key: value for key, value in packages.items() if key != "versions"}
        provenance = {**provenance, "packages": rest}
    yield from _flat(provenance)


def _origin_json(version: Version) -> dict[str, Any]:
    return {
        "provenance": version.provenance,
        "parent": version.parent.as_json() if version.parent else None,
        "uses": [link.as_json() for link in version.uses],
    }


def _flat(metadata: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in metadata.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value_text(value)
