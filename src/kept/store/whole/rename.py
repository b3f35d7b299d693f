"""Renames an artifact: its events are replayed under the new name, and no byte moves.

An event keeps its write_id. So nothing records what is left to do: it is what the new log lacks,
also after a kill. The last step is one record in the old log that removes its versions and names
the new one. It follows the last event that was replayed, so no version of another writer is lost.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from kept.bucket.transfer import Transfer
from kept.errors import AliasProtected, ArtifactNotFound, Damaged, InvalidName
from kept.names import check_name
from kept.store.format_marker import known_id
from kept.store.log.events import certain, is_fence
from kept.store.log.fence import WriteFence, with_write_fence
from kept.store.log.history import VersionRecord, live, version_records
from kept.store.log.lookup import moved_to, view_of
from kept.store.origin.actor import actor
from kept.store.promotion.protected import protected_among
from kept.store.receipts import Receipts, receipts_of
from kept.store.whole.copy_content import ContentCopy
from kept.store.whole.rules import own_aliases, protected

if TYPE_CHECKING:
    from kept.bucket.transfer import Progress
    from kept.store.log.events import Event
    from kept.store.log.log import Log, Logs, View

_OWN = ("number", "previous", "replaces", "artifact")  # of the old log


def rename(logs: Logs, old: str, new: str, progress: Progress | None = None) -> int:
    """Rename an artifact; return the number of its versions. See Store.rename.

    progress is called with the events done and in all.
    """
    if check_name(old) == check_name(new):
        raise InvalidName(f"The new name of an artifact is another one. Received: {new!r}")
    source, target = view_of(logs, old).log, logs.of(new)
    replayed = False
    for view in source.views():
        view.check()
        versions = {record.index: record for record in live(view.facts())}
        if not versions:
            if replayed:  # another process was faster to rename it, or has removed it
                _take_back(view, target)
            raise ArtifactNotFound(_nothing_left(view))
        _check_aliases(view, versions)
        _check_target(view, target.view())
        _replay(view, versions, target, progress)
        replayed = True
        event = {"event": "remove", "indexes": sorted(versions), "moved_to": new, "by": actor()}
        if source.append_after(view, event):
            return len(versions)
    raise AssertionError("views has no end")


def _nothing_left(view: View) -> str:
    name, new = view.log.name, moved_to(view)
    if new is not None:
        return f"{name} was renamed already: its versions are in {new}."
    return f"{name} has no version that could be renamed: all were deleted."


def _check_aliases(view: View, versions: dict[int, VersionRecord]) -> None:
    aliases = own_aliases(alias for record in versions.values() for alias in record.aliases)
    if guarded := protected_among(view.log.bucket, aliases):
        raise AliasProtected(
            f"{view.log.name} is not renamed: {protected(guarded)}, and {view.log.name}:"
            f"{guarded[0]} would no longer exist. To end that: kept protect --remove {guarded[0]}"
        )


def _check_target(source: View, target: View) -> None:
    """Raise InvalidName if the new name has versions of its own, removed or not."""
    known = {event["write_id"] for event in source.backwards()}
    own = [e for e in target.backwards() if e["event"] == "version" and e["write_id"] not in known]
    if own:
        exists = next(live(target.facts()), None) is not None
        which = "exists already" if exists else "was removed, and its numbers of versions are taken"
        raise InvalidName(
            f"The artifact {target.log.name} {which}. Choose another name, or copy single versions "
            f"there: kept cp {source.log.name}:v0 {target.log.name}. Received: {target.log.name!r}"
        )


def _replay(
    view: View, versions: dict[int, VersionRecord], target: Log, progress: Progress | None
) -> None:
    """Bring the new log to the state of the old one."""
    bucket = view.log.bucket
    for receipt in receipts_of(bucket, view.log.name):
        if receipt.is_located:  # what mirrors the old name has to confirm the new one, too
            place = receipt.destination
            Receipts(bucket, place, known_id(view.log.logs.marker)).register(target.name)
    events = [event for event in view.backwards() if _counts(event)][::-1]
    content = ContentCopy(bucket, bucket)
    moved = _moved_before(view, target.name)

    def build(fence: WriteFence) -> None:
        writer = _Writer(fence, target, content)
        for done, event in enumerate(events):
            writer.add(_as_now(event, versions), versions)
            if progress:
                progress(done + 1, len(events))
        writer.align(versions, moved)

    with_write_fence(target, build)


def _take_back(view: View, target: Log) -> None:
    """Delete under the new name what was replayed in vain."""
    moved, content = _moved_before(view, target.name), ContentCopy(target.bucket, target.bucket)
    with_write_fence(target, lambda fence: _Writer(fence, target, content).align({}, moved))


def _moved_before(view: View, new: str) -> set[int]:
    """Return the versions that an earlier call has moved to the new name, which now has them."""
    times = {event["time"] for event in certain(view.facts()) if event.get("moved_to") == new}
    return {record.index for record in version_records(view.facts()) if record.deleted_at in times}


def _counts(event: Event) -> bool:
    return not is_fence(event) and "moved_to" not in event


def _as_now(event: Event, versions: dict[int, VersionRecord]) -> Event:
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


class _Writer:
    """Appends to the new log, each event once, also if another process renames the same."""

    def __init__(self, fence: WriteFence, target: Log, content: ContentCopy) -> None:
        self._fence, self._target, self._content = fence, target, content
        self._view = fence.view
        self._head = 0  # the record up to which _known is complete
        self._known: set[str] = set()  # write_ids
        content.forget()

    def add(self, event: Event, versions: dict[int, VersionRecord]) -> None:
        """Append an event unless the log has it."""
        self._learn()
        if event["write_id"] in self._known:
            return
        shown = {"version": [event.get("index")], "restore": event.get("indexes", ())}
        for index in shown.get(event["event"], ()):
            if index in versions:
                self._keep_content(versions[index])
        self._append(event)

    def align(self, versions: dict[int, VersionRecord], moved: set[int]) -> None:
        """Delete and restore versions, so that these exist; those moved before stay as they are."""
        now = {record.index for record in live(self._view.facts())}
        wrong, missing = sorted(now - versions.keys() - moved), sorted(versions.keys() - now)
        for index in missing:
            self._keep_content(versions[index])
        for kind, indexes in (("remove", wrong), ("restore", missing)):
            if indexes:
                self._append({"event": kind, "indexes": indexes, "by": actor()})

    def _keep_content(self, record: VersionRecord) -> None:
        """Note for a gc that one more version needs the content; a damaged one stays damaged."""
        try:
            self._content.copy(record, self._fence.condemned, Transfer(record.size, None))
        except Damaged:
            return

    def _learn(self) -> None:
        new = itertools.takewhile(lambda e: e["number"] > self._head, self._view.backwards())
        self._known.update(event["write_id"] for event in new)
        self._head = self._view.head

    def _append(self, event: Event) -> None:
        while event.get("write_id") not in self._known:
            self._fence.check(self._view)
            self._fence = replace(self._fence, view=self._view)  # the next check begins here
            _check_number(event, self._view)
            if self._target.append_after(self._view, event):
                self._view = self._target.known or self._target.view()
                return
            self._view = self._target.view(taken=self._view.head + 1)
            self._learn()


def _check_number(event: Event, view: View) -> None:
    """Raise InvalidName if another writer has given the new name a version meanwhile."""
    if event["event"] != "version":
        return
    newest = next(version_records(view.facts()), None)
    if newest is not None and newest.index >= event["index"]:
        raise InvalidName(
            f"Another process has logged versions to {view.log.name} meanwhile. The old name still "
            f"has all versions. Choose another name. Received: {view.log.name!r}"
        )
