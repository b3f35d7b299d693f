"""For kept sync: copies artifacts from one store to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from kept.cli.common import opened
from kept.cli.output import clean, counted
from kept.errors import RemoteError
from kept.progress import progress
from kept.units import size_text

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.sync.mirror.replicate import Copied


class StoreCopy(NamedTuple):
    """What was copied from one store to another."""

    source: Store
    target: Store
    artifacts: dict[str, Copied]


def copy_artifacts(source: Store, location: str, artifact: str | None) -> StoreCopy:
    """Copy an artifact, or all, to the store at a location."""
    target = opened(location, may_be_new=True)
    if target.location == source.location:
        raise click.UsageError(f"SOURCE and TARGET are the same store: {source.location}")
    names = [artifact] if artifact else [found.name for found in source.artifacts()]
    return StoreCopy(source, target, {name: _copy(source, target, name) for name in names})


def _copy(source: Store, target: Store, name: str) -> Copied:
    from kept.store.receipts import Receipts
    from kept.sync.mirror.replicate import Sync

    receipts = Receipts(source.bucket, target.location)
    is_mirror = receipts.receipt(name) is not None
    with progress(f"Copying {name}", "bytes") as moved:
        sync = Sync(source, target, name)
        return sync.run(receipts if is_mirror else None, moved, in_parts=True)


def store_if_reachable(location: str | None) -> Store | None:
    """Return the store, or None if it is missing or cannot be reached.

    A user of W&B only has no store, and one in object storage may be away for a while.
    """
    try:
        store = opened(location, may_be_new=True)
    except RemoteError as error:
        click.echo(f"Cannot ask the store for its mirrors: {clean(str(error))}", err=True)
        return None
    return store if store.exists else None


def mirrors_of(source: Store) -> list[str]:
    """Return the locations of a store's mirrors."""
    from kept.store.receipts import receipts

    return sorted({receipt.destination for receipt in receipts(source.bucket)})


def copied_json(copied: StoreCopy) -> dict[str, Any]:
    """Return what was copied as JSON."""
    return {
        "source": copied.source.location,
        "target": copied.target.location,
        "artifacts": [
            {"name": name, "versions": c.versions, "changes": c.changes, "blobs": c.blobs,
             "bytes": c.bytes}
            for name, c in copied.artifacts.items()
        ],
    }  # fmt: skip


def print_copied(copied: StoreCopy) -> None:
    """Print what was copied, one line for each artifact."""
    for name, c in copied.artifacts.items():
        if c.versions or c.changes:
            amount = f"{counted(c.versions, 'version')}, {counted(c.changes, 'change')}"
            click.echo(f"{name}: {amount}, {size_text(c.bytes)} copied")
        else:
            click.echo(f"{name}: nothing new")
    artifacts = counted(len(copied.artifacts), "artifact")
    click.echo(f"{artifacts} of this store in {clean(copied.target.location)}")
