"""Plans the repair of a log: each fault gets a record, the exact one if anything proves it.

The sources of a record, the best first: the page that covers it; its own bytes with one bit
corrected; a mirror; the facts that the record after it repeats; the damaged bytes; a manifest that
no version has. If nothing is left, a record marks the place, so that no number is used twice.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.digest import digest
from kept.errors import Damaged, KeyNotFound
from kept.store.encoding import MOST_RECORD, read_bounded, seal, unseal
from kept.store.log.events import Event, Fault, Item, Wrong
from kept.store.log.records import MOST_LOST as _MOST_LOST
from kept.store.log.records import number_of
from kept.store.problems import Problem
from kept.store.repair.extent import extent
from kept.store.repair.lost_version import is_lost, missing_version, version_facts
from kept.store.repair.numbers import plan_numbers
from kept.store.repair.plan import Plan, SetAside, Write
from kept.store.repair.salvage import copied, fits, is_event, mended, salvaged, substitute
from kept.store.scrub.verify import whole_log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kept.bucket.base import Buffer
    from kept.store.encoding import Json
    from kept.store.log.log import Log
    from kept.store.receipts import Receipt
    from kept.store.repair.orphans import Orphans


class _Place(NamedTuple):
    """A fault, with what its neighbours say of it."""

    number: int
    wrong: Wrong
    before: Event | None
    link: Json  # what the record after it states, None if nothing


class LogRepair:
    """The repair of one log. Call exact for every log of the store, then rest for every one."""

    def __init__(self, log: Log, copies: Sequence[Log], receipt: Receipt | None = None) -> None:
        """Take the log, its copies, and the receipt of the mirror that has most of it."""
        self._receipt = receipt
        self._log, self._name = log, log.name
        self._copies = [copy for copy in map(_events, copies) if copy]
        self._pages = _page_events(log)
        items = whole_log(log)
        faults = [item for item in items if isinstance(item, Fault)]
        self._stored = {fault.number: self._read(fault.number) for fault in faults}
        elsewhere = {fault.number for fault in faults if self._is_elsewhere(fault)}
        self._items, self._strays, self._cut = extent(items, max(self._pages, default=0), elsewhere)
        self._items += self._lost_end(receipt.record if receipt else 0)
        self._wrong = {i.number: i.wrong for i in self._items if isinstance(i, Fault)}
        self._why: dict[int, str] = {}

    def displaced(self) -> dict[tuple[str, int], Event]:
        """Return whole records that lie in wrong places, by the artifact and number they state."""
        wrong = [item.number for item in self._items if isinstance(item, Fault)]
        found = filter(None, map(self._stated, (*wrong, *self._strays)))
        return {(str(e.get("artifact", self._name)), int(e["number"])): e for e in found}

    @property
    def events(self) -> list[Event]:
        """The events that can be read or were found again, oldest first."""
        return [item for item in self._items if isinstance(item, dict)]

    def exact(self, displaced: Mapping[tuple[str, int], Event]) -> None:
        """Find the records that something proves; see displaced."""
        # A record that was found says much about the one before it, and where a copy continues.
        places = range(len(self._items))
        for order in (reversed(places), places):
            for position in order:
                item = self._items[position]
                if isinstance(item, Fault):
                    self._take(position, self._proved(self._place(position), displaced))

    def rest(self, orphans: Orphans) -> None:
        """Write a record for each place that is left, from whatever is known of it."""
        places = [n for n, item in enumerate(self._items) if isinstance(item, Fault)]
        claims = {n: self._claimed(self._place(n)) for n in places}
        for position in places:
            if isinstance(self._items[position], Fault):
                place = self._place(position)
                claimed = [event for n, event in claims.items() if event and n != position]
                facts, why = self._facts(position, place, claimed, orphans)
                event = substitute(facts, self._name, place.number, place.before, place.link)
                self._take(position, (event, why))

    def add_to(self, plan: Plan) -> None:
        """Add the steps to a plan."""
        for event in self.events:
            why = self._why.get(event["number"])
            if why is not None:
                if is_lost(event):
                    message = f"nothing is certain of v{event['index']}; its number is kept free"
                    plan.lost.append(Problem(self._name, message))
                plan.steps.append(self._write(event, why))
        for number in self._strays:
            plan.steps.append(SetAside(self._log.records.key(number), "belongs to another place"))
        if self._cut is not None:
            message = f"too many records before record {self._cut} are missing to be filled"
            plan.lost.append(Problem(self._name, message))
        self._add_pages(plan)
        plan_numbers(self._log, self.events, plan)

    def _write(self, event: Event, why: str) -> Write:
        """Return the step for a record, which holds only for what lies in its place now."""
        number = event["number"]
        data = self._stored.get(number)
        return Write(
            self._log.records.key(number),
            seal(event),
            why,
            is_missing=self._wrong[number] is Wrong.MISSING,
            if_unreadable=data is None,
            instead_of=None if data is None else digest(data),
        )

    def _lost_end(self, confirmed: int) -> list[Item]:
        """Return faults for records that are missing after the last one.

        They are those that a mirror has confirmed, and those up to the last version in a mirror.
        """
        last = number_of(self._items[-1]) if self._items else 0
        newest = self._items[-1] if self._items else None
        end = confirmed if confirmed - last <= _MOST_LOST and self._cut is None else 0
        for events in self._copies:
            ids = [event["write_id"] for event in events]
            if isinstance(newest, dict) and newest["write_id"] in ids:
                after = events[ids.index(newest["write_id"]) + 1 :]
                lost = (n for n, event in enumerate(after, start=1) if event["event"] == "version")
                end = max(end, last + max(lost, default=0))
        return [self._log.records.missing(number) for number in range(last + 1, end + 1)]

    def _take(self, position: int, found: tuple[Event, str] | None) -> None:
        if found is not None:
            self._items[position], self._why[found[0]["number"]] = found

    def _place(self, position: int) -> _Place:
        fault = self._items[position]
        before = self._items[position - 1] if position else None
        after = self._items[position + 1] if position + 1 < len(self._items) else None
        link = after.get("previous") if isinstance(after, dict) else None
        known = before if isinstance(before, dict) else None
        assert isinstance(fault, Fault)
        return _Place(fault.number, fault.wrong, known, link)

    def _proved(
        self, place: _Place, displaced: Mapping[tuple[str, int], Event]
    ) -> tuple[Event, str] | None:
        number, link = place.number, place.link
        moved = displaced.get((self._name, number))
        if moved is not None and fits(moved, place.before, link):
            return moved, "found in another place"
        page = self._pages.get(number)
        if page is not None and fits(page, place.before, link):
            return page, "copied from a page"
        data = self._stored.get(number)
        event = mended(data, self._name, number, link) if data is not None else None
        if event is not None and fits(event, place.before, link):
            return event, "one wrong bit corrected"
        copy = self._copy_of(place)
        if copy is not None:
            event = copied(copy, self._name, number, place.before, link)
            if is_event(event, self._name, number) and (link is None or fits(event, None, link)):
                return event, "copied from the mirror"
        return None

    def _copy_of(self, place: _Place) -> Event | None:
        """Return a mirror's copy of a record: known by its write_id, or by its neighbours."""
        own = {event["write_id"] for event in self.events}
        for events in self._copies:
            ids = [event["write_id"] for event in events]
            if place.link and "write_id" in place.link:
                if place.link["write_id"] in ids:
                    return events[ids.index(place.link["write_id"])]
                continue
            if place.number > 1 and (not place.before or place.before["write_id"] not in ids):
                continue
            start = ids.index(place.before["write_id"]) + 1 if place.before else 0
            if start < len(events) and ids[start] not in own:
                return events[start]
        return None

    def _facts(
        self, position: int, place: _Place, claimed: list[Event], orphans: Orphans
    ) -> tuple[dict[str, Any], str]:
        """Return the facts of a record that nothing proves, and where they are from."""
        copy = self._copy_of(place)
        if copy is not None:
            return copied(copy, self._name, place.number, place.before, None), "from the mirror"
        events, number = [*self.events, *claimed], place.number
        if place.link and "event" in place.link:
            why = "from what the next record repeats"
            if place.link["event"] != "version":
                return {key: v for key, v in place.link.items() if key != "blake3"}, why
            return version_facts(events, number, place.link, orphans), why
        # The facts of a whole record that does not belong here are those of another one.
        is_other = place.wrong is Wrong.FOREIGN or self._stated(number) is not None
        guess = {} if is_other else salvaged(self._stored.get(number))
        # The last record may have been a version; then its number is not used again.
        is_last = position == len(self._items) - 1 and not self._is_no_version(events, number)
        is_version = guess["event"] == "version" if "event" in guess else is_last
        if is_version or missing_version(events, number) is not None:
            return version_facts(events, number, guess, orphans), "from what is left of it"
        return {}, "marked as lost: nothing is known of it"

    def _read(self, number: int) -> Buffer | None:
        try:
            return read_bounded(self._log.bucket, self._log.records.key(number), MOST_RECORD)
        except (KeyNotFound, Damaged):
            return None

    def _is_no_version(self, events: Sequence[Event], number: int) -> bool:
        """Return whether a receipt shows that a record commits no version."""
        newest = max((e["index"] for e in events if e["event"] == "version"), default=-1)
        receipt = self._receipt
        return receipt is not None and number <= receipt.record and receipt.version <= newest

    def _claimed(self, place: _Place) -> Event | None:
        """Return the version that the next record states for a place, None if it states none."""
        if not place.link or place.link.get("event") != "version":
            return None
        return {"type": "model", **place.link, "number": place.number}

    def _is_elsewhere(self, fault: Fault) -> bool:
        event = self._stated(fault.number)
        here = (self._name, fault.number)
        return event is not None and (event.get("artifact", here[0]), event["number"]) != here

    def _stated(self, number: int) -> Event | None:
        """Return the event in a record that lies in a wrong place, if it is whole."""
        data = self._stored.get(number)
        try:
            event = unseal(data, "") if data is not None else None
        except Damaged:
            return None
        if isinstance(event, dict) and type(event.get("number")) is int:
            artifact = event.get("artifact", self._name)
            return event if is_event(event, artifact, event["number"]) else None
        return None

    def _add_pages(self, plan: Plan) -> None:
        """Write damaged pages again, and those that differ from the records."""
        by_number = {event["number"]: event for event in self.events}
        for number in self._log.pages.numbers():
            try:
                page = self._log.pages.read(number)
                if all(by_number.get(event["number"]) == event for event in page):
                    continue
                why = "differed from the records"
            except KeyNotFound:
                continue
            except Damaged:
                why = "written again from the records"
            data = self._log.pages.made_of(number, by_number)
            key = self._log.pages.key(number)
            plan.steps.append(Write(key, data, why) if data else SetAside(key, "a damaged cache"))
        folded = self._log.pages.folded
        for number in folded.numbers():
            with contextlib.suppress(KeyNotFound):
                if not folded.is_of(number, by_number):
                    plan.steps.append(SetAside(folded.key(number), "a damaged cache"))


def _events(log: Log) -> list[Event]:
    """Return the events of a copy, without the fences of its own gcs."""
    return [item for item in whole_log(log) if isinstance(item, dict) and "gc" not in item]


def _page_events(log: Log) -> dict[int, Event]:
    found: dict[int, Event] = {}
    for number in log.pages.numbers():
        found |= {event["number"]: event for event in log.pages.cached(number) or ()}
    return found
