"""The state of an artifact while its records are read from the first on.

The log's own fold (store/log/history.py) goes backwards and answers for the newest record. A
watcher needs the state at each record, so this fold goes forwards: one pass serves all events.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

from kept.names import LATEST
from kept.store.log.changes import UNCHANGED, Changes
from kept.store.log.events import Fault
from kept.store.log.history import version_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.encoding import Json
    from kept.store.log.events import Event, Item
    from kept.store.log.history import VersionRecord


class State:
    """The versions of an artifact, with their aliases and changes, at one record of its log."""

    def __init__(self) -> None:
        self._commits: dict[int, Event] = {}
        self._changes: dict[int, Changes] = {}
        self._holders: dict[str, int] = {}  # alias -> version
        self._aliases: dict[int, set[str]] = {}
        self._live: list[int] = []  # sorted; some may be deleted since
        self._deleted: set[int] = set()
        self._fault = 0  # number of the newest record that cannot be read

    def add(self, item: Item) -> None:
        """Take the next record."""
        if isinstance(item, Fault):
            self._fault = item.number
            return
        kind = item["event"]
        if kind == "version":
            self._commit(item)
        else:
            self._move(item.get("aliases", {}).items())
        if kind in ("metrics", "update"):
            index = item["index"]
            self._changes[index] = self._changes.get(index, UNCHANGED).after(item)
        elif kind in ("delete", "remove"):
            self._deleted.update(indexes_of(item))
        elif kind in ("undelete", "restore"):
            self._restore(indexes_of(item))

    def version(self, index: int | None) -> VersionRecord | None:
        """Return a version as it is now, a deleted one too; None if there is none."""
        event = self._commits.get(-1 if index is None else index)
        if event is None or index is None:
            return None
        names = sorted(self._aliases.get(index, ()))
        if index == self._latest() and event["number"] > self._fault:
            names.insert(0, LATEST)
        return version_of(event)._replace(
            aliases=tuple(names),
            deleted=index in self._deleted,
            changes=self._changes.get(index, UNCHANGED),
        )

    def holder(self, alias: str) -> int | None:
        """Return the version that has an alias."""
        return self._holders.get(alias)

    def live(self, indexes: Iterable[int]) -> list[int]:
        """Return those versions that exist and are not deleted, sorted, each once."""
        return sorted(i for i in set(indexes) if i in self._commits and i not in self._deleted)

    def provenance(self, index: int) -> Json:
        """Return the provenance that the commit of a version states."""
        return self._commits.get(index, {}).get("provenance")

    def _latest(self) -> int | None:
        while self._live and self._live[-1] in self._deleted:
            self._live.pop()
        return self._live[-1] if self._live else None

    def _commit(self, event: Event) -> None:
        index = event["index"]
        self._commits[index] = event
        if event.get("deleted"):
            self._deleted.add(index)
        else:
            self._deleted.discard(index)
            insort(self._live, index)
        self._move((alias, index) for alias in event["aliases"])

    def _move(self, moves: Iterable[tuple[str, int | None]]) -> None:
        for alias, index in moves:
            before = self._holders.pop(alias, None)
            if before is not None:
                self._aliases[before].discard(alias)
            if index in self._commits and index is not None:
                self._holders[alias] = index
                self._aliases.setdefault(index, set()).add(alias)

    def _restore(self, indexes: Iterable[int]) -> None:
        for index in set(indexes) & self._deleted:
            self._deleted.discard(index)
            insort(self._live, index)


def indexes_of(event: Event) -> list[int]:
    """Return the versions that an event deletes or restores."""
    return list(event.get("indexes", (event.get("index"),)))
