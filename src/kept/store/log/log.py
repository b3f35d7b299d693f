"""The log of one artifact: numbered records, each created once and never changed.

Invariants:
1. A writer creates record n only after it has read record n - 1, so there are no gaps.
2. Creating a record is the commit; nothing else makes a change visible.
3. A reader that needs the last record lists what lies beyond it: a record after a gap is a fault,
   and no writer builds on a log with a fault after its newest page.

Readers start at the newest record. So the most frequent questions (the newest version, a recent
alias) cost a listing, a page and a few records, however long the log is.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.errors import Damaged, KeptError, StoreReplaced
from kept.names import check_name, is_name
from kept.store.format_marker import EVENTS_FORMAT, Marker, check_identity, raise_format
from kept.store.log.events import (
    Event,
    Fault,
    Item,
    Wrong,
    certain,
    is_later,
    is_repaired,
    link_to,
    refusal,
)
from kept.store.log.folded import is_mostly_fences
from kept.store.log.pages import Pages, page_end
from kept.store.log.reader import Reader
from kept.store.log.records import Records, number_of
from kept.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.bucket.base import Bucket
    from kept.store.encoding import Json


@dataclass(frozen=True, slots=True)
class View:
    """The log at one moment."""

    log: Log
    paged: int  # the number of the newest record that is in a page
    tail: tuple[Item, ...]  # the records after it, oldest first, and faults in their places

    @property
    def head(self) -> int:
        """The number of the newest record, 0 if there is none."""
        return number_of(self.tail[-1]) if self.tail else self.paged

    @property
    def faults(self) -> list[Fault]:
        """The faults after the newest page."""
        return [item for item in self.tail if isinstance(item, Fault)]

    def check(self) -> None:
        """Raise Damaged if a record after the newest page is a fault: nothing may build on it."""
        self.log.logs.check()
        if self.faults:
            raise Damaged(refusal(self.faults))

    def has_version(self) -> bool:
        """Return whether a version was ever logged, or a fault may have one; fences are none."""
        return any(isinstance(i, Fault) or i["event"] == "version" for i in self.facts())

    def backwards(self) -> Iterator[Event]:
        """Yield the events from the newest to the first; raises Damaged at the first fault."""
        return certain(self.items())

    def items(self) -> Iterator[Item]:
        """Yield the events from the newest to the first, and faults in their places."""
        return self._items(folded=False)

    def facts(self) -> Iterator[Item]:
        """Yield the same, without the fences that are folded away: only writers need them."""
        return self._items(folded=True)

    def _items(self, *, folded: bool) -> Iterator[Item]:
        yield from reversed(self.tail)
        after = self.tail[0] if self.tail else None
        yield from self.log.reader.backwards(self.paged, after, folded=folded)


class Logs:
    """The logs of the artifacts in a bucket."""

    def __init__(self, bucket: Bucket, marker: Marker | None = None) -> None:
        """Take the bucket, and what its kept.json says if it was opened as a store."""
        self.bucket, self.marker = bucket, marker
        self.had_gc_keys = False  # whether the last writer found keys of gcs
        self.has_events_format = False  # whether this object knows that its store has it
        self.grown: set[str] = set()  # artifacts to whose logs this object has appended
        self._logs: dict[str, Log] = {}

    @property
    def problem(self) -> str | None:
        """What is wrong with the store as a whole: then no log grows."""
        return self.marker.problem if self.marker else None

    def check(self) -> None:
        """Raise Damaged if nothing may be written, because something is wrong with the store."""
        if self.problem:
            raise Damaged(f"{self.bucket.location}: {self.problem}")

    def check_identity(self) -> None:
        """Raise StoreReplaced if the bucket no longer holds the store that was opened."""
        if self.marker is not None and self.marker.exists:
            check_identity(self.bucket, self.marker.id)

    def of(self, name: str) -> Log:
        """Return the log of an artifact, existing or not; raises InvalidName."""
        return self._logs.setdefault(name, Log(self, check_name(name)))

    def forget(self, name: str) -> None:
        """Free what this object knows of a log; the next look begins at its newest page."""
        self._logs.pop(name, None)

    def once(self, name: str) -> Log:
        """Return the log for one look among thousands, which would not fit into memory together.

        In object storage it is the same as of returns, because a further look would cost requests.
        """
        return self.of(name) if self.bucket.is_remote else Log(self, name)

    def names(self) -> Iterator[str]:
        """Yield the names of the artifacts that have a log."""
        return (name for name in self.bucket.folders("artifacts/") if is_name(name))

    def with_versions(self) -> Iterator[str]:
        """Yield the artifacts that have had a version; a gc puts its fence into others, too."""
        return (name for name in self.names() if self.of(name).view().has_version())


class Log:
    """Reads and appends the events of one artifact.

    Many threads may use one object; it keeps the events after the newest page.
    """

    def __init__(self, logs: Logs, name: str) -> None:
        self.logs, self.bucket, self.name = logs, logs.bucket, name
        self.records, self.pages = Records(logs.bucket, name), Pages(logs.bucket, name)
        self.reader = Reader(self.records, self.pages)
        self.ended_gcs: set[int] = set()  # fences whose gc has ended, by number
        self.provenance: tuple[int, Json] | None = None  # of the last commit: which version has it
        self._view: View | None = None
        self.generation = 0  # grows if what was read no longer counts: forget what follows from it

    @property
    def known(self) -> View | None:
        """The log as it was at the last look; costs nothing."""
        return self._view

    def view(self, taken: int = 0) -> View:
        """Return the log at this moment; costs a listing and a request for each new record.

        Pass the number of a record that exists, though an old list may lack it. Raises
        StoreReplaced if the newest record of the last view is missing.
        """
        view = self._view
        if view is None:
            paged, listed = self._newest_page()
            view = View(self, paged, ())
        else:
            listed = self._listed_after(view)
        if taken > max(listed, default=view.head) and self.records.exists(taken):
            listed = [*listed, taken]
        newest = view.tail[-1] if view.tail else None
        found = self.records.read_all(view.head + 1, listed, newest) if listed else []
        whole = View(self, view.paged, (*view.tail, *found))
        # A new object: no thread sees half an update. What follows a fault is read again.
        kept = next((n for n, item in enumerate(found) if isinstance(item, Fault)), len(found))
        self._view = View(self, view.paged, (*view.tail, *found[:kept]))
        return whole

    def views(self, first: View | None = None) -> Iterator[View]:
        """Yield the log as it is for each attempt to append, without an end.

        The first is the given one, if any: that saves a request. An attempt fails because its
        number is taken, so the next view has that record, whatever a list says.
        """
        view = first or self.view()
        while True:
            yield view
            view = self.view(taken=view.head + 1)

    def append(self, event: Event) -> Event:
        """Commit an event after whatever other writers commit; return it as it is recorded."""
        attempts = (self.append_after(view, event) for view in self.views())
        return next(recorded for recorded in attempts if recorded is not None)

    def append_after(self, view: View, event: Event) -> Event | None:
        """Commit an event as the record after a view; return it as it is recorded.

        Returns None if another writer was faster: nothing is committed then. Raises Damaged if the
        view has a fault, and what newest raises.
        """
        view.check()
        newest = self.newest(view)
        if is_later(event) and not self.logs.has_events_format:
            raise_format(self.bucket, EVENTS_FORMAT)
            self.logs.has_events_format = True
        stamp = {"time": time_text(datetime.now(UTC)), "write_id": os.urandom(16).hex()}
        # A repeated event brings its own time and write_id.
        event = stamp | event | {
            "artifact": self.name,
            "number": view.head + 1,
            "previous": link_to(newest) if newest else None,
        }  # fmt: skip
        if not self.records.create(event):
            return None
        self._keep(View(self, view.paged, (*view.tail, event)))
        self.logs.grown.add(self.name)
        return event

    def newest(self, view: View) -> Event | None:
        """Return the newest event of a view as its record states it now; None for an empty log.

        So a writer builds on no store that was emptied, replaced or restored since it was read.
        Raises StoreReplaced, or Damaged if the record is damaged by now, unless a page has it.
        """
        if not view.head:
            self.logs.check_identity()
            return None
        found = self.reader.record(view.head)
        if isinstance(found, Fault):
            if found.wrong is Wrong.MISSING:
                raise self._replaced(view, "is missing, although this process has read it")
            raise Damaged(found.message)
        known = view.tail[-1] if view.tail else None
        is_known = not isinstance(known, dict) or known["write_id"] == found["write_id"]
        if not is_known and not is_repaired(found):
            error = self._replaced(view, "is another one than this process has read")
            if self.logs.marker and self.logs.marker.id:
                # It is the same store: the next call reads its whole log.
                self._view = self.provenance = None
                self.generation += 1
            raise error
        return found

    def _listed_after(self, view: View) -> list[int]:
        """Return the numbers of the records after a view.

        The list begins with two known records: that costs nothing, and shows that they exist. The
        newest is all that is left of a store that was emptied while this process created it.
        """
        known = [number_of(item) for item in view.tail[-2:]] or [view.head][: view.head]
        listed = self.records.numbers(known[0] - 1 if known else 0)
        if listed[: len(known)] != known:  # a page can have it; a list can be wrong
            for end in range(len(view.tail), len(view.tail) - len(known), -1):
                self.newest(View(self, view.paged, view.tail[:end]) if end else view)
        return [number for number in listed if number > view.head]

    def _replaced(self, view: View, found: str) -> StoreReplaced:
        """Return the error for a record that this process has read; raises one that says more."""
        with contextlib.suppress(Damaged):
            self.logs.check_identity()
        return StoreReplaced(
            f"{self.bucket.location} was restored from an older copy, or repaired: "
            f"{self.records.key(view.head)} {found}. Nothing is written there until it is opened "
            "again."
        )

    def _newest_page(self) -> tuple[int, list[int]]:
        """Return the number of the newest page, and the numbers of the records after it.

        A page whose last record does not exist counts only if it can be read: then it is the copy
        of records that were lost.
        """
        self.pages.forget()
        for number in reversed(self.pages.numbers()):
            listed = self.records.numbers(number - 1)
            if listed[:1] == [number]:
                return number, listed[1:]
            if self.pages.cached(number) is not None:
                return number, listed
        return 0, self.records.numbers()

    def _keep(self, view: View) -> None:
        """Keep the view, and write a page when enough records have come since the last."""
        end = page_end(view.head)
        if end > view.paged:
            # The commit stands without its page; a later commit writes the page if this cannot.
            with contextlib.suppress(KeptError, OSError):
                self.pages.write(end, view.backwards())
                if is_mostly_fences(view.tail):
                    self.pages.folded.write(end, certain(view.facts()))
                view = View(self, end, tuple(i for i in view.tail if number_of(i) > end))
        self._view = view
