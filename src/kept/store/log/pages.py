"""Pages: copies of many records in one value. A cache, and a second copy of what they hold.

A page is a copy of PAGE (or BIG_PAGE) records that ends at its number. A reader that finds none, or
a damaged one, reads the records.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from typing import TYPE_CHECKING

from kept.errors import Damaged, KeyExists, KeyNotFound
from kept.store.encoding import (
    MOST_VALUE,
    again_if_damaged,
    read_bounded,
    seal,
    unseal,
    with_small_integers,
)
from kept.store.log.events import Event, check_event
from kept.store.log.folded import BIG_PAGE, PAGE, FoldedPages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kept.bucket.base import Bucket, Buffer

_HELD = 8 * 1024 * 1024  # bytes of the pages of one log that a process remembers
_NAME = re.compile(r"[0-9]{20}\.json")


def page_end(number: int) -> int:
    """Return the last number up to this one with which a page may end."""
    return number - number % PAGE


class Pages:
    """The pages of one artifact."""

    def __init__(self, bucket: Bucket, artifact: str) -> None:
        self._bucket, self._artifact = bucket, artifact
        self._folder = f"artifacts/{artifact}/state/"
        self._held: dict[int, bytes] = {}
        self.folded = FoldedPages(bucket, artifact)  # those that numbers has found

    def key(self, number: int) -> str:
        """Return the key of the page that ends with record number."""
        return f"{self._folder}{number:020d}.json"

    def numbers(self) -> list[int]:
        """Return the numbers of the existing pages, ascending."""
        names = list(self._bucket.names(self._folder, f"{0:020d}.json"))
        self.folded.look(names)
        found = (int(name.removesuffix(".json")) for name in names if _NAME.fullmatch(name))
        return [number for number in found if number == page_end(number)]

    def read(self, number: int) -> list[Event]:
        """Return the events of the page that ends at number; raises KeyNotFound or Damaged."""
        return again_if_damaged(lambda: self._read_once(number))

    def _read_once(self, number: int) -> list[Event]:
        data = read_bounded(self._bucket, self.key(number), MOST_VALUE)
        events = self._parsed(number, data)
        self._hold(number, data)
        return events

    def _hold(self, number: int, data: Buffer) -> None:
        if self._bucket.is_remote and sum(map(len, self._held.values())) + len(data) <= _HELD:
            self._held[number] = bytes(data)

    def _parsed(self, number: int, data: Buffer) -> list[Event]:
        key = self.key(number)
        value = unseal(data, key)
        events = value.get("events") if isinstance(value, dict) else None
        if not isinstance(events, list) or len(events) not in (PAGE, BIG_PAGE):
            raise Damaged(f"{key} is damaged: it holds no list of {PAGE} or {BIG_PAGE} events")
        first = number - len(events) + 1
        try:
            for place, event in enumerate(events, start=first):
                check_event(event, self._artifact, place)
        except ValueError as error:
            raise Damaged(f"{key} is damaged at record {place}: {error}") from None
        return events

    def cached(self, number: int) -> list[Event] | None:
        """Return the events of a page, or None if the caller has to read the records instead."""
        try:
            return self.read(number)
        except (KeyNotFound, Damaged):
            return None

    def remembered(self, number: int) -> list[Event] | None:
        """Return the same as cached; in object storage, request a page once: it never changes."""
        held = self._held.get(number)
        return self.cached(number) if held is None else self._parsed(number, held)

    def forget(self) -> None:
        """Request the pages again, because the store may have been replaced."""
        self._held.clear()

    def made_of(self, end: int, events: Mapping[int, Event]) -> bytes | None:
        """Return the page that ends at end, made of events by number; None if one is missing."""
        numbers = range(end - _length(end) + 1, end + 1)
        if any(number not in events for number in numbers):
            return None
        return _sealed([events[number] for number in numbers])

    def write(self, end: int, newest_first: Iterable[Event]) -> None:
        """Write the page that ends at end; every writer derives the same one from the records.

        newest_first are the events from the newest on; they are read as far as the page goes.
        """
        length = _length(end)
        covered = (event for event in newest_first if event["number"] <= end)
        data = _sealed(list(itertools.islice(covered, length))[::-1])
        if len(data) > MOST_VALUE:
            return
        with contextlib.suppress(KeyExists):
            self._bucket.put_if_absent(self.key(end), [data])
            self._hold(end, data)
        for smaller in range(end - length + PAGE, end, PAGE):
            self._bucket.delete(self.key(smaller))


def _sealed(events: list[Event]) -> bytes:
    return seal(with_small_integers({"events": events}))


def _length(end: int) -> int:
    return BIG_PAGE if end % BIG_PAGE == 0 else PAGE
