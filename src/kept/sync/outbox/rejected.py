"""Entries of an outbox that their destination refuses, each with the reason.

    <outbox>/<entry>/refused.json    beside entry.json; sealed

Invariant: a refused entry stays in the outbox, until it is sent after all or somebody drops it, and
keeps no later one from being sent. When it is sent after later ones, it takes no alias from them:
those that they were sent with are noted here before they leave the outbox.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.bucket.file_io import sync_file, sync_folder
from kept.store.encoding import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.sync.outbox.outbox import Entry

_NOTE = "refused.json"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a destination has said of an entry."""

    reason: str
    time: str  # of its last attempt: UTC, ISO 8601
    taken: tuple[str, ...] = ()  # aliases that later entries of its artifact were sent with


def refusal_of(entry: Entry) -> Refusal | None:
    """Return why an entry was refused, or None if it was not; raises Damaged."""
    path = os.path.join(entry.folder, _NOTE)
    try:
        with open(path, "rb") as file:
            note = unseal(file.read(), path)
    except FileNotFoundError:
        return None
    return Refusal(note["reason"], note["time"], tuple(note["taken"]))


def refuse(entry: Entry, reason: str) -> None:
    """Note that an entry was refused; durable on return."""
    before = refusal_of(entry)
    taken = before.taken if before else ()
    _write(entry, Refusal(reason, datetime.now(UTC).isoformat(), taken))


def pass_by(refused: Iterable[Entry], sent: Entry) -> None:
    """Note, before it leaves the outbox, that an entry was sent before those refused earlier."""
    aliases = set(_aliases(sent))
    for entry in refused:
        found = refusal_of(entry)
        if found and entry.artifact == sent.artifact and entry.number < sent.number:
            taken = aliases & set(_aliases(entry)) | set(found.taken)
            if taken != set(found.taken):
                _write(entry, Refusal(found.reason, found.time, tuple(sorted(taken))))


def aliases_of(entry: Entry) -> list[str]:
    """Return the aliases that an entry is still to have."""
    found = refusal_of(entry)
    taken = found.taken if found else ()
    return [alias for alias in _aliases(entry) if alias not in taken]


def _aliases(entry: Entry) -> list[str]:
    return list(entry.content["aliases"])


def _write(entry: Entry, refusal: Refusal) -> None:
    path = os.path.join(entry.folder, _NOTE)
    note = {"reason": refusal.reason, "time": refusal.time, "taken": list(refusal.taken)}
    with contextlib.suppress(FileNotFoundError):  # confirmed or dropped meanwhile
        with open(f"{path}.new", "wb") as file:
            file.write(seal(note))
        sync_file(f"{path}.new")
        os.replace(f"{path}.new", path)
        sync_folder(entry.folder)
