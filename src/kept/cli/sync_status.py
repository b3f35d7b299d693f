"""For kept sync: lists what waits, and drops rejected checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from kept.cli.common import confirm
from kept.cli.output import Column, clean, local_time, print_json, print_table
from kept.cli.sync_copy import store_if_reachable
from kept.sync.outbox.outbox import Outbox
from kept.sync.outbox.rejected import rejection_of
from kept.units import counted, size_text

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.sync.outbox.entry import Entry


class Waiting(NamedTuple):
    """Versions of an artifact that a destination has not confirmed; printed as JSON."""

    destination: str
    label: str  # the destination as the user knows it
    artifact: str
    versions: int
    bytes: int  # of the files; a store may have some of them already
    since: str
    refused: int = 0  # versions that the destination has rejected
    reason: str | None = None  # of the first of these


def is_wandb(destination: str) -> bool:
    """Return whether a destination is a run of W&B, and not a store."""
    return destination.startswith("wandb:")


def destination_label(entry: Entry) -> str:
    """Return an entry's destination as the user knows it."""
    if is_wandb(entry.destination):
        from kept.sync.wandb.sender import place_of_entry

        return f"W&B {place_of_entry(entry).label}"
    return entry.destination


def print_status(
    folder: str | None, location: str | None, artifact: str | None, *, as_json: bool
) -> None:
    """Print what the outbox holds and what the mirrors of the store lack, oldest first."""
    store = store_if_reachable(location)
    found = _in_outbox(Outbox(folder)) + (_in_store(store) if store else [])
    wanted = [waiting for waiting in found if artifact in (None, waiting.artifact)]
    wanted.sort(key=lambda waiting: waiting.since)
    if as_json:
        print_json([waiting._asdict() for waiting in wanted])
    elif wanted:
        _print_table(wanted)
    else:
        click.echo("Nothing waits: every destination has confirmed everything.")


def _in_outbox(outbox: Outbox) -> list[Waiting]:
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in outbox.entries():
        found.setdefault((destination_label(entry), entry.artifact), []).append(entry)
    return [_waiting(label, artifact, entries) for (label, artifact), entries in found.items()]


def _waiting(label: str, artifact: str, entries: list[Entry]) -> Waiting:
    reasons = [rejection.reason for rejection in map(rejection_of, entries) if rejection]
    return Waiting(
        entries[0].destination,
        label,
        artifact,
        len(entries),
        sum(entry.size for entry in entries),
        entries[0].time,
        len(reasons),
        next(iter(reasons), None),
    )


def _in_store(store: Store) -> list[Waiting]:
    from kept.errors import ArtifactNotFound
    from kept.store.receipts import receipts

    found = []
    for receipt in receipts(store.bucket):
        place, name = receipt.destination, receipt.artifact
        try:
            lacking = [v for v in store.versions(name) if v.index > receipt.version]
        except ArtifactNotFound:  # registered, and nothing committed yet
            continue
        if lacking:
            size = sum(version.record.size for version in lacking)
            since = lacking[0].record.created_at
            found.append(Waiting(place, place, name, len(lacking), size, since))
    return found


def _print_table(found: list[Waiting]) -> None:
    columns = [
        Column("waits for"),
        Column("artifact"),
        Column("versions", right=True),
        Column("size", right=True),
        Column("since"),
    ]
    rows = [
        [w.label, w.artifact, str(w.versions), size_text(w.bytes), local_time(w.since)]
        for w in found
    ]
    print_table(columns, rows)
    for w in found:
        if w.refused:
            rejected = f"{counted(w.refused, 'checkpoint')} of {clean(w.artifact)} rejected"
            later = "kept sync tries again, --drop-refused drops them"
            click.echo(f"{rejected}: {clean(str(w.reason))} ({later})")


def drop_rejected(folder: str | None, artifact: str | None, *, yes: bool, as_json: bool) -> None:
    """Ask, drop the rejected checkpoints, and print which."""
    outbox = Outbox(folder)
    rejected = _rejected(outbox, artifact)
    if rejected and not yes:
        checkpoints = counted(len(rejected), "rejected checkpoint")
        confirm(f"Drop {checkpoints}? The outbox may have the only copy.")
    dropped = _drop(outbox, rejected)
    if as_json:
        print_json([
            {"target": e.destination, "artifact": e.artifact, "bytes": e.size, "since": e.time}
            for e in dropped
        ])  # fmt: skip
        return
    for e in dropped:
        click.echo(clean(f"Dropped {e.artifact} for {destination_label(e)}, {e.time}"))
    if not dropped:
        click.echo("No checkpoint is rejected, or another process is sending it.")


def _rejected(outbox: Outbox, artifact: str | None) -> list[Entry]:
    entries = [e for e in outbox.entries() if artifact in (None, e.artifact)]
    return [entry for entry in entries if rejection_of(entry) is not None]


def _drop(outbox: Outbox, entries: list[Entry]) -> list[Entry]:
    """Remove entries, except those that another process is sending; return the removed ones."""
    dropped = []
    for entry in entries:
        with outbox.draining(entry.destination) as mine:
            if mine:
                outbox.drop(entry)
                dropped.append(entry)
    return dropped
