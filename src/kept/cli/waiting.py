"""What waits in an outbox for kept sync, and what mirrors lack: sent, or listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from kept.cli.common import opened
from kept.cli.output import (
    Column,
    clean,
    counted,
    print_json,
    print_table,
    size_text,
    time_text,
)
from kept.errors import KeptError
from kept.progress import progress
from kept.sync.outbox.rejected import refusal_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.store.store import Store
    from kept.sync.outbox.outbox import Entry, Outbox

    Progress = Callable[[int, int], None]


class Waiting(NamedTuple):
    """Versions of an artifact that a destination has not confirmed."""

    destination: str
    label: str  # the destination as the user knows it
    artifact: str
    versions: int
    bytes: int  # of the files; a store may have some of it already
    since: str
    refused: int = 0  # of the versions: the destination does not take them
    reason: str | None = None  # of the first of these


class Sent(NamedTuple):
    """What came of sending to one destination."""

    destination: str
    label: str
    sent: int
    bytes: int
    left: int  # because another process sends them, or because of the error
    error: str | None


def send_waiting(outbox: Outbox, artifact: str | None) -> list[Sent]:
    """Send what waits, to one destination after the other; an error ends only its own."""
    entries = [e for e in outbox.entries() if artifact in (None, e.artifact)]
    destinations = dict.fromkeys(entry.destination for entry in entries)
    results = [
        _send(outbox, [e for e in entries if e.destination == destination], artifact)
        for destination in destinations
    ]
    outbox.tidy()
    return results


def _send(outbox: Outbox, entries: list[Entry], artifact: str | None) -> Sent:
    destination, label, error = entries[0].destination, label_of(entries[0]), None
    with progress(f"Sending to {label}", "bytes") as moved:
        moved(0, sum(entry.size for entry in entries))
        try:
            if is_wandb(destination):
                _send_to_wandb(outbox, entries, artifact, moved)
            else:
                _send_to_store(outbox, destination, artifact, moved)
        except (KeptError, OSError) as problem:
            error = str(problem) or type(problem).__name__
    waits = {entry.write_id for entry in outbox.entries(destination)}
    sent = [entry for entry in entries if entry.write_id not in waits]
    size = sum(entry.size for entry in sent)
    return Sent(destination, label, len(sent), size, len(entries) - len(sent), error)


def is_wandb(destination: str) -> bool:
    """Return whether a destination is a run of W&B, and not a store."""
    return destination.startswith("wandb:")


def _send_to_wandb(
    outbox: Outbox, entries: list[Entry], artifact: str | None, moved: Progress
) -> None:
    from kept.sync.wandb.uploads import send_left

    sent = 0

    def confirmed(entry: Entry) -> None:
        nonlocal sent
        sent += entry.size
        moved(sent, sum(entry.size for entry in entries))

    send_left(outbox, entries[0].destination, confirmed, artifact)


def _send_to_store(outbox: Outbox, destination: str, artifact: str | None, moved: Progress) -> None:
    from kept.sync.outbox.deliver import Delivery

    store = opened(destination, may_be_new=True)
    Delivery(store, outbox).send(moved, artifact, in_parts=True)


def label_of(entry: Entry) -> str:
    """Return an entry's destination as the user knows it."""
    if is_wandb(entry.destination):
        from kept.sync.wandb.sender import place_of_entry

        return f"W&B {place_of_entry(entry).label}"
    return entry.destination


def print_sent(results: list[Sent]) -> None:
    """Print what came of sending."""
    for result in results:
        _print_sent(result)


def _print_sent(result: Sent) -> None:
    size = size_text(result.bytes)
    if result.sent or not result.left:
        checkpoints = counted(result.sent, "checkpoint")
        click.echo(f"{checkpoints} ({size}) sent to {clean(result.label)}")
    if result.error:
        click.echo(
            f"Error: {counted(result.left, 'checkpoint')} for {clean(result.label)} not sent: "
            f"{clean(result.error)}",
            err=True,
        )
    elif result.left:
        click.echo(
            f"{counted(result.left, 'checkpoint')} for {clean(result.label)} left to the process "
            "that is sending them"
        )


def sent_shape(outbox: Outbox, result: Sent) -> dict[str, Any]:
    """Return what came of sending as JSON."""
    return {
        "source": outbox.folder,
        "target": result.destination,
        "sent": result.sent,
        "bytes": result.bytes,
        "left": result.left,
        "error": result.error,
    }


def waiting(outbox: Outbox, store: Store | None, artifact: str | None) -> list[Waiting]:
    """Return what waits in the outbox, and what the mirrors of a store lack; oldest first."""
    found = _in_outbox(outbox) + (_in_store(store) if store else [])
    wanted = [each for each in found if artifact in (None, each.artifact)]
    return sorted(wanted, key=lambda each: each.since)


def _in_outbox(outbox: Outbox) -> list[Waiting]:
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in outbox.entries():
        found.setdefault((label_of(entry), entry.artifact), []).append(entry)
    return [_waiting(label, artifact, entries) for (label, artifact), entries in found.items()]


def _waiting(label: str, artifact: str, entries: list[Entry]) -> Waiting:
    reasons = [refusal.reason for refusal in map(refusal_of, entries) if refusal]
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


def drop_refused(outbox: Outbox, entries: list[Entry]) -> list[Entry]:
    """Remove refused entries, but for those that another process is trying to send; return them."""
    dropped = []
    for entry in entries:
        with outbox.draining(entry.destination) as mine:
            if mine:
                outbox.drop(entry)
                dropped.append(entry)
    return dropped


def refused(outbox: Outbox, artifact: str | None) -> list[Entry]:
    """Return what waits in the outbox and was refused by its destination."""
    entries = [e for e in outbox.entries() if artifact in (None, e.artifact)]
    return [entry for entry in entries if refusal_of(entry) is not None]


def _in_store(store: Store) -> list[Waiting]:
    from kept.errors import ArtifactNotFound
    from kept.store.receipts import receipts

    found = []
    for place, name, _, newest in receipts(store.bucket):
        try:
            lacking = [v for v in store.versions(name) if v.index > newest]
        except ArtifactNotFound:  # registered, and nothing committed yet
            continue
        if lacking:
            size = sum(version.record.size for version in lacking)
            since = lacking[0].record.created_at
            found.append(Waiting(place, place, name, len(lacking), size, since))
    return found


def _refused_text(each: Waiting) -> str:
    checkpoints = counted(each.refused, "checkpoint")
    return f"{checkpoints} of {each.artifact} refused: {clean(str(each.reason))}"


def print_waiting(found: list[Waiting], *, as_json: bool) -> None:
    """Print what waits, one line for each artifact and destination."""
    if as_json:
        print_json([each._asdict() for each in found])
    elif found:
        columns = [
            Column("waits for", wraps=True),
            Column("artifact", wraps=True),
            Column("versions", right=True),
            Column("size", right=True),
            Column("since"),
        ]
        rows = [
            [w.label, w.artifact, str(w.versions), size_text(w.bytes), time_text(w.since)]
            for w in found
        ]
        print_table(columns, rows)
        for each in found:
            if each.refused:
                click.echo(
                    f"{_refused_text(each)} (kept sync tries again, --drop-refused gives up)"
                )
    else:
        click.echo("Nothing waits: every destination has confirmed everything.")
