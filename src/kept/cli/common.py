"""What the commands share: the store they work on, the option --json, the shape of a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kept.errors import NotFound

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.store.version import Version

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else, on stdout."
)


class NoStore(NotFound):
    """There is no store at the location."""


def opened(location: str | None, *, may_be_new: bool = False) -> Store:
    """Return the store; raises NoStore, unless it may be a new one."""
    from kept.store.open import open_store

    store = open_store(location)
    if not store.exists and not may_be_new:
        raise NoStore(
            f"There is no store in {store.location}. Pass --store LOCATION or set KEPT_STORE; "
            "a store is made by the first checkpoint or by `kept put`."
        )
    return store


def version_shape(version: Version) -> dict[str, Any]:
    """Return a version as the JSON that users of --json rely on."""
    entry = version.record
    return {
        "name": version.name,
        "version": f"v{entry.index}",
        "index": entry.index,
        "type": entry.type,
        "reference": f"{version.name}:v{entry.index}",
        "aliases": entry.aliases,
        "metadata": entry.metadata,
        "size": entry.size,
        "digest": entry.digest,
        "created_at": entry.created_at,
    }


def files_shape(version: Version) -> list[dict[str, Any]]:
    """Return a version's files as JSON; raises Damaged."""
    return [{"path": file.path, "size": file.size} for file in version.files]
