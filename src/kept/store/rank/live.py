"""The versions of a log that are not deleted, kept up to date: a further look reads what is new.

history.py folds a log from the newest event to the oldest. This folds the other way, from what is
known, because a run prunes after each save and its log has thousands of records. Retention and the
rule of the alias best share what is known of a log.
"""

from __future__ import annotations

import itertools
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kept.names import LATEST
from kept.store.log.history import VersionRecord, version_of, version_records

if TYPE_CHECKING:
    from kept.store.log.events import Event
    from kept.store.log.log import Log, View


class LiveVersions:
    """The versions of one log that are not deleted. For many threads."""

    def __init__(self) -> None:
        self._known: _Fold | None = None
        self._generation = 0  # of the log

    def at(self, view: View) -> list[VersionRecord]:
        """Return the versions in a view, oldest first, as history.live states them.

        Raises Damaged if the log has a fault.
        """
        known = self._known if self._generation == view.log.generation else None
        fold = known.up_to(view) if known and known.head <= view.head else None
        if fold is None:
            fold = _read(view)
        self._known, self._generation = fold, view.log.generation
        return fold.versions()


@dataclass(slots=True)
class _Fold:
    """What the events up to a record say; up_to returns a new one."""

    head: int
    newest: int = -1  # the greatest number of a version, deleted or not
    records: dict[int, VersionRecord] = field(default_factory=dict)  # in the order of numbers
    holders: dict[str, int] = field(default_factory=dict)  # alias -> its version; no latest

    def versions(self) -> list[VersionRecord]:
        found = list(self.records.values())
        if found:
            found[-1] = found[-1]._replace(aliases=(LATEST, *found[-1].aliases))
        return found

    def up_to(self, view: View) -> _Fold | None:
        """Return the fold of a newer view; None if that needs older records."""
        if view.head == self.head:
            return self
        new = list(itertools.islice(view.backwards(), view.head - self.head))
        fold = _Fold(view.head, self.newest, dict(self.records), dict(self.holders))
        return fold if all(map(fold._add, reversed(new))) else None

    def _add(self, event: Event) -> bool:
        """Take the next newer event; return False if older records decide what it means."""
        kind, index = event["event"], event.get("index", -1)
        if kind == "version":
            return self._add_version(event)
        for alias, holder in event.get("aliases", {}).items():
            self._put(alias, holder)
        if kind in ("metrics", "update"):
            before = self.records.get(index)
            return before is not None and self._change(index, changes=before.changes.after(event))
        if kind == "alias":
            if "expires" in event:
                self._change(index, expires=event["expires"])
            return "lost" not in event
        if kind == "delete":
            self.records.pop(index, None)
            return True
        if kind == "remove":
            for removed in event["indexes"]:
                self.records.pop(removed, None)
        return kind in ("remove", "rule") or (
            kind == "undelete" and self._change(index, undeleted=True)
        )

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


def _read(view: View) -> _Fold:
    fold = _Fold(view.head)
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
