"""For kept sync: sends the outbox to its destinations, and a store to its mirrors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from kept.cli.common import opened
from kept.cli.output import clean
from kept.cli.sync_copy import (
    copy_artifacts,
    mirrors_of,
    print_copies,
    store_if_reachable,
)
from kept.cli.sync_status import destination_label, is_wandb
from kept.errors import KeptError
from kept.progress import progress
from kept.sync.outbox.outbox import Outbox
from kept.units import counted, size_text

if TYPE_CHECKING:
    from kept.sync.outbox.entry import Entry


class Outcome(NamedTuple):
    """How sending to one destination ended."""

    destination: str
    label: str  # the destination as the user knows it
    sent: int  # checkpoints
    bytes: int
    left: int  # because another process sends them, or because of the error
    error: str | None


def send(
    folder: str | None,
    location: str | None,
    artifact: str | None,
    *,
    base_url: str | None = None,
    as_json: bool,
) -> None:
    """Send the outbox, and copy the store to its mirrors; print the outcome.

    base_url is the server of W&B that gets what waits for W&B. Raises SystemExit(1) if a
    destination failed.
    """
    outbox = Outbox(folder)
    outcomes = _send_outbox(outbox, artifact, base_url)
    if not as_json:
        for outcome in outcomes:
            _print(outcome)
    store = store_if_reachable(location)  # only now: waiting for it must not delay the outbox
    mirrors, are_all = mirrors_of(store) if store else ([], True)
    copies = [copy_artifacts(store, mirror, artifact) for mirror in mirrors] if store else []
    if not as_json and not outcomes and not copies:
        mirrorless = f"; {clean(store.location)} has no mirrors" if store and are_all else ""
        click.echo(f"Nothing waits in {clean(outbox.folder)}{mirrorless}.")
    print_copies(copies, [_outcome_json(outbox, o) for o in outcomes], as_json=as_json)
    if any(outcome.error for outcome in outcomes):
        raise SystemExit(1)


def _send_outbox(outbox: Outbox, artifact: str | None, base_url: str | None) -> list[Outcome]:
    """Send to one destination after the other; an error ends only its own."""
    entries = [e for e in outbox.entries() if artifact in (None, e.artifact)]
    destinations = dict.fromkeys(entry.destination for entry in entries)
    outcomes = [
        _send(outbox, [e for e in entries if e.destination == destination], artifact, base_url)
        for destination in destinations
    ]
    outbox.tidy()
    return outcomes


def _send(
    outbox: Outbox, entries: list[Entry], artifact: str | None, base_url: str | None
) -> Outcome:
    destination, label, error = entries[0].destination, destination_label(entries[0]), None
    try:
        if is_wandb(destination):
            _send_to_wandb(outbox, entries, artifact, base_url)
        else:
            _send_to_store(outbox, entries, artifact)
    except (KeptError, OSError) as problem:
        error = str(problem) or type(problem).__name__
    waiting = {entry.write_id for entry in outbox.entries(destination)}
    sent = [entry for entry in entries if entry.write_id not in waiting]
    size = sum(entry.size for entry in sent)
    return Outcome(destination, label, len(sent), size, len(entries) - len(sent), error)


def _send_to_wandb(
    outbox: Outbox, entries: list[Entry], artifact: str | None, base_url: str | None
) -> None:
    from kept.sync.wandb.resumed import send_left

    sent, size = 0, sum(entry.size for entry in entries)
    with progress(f"Sending to {clean(destination_label(entries[0]))}", "bytes") as moved:
        moved(sent, size)
        for entry in send_left(outbox, entries[0].destination, artifact, base_url=base_url):
            sent += entry.size
            moved(sent, size)


def _send_to_store(outbox: Outbox, entries: list[Entry], artifact: str | None) -> None:
    from kept.sync.outbox.deliver import Delivery

    destination = entries[0].destination
    with progress(f"Sending to {clean(destination_label(entries[0]))}", "bytes") as moved:
        moved(0, sum(entry.size for entry in entries))
        store = opened(destination, may_be_new=True)
        delivery = Delivery(store, outbox)
        try:
            delivery.send(moved, artifact, in_parts=True)
        finally:
            for note in delivery.notes:
                click.echo(f"Note: {clean(note)}", err=True)


def _print(outcome: Outcome) -> None:
    label = clean(outcome.label)
    if outcome.sent or not outcome.left:
        sent = counted(outcome.sent, "checkpoint")
        click.echo(f"{sent} ({size_text(outcome.bytes)}) sent to {label}")
    left = counted(outcome.left, "checkpoint")
    if outcome.error:
        error = f"Error: {left} for {label} not sent: {clean(outcome.error)}"
        click.echo(error, err=True)
    elif outcome.left:
        click.echo(f"{left} for {label} left: another process is sending them")


def _outcome_json(outbox: Outbox, outcome: Outcome) -> dict[str, Any]:
    return {
        "source": outbox.folder,
        "target": outcome.destination,
        "sent": outcome.sent,
        "bytes": outcome.bytes,
        "left": outcome.left,
        "error": outcome.error,
    }
