"""What the verbs share: opening the store, options, questions, and a version as JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from kept.cli.output import clean, print_json
from kept.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.signing.keys import Keys
    from kept.store.store import Store
    from kept.store.version import Version

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else, on stdout."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Only show what would be deleted, and why."
)


class NoStore(NotFound):
    """There is no store at the location."""


def opened(
    location: str | None, *, may_be_new: bool = False, require_signed: Keys | None = None
) -> Store:
    """Return the store; raises NoStore if it is missing, unless it may be new."""
    from kept.store.open import open_store

    store = open_store(location, require_signed=require_signed)
    if not store.exists and not may_be_new:
        from kept.cli.no_store import advice

        raise NoStore(f"There is no store in {store.location}. {advice(store)}")
    context = click.get_current_context(silent=True)
    if store.bucket.is_remote and context:
        from kept.store.log.overview import note

        context.call_on_close(lambda: note(store.logs))
    return store


def confirm(question: str) -> None:
    """Ask on a terminal, and abort unless the answer is yes; elsewhere do nothing."""
    if sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


def print_result(
    text: str | Sequence[str], shape: dict[str, Any] | list[dict[str, Any]], *, as_json: bool
) -> None:
    """Print one line for people, or several, or the shape as JSON.

    A line break within a line is escaped: a text of a user or of a file can have one.
    """
    if as_json:
        print_json(shape)
    else:
        lines = [text] if isinstance(text, str) else text
        click.echo("\n".join(map(clean, lines)))


def version_json(version: Version) -> dict[str, Any]:
    """Return a version as the JSON that users of --json rely on."""
    record, changes = version.record, version.record.changes
    return {
        "name": version.name,
        "version": f"v{record.index}",
        "index": record.index,
        "type": record.type,
        "reference": f"{version.name}:v{record.index}",
        "aliases": record.aliases,
        "metadata": record.described,
        "metrics": changes.metrics,
        "tags": changes.tags,
        "description": changes.description,
        "notes": [note._asdict() for note in changes.notes],
        "size": record.size,
        "digest": record.digest,
        "created_at": record.created_at,
    }


def files_json(version: Version) -> list[dict[str, Any]]:
    """Return a version's files as JSON; raises Damaged."""
    return [{"path": file.path, "size": file.size} for file in version.files]
