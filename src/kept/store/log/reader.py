"""Reads a log backwards from its stored pages and records, and checks that each follows the next.

A folded page is used only if it ends with the record that the log has there now: an earlier kept
cuts a log without deleting such pages, and the log that grows again has other records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kept.store.log.events import Event, Fault, Item, follows
from kept.store.log.pages import Pages, page_end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.log.records import Records


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the stored items of one log."""

    records: Records
    pages: Pages

    def record(self, number: int) -> Item:
        """Return a record as it is stored now; if it cannot be read, as the page has it."""
        found = self.records.read_or_fault(number)
        if isinstance(found, Fault) and number == page_end(number):
            page = self.pages.cached(number)
            found = page[-1] if page else found
        return found

    def backwards(self, number: int, after: Item | None, *, folded: bool) -> Iterator[Item]:
        """Yield the items from a number back to the first; after is the one that follows, if known.

        With folded, fences that are folded away are left out.
        """
        while number:
            page = self._folded(number, after) if folded else None
            if page is None and number == page_end(number):
                page = self.pages.remembered(number)
            newest = self.records.read_or_fault(number) if page is None else page[-1]
            number = page[0]["number"] - 1 if page else number - 1
            if isinstance(after, dict) and isinstance(newest, dict) and not follows(after, newest):
                yield self.records.unlinked(after)
            yield newest
            yield from reversed(page[:-1] if page else ())
            after = page[0] if page else newest

    def _folded(self, number: int, after: Item | None) -> list[Event] | None:
        """Return the folded page that ends with a record, None if there is none of this log."""
        page = self.pages.folded.cached(number)
        if page is None:
            return None
        if isinstance(after, dict) and after.get("previous"):
            return page if follows(after, page[-1]) else None
        return page if page[-1] == self.record(number) else None
