"""For kept sync: copies artifacts from one store to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from kept.cli.common import opened
from kept.cli.output import clean, print_json
from kept.errors import Diverged, RemoteError
from kept.progress import progress
from kept.units import counted, size_text

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.sync.mirror.replicate import Copied


class StoreCopy(NamedTuple):
    """What was copied from one store to another."""

    source: Store
    target: Store
    artifacts: dict[str, Copied]
    diverged: dict[str, str]  # the errors of artifacts that were not copied
    renamed: str | None = None  # the artifact that has the versions of the other store now
    notes: tuple[str, ...] = ()  # of the store as a whole


def target_store(source: Store, location: str) -> Store:
    """Return the store to copy to, existing or not; raises UsageError if it is the source."""
    target = opened(location, may_be_new=True)
    if target.location == source.location:
        raise click.UsageError(f"SOURCE and TARGET are the same store: {source.location}")
    return target


def copy_artifacts(source: Store, location: str, artifact: str | None) -> StoreCopy:
    """Copy an artifact, or all, to the store at a location; one that diverged stops no other."""
    from kept.sync.mirror.protections import carry_protections

    target = target_store(source, location)
    notes = carry_protections(source, target, set())
    copied: dict[str, Copied] = {}
    diverged: dict[str, str] = {}
    for name in [artifact] if artifact else source.logs.with_versions():  # removed ones, too
        try:
            copied[name] = copy_artifact(source, target, name)
        except Diverged as error:
            diverged[name] = str(error)
    return StoreCopy(source, target, copied, diverged, notes=tuple(notes))


def copy_artifact(source: Store, target: Store, name: str, new_name: str | None = None) -> Copied:
    """Copy an artifact, to its own or to another name; raises what Sync.run raises."""
    from kept.store.format_marker import known_id
    from kept.store.receipts import Receipts
    from kept.sync.mirror.replicate import Sync

    receipts = Receipts(source.bucket, target.location, known_id(source.logs.marker))
    is_mirror = new_name is None and receipts.receipt(name) is not None
    with progress(f"Copying {name}", "bytes") as moved:
        sync = Sync(source, target, name, new_name)
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


def mirrors_of(source: Store) -> tuple[list[str], bool]:
    """Return the locations of a store's mirrors, and whether these are all.

    A damaged receipt that hides a mirror is reported.
    """
    from kept.store.receipts import receipts

    found = list(receipts(source.bucket))
    hidden = sorted({receipt.destination for receipt in found if not receipt.is_located})
    for folder in hidden:
        where = f"{folder} in {source.location}"
        text = f"{where}: its receipts are damaged, so the location of this mirror is not known"
        command = f"kept sync {source.location} MIRROR"
        click.echo(clean(f"{text}. Name it once: {command}"), err=True)
    return sorted({receipt.destination for receipt in found if receipt.is_located}), not hidden


def print_copies(copies: list[StoreCopy], more: list[Any] | None = None, *, as_json: bool) -> None:
    """Print what was copied, as JSON after what more lists; SystemExit(1) if one has diverged."""
    if as_json:
        print_json([*(more or ()), *map(_copied_json, copies)])
    for copied in copies:
        if not as_json:
            _print_copied(copied)
        for error in copied.diverged.values():
            click.echo(f"Error: {clean(error)}", err=True)
    if any(copied.diverged for copied in copies):
        raise SystemExit(1)


def _copied_json(copied: StoreCopy) -> dict[str, Any]:
    renamed = {"renamed": copied.renamed} if copied.renamed else {}
    return renamed | {
        "source": copied.source.location,
        "target": copied.target.location,
        "artifacts": [
            {"name": name, "versions": c.versions, "changes": c.changes, "blobs": c.blobs,
             "bytes": c.bytes, "notes": list(c.notes)}
            for name, c in copied.artifacts.items()
        ],
        "diverged": copied.diverged,
        "notes": list(copied.notes),
    }  # fmt: skip


def _print_copied(copied: StoreCopy) -> None:
    """Print what was copied, one line for each artifact, and a line for each note."""
    target = clean(copied.target.location)
    for name, c in copied.artifacts.items():
        if copied.renamed:
            click.echo(f"{name} of {target} is {copied.renamed} now")
        if c.versions or c.changes:
            amount = f"{counted(c.versions, 'version')}, {counted(c.changes, 'change')}"
            click.echo(f"{name}: {amount}, {size_text(c.bytes)} copied")
        else:
            click.echo(f"{name}: nothing new")
        for note in c.notes:
            click.echo(f"{name}: {clean(note)}")
    for note in copied.notes:
        click.echo(clean(note))
    artifacts = counted(len(copied.artifacts), "artifact")
    click.echo(f"{artifacts} of this store in {target}")
