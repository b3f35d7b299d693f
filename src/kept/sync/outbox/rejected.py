"""Entries of an outbox that their destination rejects, each with the reason.

    <outbox>/<entry>/refused.json    beside entry.json; sealed

Invariant: a rejected entry stays in the outbox until it is sent after all, or the user drops it. It
does not stop later entries. If it is sent after later ones, it takes no alias from them: before a
later entry leaves the outbox, that and its aliases are noted here.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.bucket.file_io import sync_file, sync_folder
from kept.errors import Damaged
from kept.store.encoding import seal, unseal
from kept.store.log.events import check_moment
from kept.sync.outbox.entry import read_note

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.encoding import Json
    from kept.sync.outbox.entry import Entry

_NOTE = "refused.json"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a destination rejects an entry."""

    reason: str
    time: str  # of the last attempt: UTC, ISO 8601
    taken: tuple[str, ...] = ()  # aliases that later entries of its artifact were sent with
    overtaken: bool = False  # a later entry of its artifact was sent


def rejection_of(entry: Entry) -> Rejection | None:
    """Return the rejection of an entry, or None if there is none; raises Damaged."""
    path = os.path.join(entry.folder, _NOTE)
    data = read_note(path)
    return None if data is None else _parsed(unseal(data, path), path)


def _parsed(note: Json, path: str) -> Rejection:
    match note:
        case {"reason": str(reason), "time": str(time), "taken": list(taken)} if all(
            isinstance(alias, str) for alias in taken
        ):
            with contextlib.suppress(ValueError):
                check_moment(time)
                return Rejection(reason, time, tuple(taken), note.get("overtaken") is True)
    raise Damaged(f"{path} is no note of a rejection.")


def reject(entry: Entry, reason: str) -> None:
    """Note that the destination rejects an entry; the note is durable on return."""
    before = rejection_of(entry)
    note = Rejection(reason, datetime.now(UTC).isoformat())
    if before:
        note = replace(note, taken=before.taken, overtaken=before.overtaken)
    _write(entry, note)


def note_later(rejected: Iterable[Entry], sent: Entry) -> None:
    """Note, before an entry leaves the outbox, that it was sent before earlier, rejected ones."""
    aliases = set(_all_aliases(sent))
    for entry in rejected:
        found = rejection_of(entry)
        if found and entry.artifact == sent.artifact and entry.number < sent.number:
            taken = tuple(sorted(aliases & set(_all_aliases(entry)) | set(found.taken)))
            noted = replace(found, taken=taken, overtaken=True)
            if noted != found:
                _write(entry, noted)


def aliases_of(entry: Entry) -> list[str]:
    """Return the aliases of an entry that no later one was sent with."""
    found = rejection_of(entry)
    taken = found.taken if found else ()
    return [alias for alias in _all_aliases(entry) if alias not in taken]


def is_overtaken(entry: Entry) -> bool:
    """Return whether a later entry of its artifact was sent, because this one was rejected."""
    found = rejection_of(entry)
    return found is not None and found.overtaken


def _all_aliases(entry: Entry) -> list[str]:
    return list(entry.info["aliases"])


def _write(entry: Entry, rejection: Rejection) -> None:
    path = os.path.join(entry.folder, _NOTE)
    note = asdict(rejection) | {"taken": list(rejection.taken)}
    with contextlib.suppress(FileNotFoundError):  # the entry was confirmed or dropped meanwhile
        with open(f"{path}.new", "wb") as file:
            file.write(seal(note))
        sync_file(f"{path}.new")
        os.replace(f"{path}.new", path)
        sync_folder(entry.folder)
