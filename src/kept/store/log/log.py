"""The log of one artifact: numbered records, each created once and never changed.

Invariants:
1. A writer creates record n only after it has read record n - 1, so there are no gaps.
2. Creating a record is the commit; nothing else makes a change visible.
3. A page is a copy of PAGE (or BIG_PAGE) records that ends at its number. Pages are a cache: a
   reader that finds none, or a damaged one, reads the records.

Readers start at the newest record. So the most frequent questions (the newest version, a recent
alias) cost a page and a few records, however long the log is.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kept.errors import Damaged, KeptError, KeyExists, KeyNotFound, Unreachable
from kept.names import check_name
from kept.parallel import mapped
from kept.store.encoding import seal, unseal
from kept.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket

PAGE = 64
BIG_PAGE = 8 * PAGE  # parsed at once it stays in the cache: 4096 took half as long again
_ATTEMPTS = 8  # if the bucket answers "exists" for a record that cannot be read
_PAUSE = 0.02  # seconds before the second attempt, twice as many before each further one
_AHEAD = 16  # records read at once if each one costs a round trip

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class View:
    """The log at one moment."""

    log: Log
    paged: int  # the number of the newest record that is in a page
    tail: tuple[Event, ...]  # the records after it, oldest first

    @property
    def head(self) -> int:
        """The number of the newest record, 0 if there is none."""
        return self.paged + len(self.tail)

    def has_version(self) -> bool:
        """Return whether a version was ever logged; the first record may be the fence of a gc."""
        tail = any(event["event"] == "version" for event in self.tail)
        return tail or any(event["event"] == "version" for event in self.backwards())

    def backwards(self) -> Iterator[Event]:
        """Yield the events from the newest to the first; raises Damaged."""
        yield from reversed(self.tail)
        number = self.paged
        while number:
            page = self.log.cached_page(number) if number % PAGE == 0 else None
            if page is None:
                yield self.log.read_record(number)
                number -= 1
            else:
                yield from reversed(page)
                number -= len(page)


class Logs:
    """The logs of the artifacts in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._logs: dict[str, Log] = {}

    def of(self, name: str) -> Log:
        """Return the log of an artifact, existing or not; raises InvalidName."""
        return self._logs.setdefault(name, Log(self.bucket, check_name(name)))

    def names(self) -> Iterator[str]:
        """Yield the names of the artifacts that have a log."""
        return self.bucket.folders("artifacts/")

    def with_versions(self) -> Iterator[str]:
        """Yield the artifacts that have had a version; a gc puts its fence into others, too."""
        for name in self.names():
            try:
                exists = self.of(name).view().has_version()
            except Damaged:  # it exists, and a caller that reads it gets the error
                exists = True
            if exists:
                yield name


