"""The changes on a page of the log, as rows, each with the way back if there is one."""

from __future__ import annotations

import itertools
import re
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from kept.errors import KeptError
from kept.web.facts.log.merged import merged, of_one
from kept.web.facts.log.undo import Undo, undo_of
from kept.web.filters import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.promotion.history import Change
    from kept.web.query import Query
    from kept.web.reading.reader import Reader

PAGE = 100  # changes
_MOST_READ = 5000  # changes that a filter looks at
_LONGEST = 1000  # characters of a text
_VERSION = re.compile(r"\bv(\d{1,9})\b")
KINDS = {
    "version": ("version", "repeat"),
    "alias": ("alias",),
    "promotion": ("promote", "rollback", "protect", "unprotect"),
    "deletion": ("delete", "undelete", "remove", "restore", "ttl"),
    "metrics": ("metrics", "rule"),
    "text": ("tag", "description", "note", "metadata"),
    "name": ("move",),
    "repair": ("repair",),
}


class Entry(NamedTuple):
    """A change, for people."""

    time: datetime
    by: str | None
    artifact: str | None
    action: str
    parts: list[tuple[str, int | None]]  # the text; parts that name a version have its number
    undo: Undo | None


class Day(NamedTuple):
    """The changes of a day, in local time."""

    name: str  # 2026-11-30
    entries: list[Entry]


class LogPart(NamedTuple):
    """A page of the log."""

    days: list[Day]
    older: Query | None  # of the next page; None if nothing is older
    looked_back_to: datetime | None  # if the filter has found less than a page so far
    people: list[str]  # who made changes, as far as they were read


def part_of(reader: Reader, query: Query, *, with_undo: bool) -> LogPart:
    """Return the changes that an address asks for; raises ArtifactNotFound.

    The address of the next page has the time of the last change, and how many changes of that time
    were before: thousands can have the same one.
    """
    until, skip = _moment(query.get("until")), query.number("skip", 0)
    shown: list[Change] = []
    people: set[str] = set()
    last, same = until, 0  # how many changes of the last time were passed
    older: Query | None = None
    for read, change in enumerate(_changes(reader, query, until)):
        if len(shown) >= PAGE or read - skip >= _MOST_READ:
            older = query.but(until=last.isoformat() if last else None, skip=same)
            break
        same = same + 1 if change.time == last else 1
        last = change.time
        if change.time == until and same <= skip:
            continue
        people |= {change.by} if change.by else set()
        if _fits(change, query):
            shown.append(change)
    looked_back = last if older and len(shown) < PAGE else None
    entries = [_entry(reader, change, with_undo=with_undo) for change in shown]
    days = itertools.groupby(entries, key=lambda entry: f"{entry.time.astimezone():%Y-%m-%d}")
    return LogPart(
        [Day(name, list(each)) for name, each in days], older, looked_back, sorted(people)
    )


def _changes(reader: Reader, query: Query, until: datetime | None) -> Iterator[Change]:
    if name := query.get("name"):
        reader.versions(name)  # raises ArtifactNotFound
        return of_one(reader, name, until)
    return merged(reader, reader.table().standings, until)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _fits(change: Change, query: Query) -> bool:
    kind, person = query.get("kind"), query.get("by")
    return (not kind or change.action in KINDS.get(kind, (kind,))) and (
        not person or change.by == person
    )


def _entry(reader: Reader, change: Change, *, with_undo: bool) -> Entry:
    undo = None
    if with_undo:
        try:
            undo = undo_of(reader, change)
        except KeptError:  # the log of this artifact cannot be read now
            undo = None
    return Entry(
        change.time, change.by, change.artifact, change.action, _parts(change), undo,
    )  # fmt: skip


def _parts(change: Change) -> list[tuple[str, int | None]]:
    text, known = cut(change.text, _LONGEST), _versions(change)
    parts: list[tuple[str, int | None]] = []
    end = 0
    for found in _VERSION.finditer(text):
        if int(found[1]) in known:
            parts += [(text[end : found.start()], None), (found[0], int(found[1]))]
            end = found.end()
    return [*parts, (text[end:], None)]


def _versions(change: Change) -> set[int]:
    """Return the versions that a change is about, and those that had its aliases."""
    details, was = change.details, change.details.get("was")
    found = [details.get("version"), *(details.get("versions") or ()), was]
    found += list(was.values()) if isinstance(was, dict) else []
    return {each for each in found if type(each) is int}
