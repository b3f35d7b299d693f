"""Replays the events of an artifact into the log of its new name, and takes that back if needed.

An event is appended only directly after a log in which every version comes from the old log. So
the versions there are a first part of the old ones, with the same numbers, and an event about a
number means the same version in both logs.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from kept.bucket.transfer import Transfer
from kept.errors import Damaged, InvalidName, KeptError
from kept.store.format_marker import known_id
from kept.store.log.events import is_fence
from kept.store.log.fence import WriteFence, with_write_fence
from kept.store.log.history import VersionRecord, live
from kept.store.log.lookup import some
from kept.store.origin.actor import actor
from kept.store.receipts import Receipts, receipts_of
from kept.store.whole.copy_content import ContentCopy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kept.bucket.transfer import Progress
    from kept.store.log.events import Event
    from kept.store.log.log import Log, View

_OWN = ("number", "previous", "replaces", "artifact")  # of the old log


class _Old(NamedTuple):
    """The old log at one moment."""

    name: str
    ids: frozenset[str]  # write_ids
    events: list[Event]  # to replay, oldest first
    versions: dict[int, VersionRecord]  # that exist


class Replay:
    """What one call does under the new name; it remembers that, to take it back."""

    def __init__(self, first: View, target: Log, progress: Progress | None) -> None:
        """Take the old log as it is when the call begins, and the log of the new name."""
        self._source, self._target, self._progress = first.log, target, progress
        self._began, self._target_began = first.head, target.view().head
        self._made: set[int] = set()  # versions that exist under the new name by this call
        self._written: set[str] = set()  # write_ids of the records of this call there

    def run(self, view: View, versions: dict[int, VersionRecord]) -> None:
        """Bring the new log to the state of the old one, in which these versions exist.

        Raises InvalidName, and changes nothing more, if the new log has another version.
        """
        every = list(view.backwards())[::-1]
        ids = frozenset(event["write_id"] for event in every)
        old = _Old(view.log.name, ids, [e for e in every if _counts(e)], versions)
        there, seen = self._target.view(), _Seen(old)
        seen.learn(there)
        if any(event["write_id"] not in seen.ids for event in old.events):
            seen.check(there)
        self._register_mirrors()
        content = ContentCopy(self._target.bucket, self._target.bucket)

        def build(fence: WriteFence) -> None:
            writer = _Writer(fence, self._target, old, content)
            try:
                for done, event in enumerate(old.events):
                    writer.add(event)
                    if self._progress:
                        self._progress(done + 1, len(old.events))
                writer.arrive()
            finally:
                self._made |= writer.made
                self._written |= writer.written

        with_write_fence(self._target, build)

    def _register_mirrors(self) -> None:
        """Note that the mirrors of the old name have to confirm the new one, too."""
        bucket = self._source.bucket
        for receipt in receipts_of(bucket, self._source.name):
            if receipt.is_located:
                store_id = known_id(self._source.logs.marker)
                Receipts(bucket, receipt.destination, store_id).register(self._target.name)

    def take_back(self, view: View) -> str:
        """Delete under the new name the versions that this call has put there in vain.

        view is the old log in which the call found that it must not continue. Versions that may be
        of use to another process stay. Returns a sentence about those, or nothing.
        """
        arrived = (
            event.get("moved_to") == self._target.name for event in _after(view, self._began)
        )
        if not self._made or any(arrived):  # by another process that did the same
            return ""
        try:
            return self._remove_made(view)
        except KeptError as error:
            return self._remaining(sorted(self._made), str(error))

    def _remove_made(self, view: View) -> str:
        is_over = next(live(view.facts()), None) is None
        for there in self._target.views():
            made = sorted(self._made & {record.index for record in live(there.facts())})
            if not made:
                return ""
            if self._is_in_use(there, view, is_over=is_over):
                return self._remaining(made, "another process has changed it meanwhile")
            event = {"event": "remove", "indexes": made, "by": actor()}
            if self._target.append_after(there, event | {"moved_from": self._source.name}):
                return ""
        raise AssertionError("views has no end")

    def _is_in_use(self, there: View, view: View, *, is_over: bool) -> bool:
        """Return whether another process may rely on what this call has put into the new log.

        A call that renames the same cannot succeed any more once the old log has no version, as
        long as that log has not grown: its last step would follow an older record. Until then it
        can, unless it has taken its part back.
        """
        ids = {event["write_id"] for event in view.backwards()} | self._written
        others = [e for e in _after(there, self._target_began) if e["write_id"] not in ids]
        same = [event for event in others if event.get("moved_from") == self._source.name]
        if len(same) < len(others):
            return True
        if is_over:  # read after the new log
            return any(True for _ in _after(self._source.view(), view.head))
        return any(event["event"] != "remove" for event in same)

    def _remaining(self, indexes: list[int], reason: str) -> str:
        new = self._target.name
        return (
            f" {new} keeps copies of {some(f'v{index}' for index in indexes)}: {reason}. To remove "
            f"one: kept rm {new}:v{indexes[0]}"
        )


def _after(view: View, number: int) -> Iterator[Event]:
    """Yield the events after a record, the newest first, except fences."""
    newer = itertools.takewhile(lambda event: event["number"] > number, view.backwards())
    return (event for event in newer if not is_fence(event))


def _counts(event: Event) -> bool:
    """Return whether an event belongs to the history of the versions, not to a renaming."""
    return not is_fence(event) and "moved_to" not in event and "moved_from" not in event


def _as_now(event: Event, versions: Iterable[int]) -> Event:
    """Return an event for the new log, in which no version appears that is deleted by now."""
    event = {key: value for key, value in event.items() if key not in _OWN}
    kind = event["event"]
    if kind == "version" and event["index"] not in versions:
        return event | {"deleted": True}
    if kind == "undelete" and event["index"] not in versions:
        return event | {"event": "alias", "aliases": {}}
    if kind == "restore":
        return event | {"indexes": [index for index in event["indexes"] if index in versions]}
    return event


class _Seen:
    """What the new log has."""

    def __init__(self, old: _Old) -> None:
        self.ids: set[str] = set()  # write_ids
        self._old = old
        self._head = 0  # the record up to which this is complete
        self._foreign: set[int] = set()  # versions that do not come from the old log
        self._newest = -1  # version

    def learn(self, view: View) -> None:
        """Read what is new in a view."""
        for event in itertools.takewhile(lambda e: e["number"] > self._head, view.backwards()):
            self.ids.add(event["write_id"])
            if event["event"] == "version":
                self._newest = max(self._newest, event["index"])
                if event["write_id"] not in self._old.ids:
                    self._foreign.add(event["index"])
        self._head = view.head

    def check(self, view: View, index: int | None = None) -> None:
        """Raise InvalidName if the new name has a version of another origin, removed or not.

        So it does if a version with this number cannot follow.
        """
        if not self._foreign and (index is None or index > self._newest):
            return
        found = [record.index for record in live(view.facts())][::-1]
        old, new = self._old.name, view.log.name
        which = "exists already" if found else "was removed, and its numbers of versions are taken"
        example = f"{old}:v{min(self._old.versions)}"
        text = (
            f"The artifact {new} {which}. {old} stays as it is. Choose another name, or copy "
            f"single versions there: kept cp {example} {new}."
        )
        copies = [i for i in found if i not in self._foreign and i in self._old.versions]
        if copies:
            text += (
                f" {new} also has copies of {some(f'v{i}' for i in copies)} of {old}, because a "
                f"rename did not end. To remove one: kept rm {new}:v{copies[0]}."
            )
        raise InvalidName(f"{text} Received: {new!r}")


class _Writer:
    """Appends to the new log, each event once, also if another process renames the same."""

    def __init__(self, fence: WriteFence, target: Log, old: _Old, content: ContentCopy) -> None:
        self.made: set[int] = set()  # versions that exist by what was appended
        self.written: set[str] = set()  # write_ids of what was appended
        self._fence, self._target, self._old, self._content = fence, target, old, content
        self._view = fence.view
        self._seen = _Seen(old)
        self._seen.learn(self._view)
        content.forget()

    def add(self, event: Event) -> None:
        """Append an event of the old log unless the new one has it; raises InvalidName."""
        while event["write_id"] not in self._seen.ids:
            self._seen.check(self._view, event["index"] if event["event"] == "version" else None)
            self._append(_as_now(event, self._old.versions))

    def arrive(self) -> None:
        """Append a record behind which all versions of the old log exist; raises InvalidName."""
        while True:
            now = {record.index for record in live(self._view.facts())}
            event: Event = {"event": "alias", "aliases": {}}
            if missing := sorted(self._old.versions.keys() - now):
                self._seen.check(self._view)
                event = {"event": "restore", "indexes": missing}
            if self._append(event | {"moved_from": self._old.name, "by": actor()}):
                return

    def _append(self, event: Event) -> bool:
        """Try to append an event directly after what was read; return whether that succeeded."""
        named = event.get("indexes", (event.get("index"),))
        is_shown = event["event"] in ("version", "undelete", "restore")
        shown = [index for index in named if is_shown and index in self._old.versions]
        for index in shown:
            self._keep_content(self._old.versions[index])
        self._fence.check(self._view)
        self._fence = replace(self._fence, view=self._view)  # the next check begins here
        recorded = self._target.append_after(self._view, event)
        if recorded is not None:
            self.made.update(shown)
            self.written.add(recorded["write_id"])
        known = self._target.known if recorded is not None else None
        self._view = known or self._target.view(taken=self._view.head + 1)
        self._seen.learn(self._view)
        return recorded is not None

    def _keep_content(self, record: VersionRecord) -> None:
        """Note for a gc that one more version needs the content; a damaged one stays damaged."""
        try:
            self._content.copy(record, self._fence.condemned, Transfer(record.size, None))
        except Damaged:
            return