class Log:
    """Reads and appends the events of one artifact.

    Many threads may use one object; it keeps the events after the newest page.
    """

    def __init__(self, bucket: Bucket, name: str) -> None:
        self.bucket, self.name = bucket, name
        self._view: View | None = None

    def record_key(self, number: int) -> str:
        """Return the key of record number, counted from 1."""
        return self._key("log", number)

    def page_key(self, number: int) -> str:
        """Return the key of the page that ends with record number."""
        return self._key("state", number)

    def view(self) -> View:
        """Return the log at this moment; costs a request for each new record."""
        view = self._view or View(self, max(self.pages(), default=0), ())
        found = self._read_from(view.head + 1)
        # A new object each time, so that another thread never sees half an update.
        self._view = View(self, view.paged, (*view.tail, *found))
        return self._view

    def views(self, first: View | None = None) -> Iterator[View]:
        """Yield the log as it is for each attempt to append, without an end.

        The first view is the given one, if any: that saves a request. If it is outdated, the
        attempt fails because the number is taken.
        """
        if first is not None:
            yield first
        while True:
            yield self.view()

    def append(self, event: Event) -> Event:
        """Commit an event after whatever other writers commit; return it as it is recorded."""
        attempts = (self.append_after(view, event) for view in self.views())
        return next(recorded for recorded in attempts if recorded is not None)

    def append_after(self, view: View, event: Event) -> Event | None:
        """Commit an event as the record after a view; return it as it is recorded.

        Returns None if another writer was faster: nothing is committed then.
        """
        now, write_id = time_text(datetime.now(UTC)), os.urandom(16).hex()
        stamp = {"number": view.head + 1, "time": now, "write_id": write_id}
        event = stamp | event  # a repeated event brings its own time and write_id
        if not self.create(event):
            return None
        self._keep(View(self, view.paged, (*view.tail, event)))
        return event

    def read_record(self, number: int) -> Event:
        """Return record number; raises Damaged."""
        try:
            return self._read(number)
        except KeyNotFound:
            raise Damaged(f"{self.record_key(number)} is missing: the log has a gap") from None

    def read_page(self, number: int) -> list[Event]:
        """Return the events of the page that ends at number; raises KeyNotFound or Damaged."""
        key = self.page_key(number)
        value = unseal(self.bucket.get(key), key)
        try:
            events: list[Event] = value["events"]
            last = events[-1]["number"] if len(events) in (PAGE, BIG_PAGE) else None
        except (LookupError, TypeError):
            last = None
        if last != number:
            raise Damaged(f"{key} is damaged: it does not end with record {number}")
        return events

    def cached_page(self, number: int) -> list[Event] | None:
        """Return the events of a page, or None if the caller has to read the records instead."""
        try:
            return self.read_page(number)
        except (KeyNotFound, Damaged):
            return None

    def pages(self) -> Iterator[int]:
        """Yield the numbers of the existing pages, ascending."""
        return (number for number in self._numbers("state") if number % PAGE == 0)

    def records(self) -> Iterator[int]:
        """Yield the numbers of the existing records, ascending, by listing them all."""
        return self._numbers("log")

    def _key(self, folder: str, number: int) -> str:
        return f"artifacts/{self.name}/{folder}/{number:020d}.json"

    def _numbers(self, folder: str) -> Iterator[int]:
        for key in self.bucket.keys(f"artifacts/{self.name}/{folder}/"):
            name = key.rpartition("/")[2].removesuffix(".json")
            if name.isdecimal() and key == self._key(folder, int(name)):
                yield int(name)

    def _read_from(self, number: int) -> list[Event]:
        """Return the records from number on; the first miss is the end, as there are no gaps."""
        found: list[Event] = []
        at_once = 1  # if nothing is new, that costs one request
        while True:
            for event in mapped(self._read_if_exists, range(number, number + at_once), at_once):
                if event is None:
                    return found
                found.append(event)
            number += at_once
            at_once = _AHEAD if self.bucket.is_remote else 1

    def _read_if_exists(self, number: int) -> Event | None:
        try:
            return self._read(number)
        except KeyNotFound:
            return None

    def _read(self, number: int) -> Event:
        key = self.record_key(number)
        value = unseal(self.bucket.get(key), key)
        if not isinstance(value, dict) or value.get("number") != number:
            raise Damaged(f"{key} is damaged: it is not record {number}")
        return value

    def create(self, event: Event) -> bool:
        """Create the record of an event; return False if another writer has that number.

        "Exists" is ambiguous: after a lost answer and a retry the record can be this writer's, and
        S3 also says it of races that no writer has won yet. A missing answer is ambiguous, too. So
        the record is read back and its write_id compared (icechunk's design note 017 and SlateDB
        do so).
        """
        number = event["number"]
        key, data = self.record_key(number), [seal(event)]
        for attempt in range(_ATTEMPTS):
            unanswered: Unreachable | None = None
            try:
                self.bucket.put_if_absent(key, data)
                return True
            except KeyExists:
                pass
            except Unreachable as error:
                unanswered = error
            try:
                return bool(self._read(number)["write_id"] == event["write_id"])
            except KeyNotFound:
                if unanswered is not None:
                    raise unanswered from None
                time.sleep(_PAUSE * 2**attempt)
        raise KeptError(f"{key} can neither be created nor read in {self.bucket.location}")

    def _keep(self, view: View) -> None:
        """Keep the view, and write a page when enough records have come since the last."""
        end = view.head - view.head % PAGE
        if end > view.paged:
            # The commit stands without its page; a later commit writes the page if this cannot.
            with contextlib.suppress(KeptError, OSError):
                self._write_page(view, end)
                view = View(self, end, tuple(e for e in view.tail if e["number"] > end))
        self._view = view

    def _write_page(self, view: View, end: int) -> None:
        """Write the page that ends at end; every writer derives the same one from the records."""
        length = BIG_PAGE if end % BIG_PAGE == 0 else PAGE
        newest_first = (e for e in view.backwards() if e["number"] <= end)
        events = list(itertools.islice(newest_first, length))[::-1]
        with contextlib.suppress(KeyExists):
            self.bucket.put_if_absent(self.page_key(end), [seal({"events": events})])
        for covered in range(end - length + PAGE, end, PAGE):
            self.bucket.delete(self.page_key(covered))
