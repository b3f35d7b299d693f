"""Copying an artifact from one store to another: the events of its log, one by one, in order.

An event is the same in both stores if it has the same write_id. So what is left to copy need not
be written down: it is what the source's log has and the target's has not. That makes copying
idempotent, also for two processes at once, and it goes on where it was broken off.

Invariant: blobs, then the manifest, then the record, as with any commit.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kept.bucket.transfer import Transfer
from kept.errors import ArtifactNotFound, Diverged
from kept.store.log.fence import WriteFence, is_fence, with_write_fence
from kept.store.log.history import VersionRecord, version_records
from kept.sync.mirror.copy_content import ContentCopy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kept.bucket.transfer import Progress
    from kept.store.log.log import Event, View
    from kept.store.store import Store

    Confirm = Callable[[int, int], None]  # the source's record, the newest version


@dataclass(slots=True)
class Copied:
    """What a run has copied."""

    versions: int = 0
    changes: int = 0  # of aliases and deletions
    blobs: int = 0
    bytes: int = 0

    def __add__(self, other: Copied) -> Copied:
        return Copied(
            self.versions + other.versions,
            self.changes + other.changes,
            self.blobs + other.blobs,
            self.bytes + other.bytes,
        )


class Sync:
    """Copies one artifact; run may be called again, and then only looks at what is new."""

    def __init__(self, source: Store, target: Store, name: str) -> None:
        self._source, self._target, self._name = source, target, name
        self._version = -1  # the newest one up to there
        self._done = 0  # the source's record up to which all is in the target
        self._known: set[str] = set()  # write_ids in the target's log
        self._known_head = 0
        self._content = ContentCopy(source.bucket, target.bucket)

    def run(
        self,
        confirm: Confirm | None = None,
        progress: Progress | None = None,
        *,
        in_parts: bool = False,
    ) -> Copied:
        """Copy what the target lacks; confirm is called when it has more than before.

        progress is called with the bytes that are copied and those that are to be, by any thread,
        by one at a time; in_parts where somebody watches (see Transfer).
        Raises ArtifactNotFound, Diverged, Damaged, or what either store raises; what was copied
        until then stays, and the next run goes on from there.
        """
        view = self._source.log(self._name).view()
        if not view.head:
            raise ArtifactNotFound(f"No artifact {self._name!r} in {self._source.location}.")
        self._target.create()
        self._look_at(self._target.log(self._name).view())
        new = itertools.takewhile(lambda e: e["number"] > self._done, view.backwards())
        events = list(new)[::-1]
        adapted = self._adapted(events, _needed(events, view))
        size = sum(entry.size for _, entry in adapted.values() if entry)
        transfer = Transfer(size, progress, in_parts=in_parts)
        copied = Copied()
        for event in events:
            is_new = event["write_id"] in adapted
            if is_new:
                copied += self._replay(*adapted[event["write_id"]], transfer)
            self._done = event["number"]
            if event["event"] == "version":
                self._version = event["index"]
            if confirm and (is_new or self._done == view.head):
                confirm(self._done, self._version)
        return copied

    def _look_at(self, view: View) -> None:
        """Take note of the events of the target that are new since the last look."""
        for event in view.backwards():
            if event["number"] <= self._known_head:
                break
            self._known.add(event["write_id"])
            if is_fence(event):
                self._content.forget()
        self._known_head = view.head

    def _adapted(
        self, events: list[Event], needed: dict[int, VersionRecord]
    ) -> dict[str, tuple[Event, VersionRecord | None]]:
        """Return what to tell the target of each missing event, and the version to bring along.

        Where the source has events of its own between those that it shares with the target (a
        mirror whose aliases were changed by hand, copied back), what a later shared event has said
        stands.
        """
        said = _Said()
        found = {}
        for event in reversed(events):
            if event["write_id"] in self._known:
                said.add(event)
                continue
            # The number is the source's, and so is the gc of a fence.
            told = {key: v for key, v in said.unsaid(event).items() if key not in ("number", "gc")}
            entry = needed.get(event.get("index", -1))
            if told["event"] == "version" and entry is None:
                told["deleted"] = True
            found[event["write_id"]] = (told, entry)
        return found

    def _replay(self, event: Event, entry: VersionRecord | None, transfer: Transfer) -> Copied:
        log = self._target.log(self._name)
        if entry is None:
            return self._tell(event, log.view(), None)

        def build(ground: WriteFence) -> Copied:
            if self._due(event, ground.view) is None:
                return Copied()
            blobs, size = self._content.copy(entry, ground.condemned, transfer)
            return Copied(blobs=blobs, bytes=size) + self._tell(event, ground.view, ground)

        return with_write_fence(log, build)

    def _tell(self, event: Event, view: View, fence: WriteFence | None) -> Copied:
        """Append the event to the target's log, unless it has come there meanwhile."""
        log = self._target.log(self._name)
        for newest in log.views(view):
            if fence:
                fence.check(newest)
            if self._due(event, newest) is None:
                self._known.add(event["write_id"])
                return Copied()
            if log.append_after(newest, event):
                break
        self._known.add(event["write_id"])
        is_version = event["event"] == "version"
        return Copied(versions=int(is_version), changes=int(not is_version))

    def _due(self, event: Event, view: View) -> Event | None:
        """Return the event if the target still lacks it; raises Diverged."""
        self._look_at(view)
        if event["write_id"] in self._known:
            return None
        newest = next(version_records(view.backwards()), None)
        due = newest.index + 1 if newest else 0
        index = event.get("index", -1)
        if index != due if event["event"] == "version" else index >= due:
            raise Diverged(
                f"{self._name} in {self._target.location} is not a copy of the one in "
                f"{self._source.location}: its next version would be v{due}, received v{index}. "
                "Copy to another place, or log to another name."
            )
        return event


class _Said:
    """What later events, which the target has already, have said of aliases, expiry, deletions."""

    def __init__(self) -> None:
        self._aliases: set[str] = set()
        self._expiries: set[int] = set()
        self._deletions: set[int] = set()

    def add(self, event: Event) -> None:
        if "expires" in event:
            self._expiries.add(event["index"])
        if event["event"] in ("version", "alias"):
            self._aliases.update(event["aliases"])
        else:
            self._deletions.add(event["index"])

    def unsaid(self, event: Event) -> Event:
        """Return the event without what a later one has overruled."""
        if event.get("index") in self._expiries:
            event = {key: value for key, value in event.items() if key != "expires"}
        if event["event"] == "version":
            return event | {"aliases": [a for a in event["aliases"] if a not in self._aliases]}
        if event["event"] == "alias":
            kept = {a: index for a, index in event["aliases"].items() if a not in self._aliases}
            return event | {"aliases": kept}
        if event["index"] in self._deletions:  # told all the same, so that it counts as copied
            stamp = {key: event[key] for key in ("number", "time", "write_id")}
            return {"event": "alias", "aliases": {}} | stamp
        return event


def _needed(events: Iterable[Event], view: View) -> dict[int, VersionRecord]:
    """Return the versions whose content the events make visible, as far as not deleted again."""
    wanted = {e["index"] for e in events if e["event"] in ("version", "undelete")}
    found = {}
    for entry in version_records(view.backwards()) if wanted else ():
        if entry.index in wanted and not entry.deleted:
            found[entry.index] = entry
        if entry.index <= min(wanted):
            break
    return found
