"""Folded pages: copies of many records without the fences of gcs. A cache.

Readers do not need fences, and a log can have thousands of them. A folded page begins after a big
page and has at most BIG_PAGE events, however many records it covers. Its first and its last event
are always in it, so that the chain to the records beside it can be checked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kept.errors import Damaged, KeyNotFound
from kept.store.encoding import (
    MOST_VALUE,
    again_if_damaged,
    read_bounded,
    seal,
    unseal,
    with_small_integers,
)
from kept.store.log.events import Event, Item, check_event, is_fence
from kept.store.log.later_events import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kept.bucket.base import Bucket

PAGE = 64
BIG_PAGE = 8 * PAGE  # parsed at once it stays in the cache: 4096 took half as long again
_NAME = re.compile(r"([0-9]{20})-folded\.json")


class FoldedPages:
    """The folded pages of one artifact."""

    def __init__(self, bucket: Bucket, artifact: str) -> None:
        self._bucket, self._artifact = bucket, artifact
        self._known: dict[int, list[Event] | None] = {}  # by the last record; None: not read yet

    def key(self, number: int) -> str:
        """Return the key of the folded page that ends with record number."""
        return f"artifacts/{self._artifact}/state/{number:020d}-folded.json"

    def look(self, names: Iterable[str]) -> None:
        """Take the names in the folder of pages."""
        found = filter(None, map(_NAME.fullmatch, names))
        self._known = {int(name[1]): None for name in found}

    def numbers(self) -> list[int]:
        """Return the last numbers of the known folded pages, ascending."""
        return sorted(self._known)

    def read(self, number: int) -> list[Event]:
        """Return the events of the folded page of record number; raises KeyNotFound or Damaged."""
        return again_if_damaged(lambda: self._read_once(number))

    def cached(self, number: int) -> list[Event] | None:
        """Return the same, read once; None if there is none that can be read."""
        try:
            found = self._known[number]
        except KeyError:  # also if another thread has just removed it
            return None
        if found is None:
            try:
                found = self._known[number] = self.read(number)
            except (KeyNotFound, Damaged):
                self._known.pop(number, None)
        return found

    def is_of(self, number: int, events: Mapping[int, Event]) -> bool:
        """Return whether a page has all events of a log in its range, except fences.

        The events are given by number. Raises KeyNotFound.
        """
        try:
            page = {event["number"]: event for event in self.read(number)}
        except Damaged:
            return False
        covered = (events.get(n) for n in range(min(page), number + 1))
        return all(e is None or is_fence(e) or page.get(e["number"]) == e for e in covered)

    def write(self, end: int, newest_first: Iterable[Event]) -> None:
        """Write the page that ends at end if it leaves out at least half of its records.

        newest_first are the events from the newest on; they are read as far as the page goes.
        """
        events = _folded(event for event in newest_first if event["number"] <= end)
        if not events or 2 * len(events) > end - events[0]["number"] + 1:
            return
        data = seal(with_small_integers({"events": events}))
        if len(data) > MOST_VALUE:
            return
        self._bucket.put(self.key(end), [data])
        known = list(self._known)  # a copy: other threads remove numbers meanwhile
        covered = [number for number in known if events[0]["number"] <= number < end]
        self._known[end] = events
        for number in covered:
            self._known.pop(number, None)
            self._bucket.delete(self.key(number))

    def remove(self, after: int = 0) -> None:
        """Delete the known pages that end after a record."""
        for number in self.numbers():
            if number > after:
                self._bucket.delete(self.key(number))
                self._known.pop(number, None)

    def _read_once(self, number: int) -> list[Event]:
        key = self.key(number)
        value = unseal(read_bounded(self._bucket, key, MOST_VALUE), key)
        events = value.get("events") if isinstance(value, dict) else None
        if not isinstance(events, list) or not events:
            raise Damaged(f"{key} is damaged: it holds no list of events")
        try:
            last = 0
            for event in events:
                place = _number(event, last)
                check_event(event, self._artifact, place)
                last = place
        except ValueError as error:
            raise Damaged(f"{key} is damaged after record {last}: {error}") from None
        if last != number or events[0]["number"] % BIG_PAGE != 1:
            raise Damaged(f"{key} is damaged: it covers other records than its name says")
        return events


def is_mostly_fences(items: Sequence[Item]) -> bool:
    """Return whether the newest items of a log are worth a folded page."""
    fences = sum(isinstance(item, dict) and is_fence(item) for item in items)
    return 2 * fences > len(items)


def _number(event: Event, before: int) -> int:
    """Return the number of an event; raises ValueError unless it is greater than the one before."""
    number = event.get("number") if isinstance(event, dict) else None
    if type(number) is not int or not before < number < LIMIT:
        raise ValueError("the numbers do not ascend")
    return number


def _folded(newest_first: Iterator[Event]) -> list[Event]:
    """Return the events of a folded page, oldest first; none if not even a big page fits."""
    found: list[Event] = []
    whole: list[Event] = []
    for event in newest_first:
        if not found or not is_fence(event):
            found.append(event)
        if len(found) > BIG_PAGE:
            break
        if event["number"] % BIG_PAGE == 1:
            whole = list(found) if found[-1] is event else [*found, event]
    return whole[::-1]
