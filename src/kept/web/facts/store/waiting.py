"""What destinations have not confirmed: checkpoints in the outbox, versions that mirrors lack."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.errors import Damaged, NotFound
from kept.sync.outbox.outbox import Outbox
from kept.sync.outbox.rejected import rejection_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.receipts import Receipt
    from kept.sync.outbox.entry import Entry
    from kept.web.reading.reader import Reader
    from kept.web.reading.standing import Standing

MOST = 50  # rows; the others are counted
_WANDB = "wandb:"


class Waiting(NamedTuple):
    """Versions of an artifact that a destination has not confirmed."""

    place: str  # the destination, as users know it
    artifact: str
    versions: int
    size: int  # bytes of the files; the destination may have some of them already
    since: str
    first: int | None = None  # the numbers of the versions, if they are in this store
    last: int | None = None
    reason: str | None = None  # why the destination has rejected one


def waiting(reader: Reader, standings: dict[str, Standing]) -> list[Waiting]:
    """Return what waits, the oldest first; a mirror's rows come from its receipts."""
    found = [*_in_outbox(Outbox()), *_for_mirrors(reader, standings)]
    return sorted(found, key=lambda each: (each.since, each.place, each.artifact))


def _in_outbox(outbox: Outbox) -> Iterator[Waiting]:
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in outbox.entries():
        found.setdefault((_label(entry), entry.artifact), []).append(entry)
    for (place, artifact), entries in found.items():
        reason = next(filter(None, map(_reason, entries)), None)
        size = sum(entry.size for entry in entries)
        yield Waiting(place, artifact, len(entries), size, entries[0].time, reason=reason)


def _label(entry: Entry) -> str:
    if not entry.destination.startswith(_WANDB):
        return entry.destination
    run = entry.info["run"]
    return f"W&B {run.get('entity')}/{run.get('project')}/{run.get('run')}"


def _reason(entry: Entry) -> str | None:
    try:
        rejection = rejection_of(entry)
    except Damaged as error:
        return str(error)
    return rejection.reason if rejection else None


def _for_mirrors(reader: Reader, standings: dict[str, Standing]) -> Iterator[Waiting]:
    lacking = [
        receipt
        for receipt in reader.receipts()
        if (row := standings.get(receipt.artifact)) is not None
        and row.newest is not None
        and row.newest > receipt.version
    ]
    for receipt in lacking[:MOST]:
        yield from _lacking(reader, receipt)


def _lacking(reader: Reader, receipt: Receipt) -> Iterator[Waiting]:
    try:
        live = reader.versions(receipt.artifact).live
    except NotFound:  # renamed or removed at this moment
        return
    found = [record for record in live if record.index > receipt.version]
    if found:
        size = sum(record.size for record in found)
        oldest, newest = found[-1], found[0]
        yield Waiting(
            *(receipt.destination, receipt.artifact, len(found), size, oldest.created_at),
            *(oldest.index, newest.index),
        )
