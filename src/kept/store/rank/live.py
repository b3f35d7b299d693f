"""The versions of a log that are not deleted, kept up to date: a further look reads what is new.

history.py folds a log from the newest event to the oldest. This folds the other way, from what is
known, because a run prunes after each save and its log has thousands of records. Retention and the
rule of the alias best share what is known of a log.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kept.errors import Damaged
from kept.names import LATEST
from kept.store.log.history import VersionRecord, version_of, version_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.store.log.events import Event, Item
    from kept.store.log.log import Log, View


class LiveVersions:
    """The versions of one log that are not deleted. For many threads."""

    def __init__(self) -> None:
        self._free: list[_Fold] = []  # what is known, unless a thread uses it now
        self._sought = 0  # events that were read to find one version

    def at(self, view: View) -> list[VersionRecord]:
        """Return the versions in a view, oldest first, as history.live states them.

        Raises Damaged if the log has a fault.
        """
        with self._fold(view) as fold:
            return fold.versions()

    def one(self, view: View, index: int) -> VersionRecord | None:
        """Return one version in a view, None if it is deleted or does not exist.

        It is read from the newest event back, as far as that goes, faults or not. When that has
        cost as much as to read all, all is read, and later looks cost nothing.
        """
        if not self._free and self._sought < view.head:
            return self._seek(view, index)
        try:
            with self._fold(view) as fold:
                return fold.version(index)
        except Damaged:
            return self._seek(view, index)

    @contextlib.contextmanager
    def _fold(self, view: View) -> Iterator[_Fold]:
        """Give what is known, brought up to date; a second thread meanwhile reads all."""
        known = fold = None
        with contextlib.suppress(IndexError):
            known = self._free.pop()
        if known is not None and known.generation != view.log.generation:
            known = None
        if known is not None and known.head <= view.head:
            fold = known = known if known.follow(view) else None
        if fold is None:
            fold = _read(view)
        yield fold
        self._free[:] = [fold if known is None or known.head <= fold.head else known]

    def _seek(self, view: View, index: int) -> VersionRecord | None:
        for record in version_records(self._counted(view.facts()), faults=[]):
            if record.index <= index:
                return record if record.index == index and not record.deleted else None
        return None

    def _counted(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self._sought += 1
            yield item


@dataclass(slots=True)
class _Fold:
    """What the events up to a record say. One thread at a time uses it."""

    generation: int  # of the log
    head: int
    newest: int = -1  # the greatest number of a version, deleted or not
    records: dict[int, VersionRecord] = field(default_factory=dict)  # in the order of numbers
    holders: dict[str, int] = field(default_factory=dict)  # alias -> its version; no latest
    pending: dict[int, list[Event]] = field(default_factory=dict)  # later changes of versions

    def versions(self) -> list[VersionRecord]:
        found = list(self.records.values())
        if found:
            found[-1] = _as_latest(found[-1])
        return found

    def version(self, index: int) -> VersionRecord | None:
        found = self.records.get(index)
        is_latest = found is not None and next(reversed(self.records)) == index
        return _as_latest(found) if found is not None and is_latest else found

    def follow(self, view: View) -> bool:
        """Take the newer events of a view; return False if that needs older records.

        Then discard the fold. Raises Damaged, and then it stays as it was.
        """
        new = list(itertools.islice(view.backwards(), view.head - self.head))
        self.head = view.head
        if not all(map(self._add, reversed(new))):
            return False
        for index, events in self.pending.items():
            self._change(index, changes=self.records[index].changes.after(*events))
        self.pending.clear()
        return True

    def _add(self, event: Event) -> bool:
        """Take the next newer event; return False if older records decide what it means."""
        kind, index = event["event"], event.get("index", -1)
        if kind == "version":
            return self._add_version(event)
        for alias, holder in event.get("aliases", {}).items():
            self._put(alias, holder)
        if kind in ("metrics", "update"):
            self.pending.setdefault(index, []).append(event)
            return index in self.records
        if kind == "alias":
            if "expires" in event:
                self._change(index, expires=event["expires"])
            return "lost" not in event
        if kind in ("delete", "remove"):
            for removed in event.get("indexes", (index,)):
                self.records.pop(removed, None)
                self.pending.pop(removed, None)
            return True
        return kind == "rule" or (kind == "undelete" and self._change(index, undeleted=True))

    def _add_version(self, event: Event) -> bool:
        if event["index"] != self.newest + 1:
            return False
        self.newest = event["index"]
        if not event.get("deleted"):
            self.records[self.newest] = version_of(event)._replace(aliases=())
        for alias in event["aliases"]:
            self._put(alias, self.newest)
        return True

    def _change(self, index: int, **fields: Any) -> bool:
        """Change a version; return False if it is deleted."""
        if index in self.records:
            self.records[index] = self.records[index]._replace(**fields)
        return index in self.records

    def _put(self, alias: str, index: int | None) -> None:
        """Put an alias on a version, or on none, and take it from the one that had it."""
        before = self.records.get(self.holders.pop(alias, -1))
        if before is not None:
            rest = tuple(name for name in before.aliases if name != alias)
            self.records[before.index] = before._replace(aliases=rest)
        if index is not None:
            self.holders[alias] = index
        after = self.records.get(-1 if index is None else index)
        if after is not None:
            names = tuple(sorted({*after.aliases, alias}))
            self.records[after.index] = after._replace(aliases=names)


_known: weakref.WeakKeyDictionary[Log, LiveVersions] = weakref.WeakKeyDictionary()


def live_at(view: View) -> list[VersionRecord]:
    """Return the versions in a view that are not deleted, oldest first; see LiveVersions.at."""
    return _known.setdefault(view.log, LiveVersions()).at(view)


def live_one(view: View, index: int) -> VersionRecord | None:
    """Return one version of a view, None if it is deleted; see LiveVersions.one."""
    return _known.setdefault(view.log, LiveVersions()).one(view, index)


def _as_latest(record: VersionRecord) -> VersionRecord:
    return record._replace(aliases=(LATEST, *record.aliases))


def _read(view: View) -> _Fold:
    fold = _Fold(view.log.generation, view.head)
    found: list[VersionRecord] = []
    for record in version_records(view.facts()):
        fold.newest = max(fold.newest, record.index)
        if not record.deleted:
            found.append(record)
    for record in reversed(found):
        own = record.aliases[1:] if record is found[0] else record.aliases
        fold.records[record.index] = record._replace(aliases=own)
        fold.holders |= dict.fromkeys(own, record.index)
    return fold
