"""Replays the log of an artifact from one store to another: its events, one by one, in order.

An event is the same in both stores if it has the same write_id. So nothing records what is left to
copy: it is what the source's log has and the target's lacks. So copying is idempotent, also for two
processes at once, and it continues after an interruption.

Invariant: blobs, then the manifest, then the record, as with any commit.
"""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from kept.bucket.transfer import Transfer
from kept.errors import ArtifactNotFound, Damaged, Diverged
from kept.store.format_marker import known_id
from kept.store.log.events import is_fence
from kept.store.log.fence import WriteFence, with_write_fence
from kept.store.log.history import VersionRecord, is_deleted, version_records
from kept.store.promotion.protected import protected_since
from kept.store.rank.follow import follow
from kept.store.receipts import MirrorHead, lost_end
from kept.store.retention.mirrored import remember_mirror
from kept.store.signing.signatures import copy_signatures
from kept.store.whole.copy_content import ContentCopy
from kept.sync.mirror.merge import Merge, facts, without

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kept.bucket.transfer import Progress
    from kept.store.log.events import Event
    from kept.store.log.log import Log, View
    from kept.store.receipts import Receipts
    from kept.store.store import Store
    from kept.sync.mirror.merge import Fact

_OWN = ("number", "previous", "replaces", "gc")  # of the source's log; a copy has its own


@dataclass(slots=True)
class Copied:
    """What a run has copied."""

    versions: int = 0
    changes: int = 0  # of aliases and deletions
    blobs: int = 0
    bytes: int = 0
    notes: tuple[str, ...] = ()  # changes of one store that yielded to the other's

    def __add__(self, other: Copied) -> Copied:
        return Copied(
            self.versions + other.versions,
            self.changes + other.changes,
            self.blobs + other.blobs,
            self.bytes + other.bytes,
            self.notes + other.notes,
        )


class _Replay(NamedTuple):
    """An event as the target will have it, and the versions whose content it needs there."""

    event: Event
    records: tuple[VersionRecord, ...]


class Sync:
    """Copies one artifact; a further run reads only what is new."""

    def __init__(self, source: Store, target: Store, name: str, copy: str | None = None) -> None:
        """Take the artifact's name, and the name of its copy if that is another one."""
        self._source, self._target, self._name = source, target, name
        self._copy = copy or name
        self._done = 0  # the source's record up to which the target has everything
        self._version = -1  # the newest version up to that record
        self._known: set[str] = set()  # write_ids in the target's log
        self._known_head = 0
        self._newest: Event | None = None  # in the target's log
        self._merge = Merge(source.location, target.location)
        self._notes: dict[Fact, str] = {}  # of this run
        self._signatures: set[str] = set()  # keys of those that the target has
        self._content = ContentCopy(source.bucket, target.bucket)

    def run(
        self,
        receipts: Receipts | None = None,
        progress: Progress | None = None,
        *,
        in_parts: bool = False,
    ) -> Copied:
        """Copy what the target lacks; confirm in the receipts each record that it has then.

        run calls progress with the copied and the total bytes, from any thread, one call at a time.
        Pass in_parts if a person watches (see Transfer).
        Raises ArtifactNotFound, Diverged, Damaged, or what either store raises. What was copied
        before stays, and the next run continues from there.
        """
        view = self._source_view(receipts)
        self._target.create()
        remember_mirror(self._target.bucket)
        self._learn(self._log().view())
        new = itertools.takewhile(lambda e: e["number"] > self._done, view.backwards())
        events = list(new)[::-1]
        missing = self._missing(events, _needed(events, view))
        if self._source.bucket is not self._target.bucket:  # otherwise nothing moves
            at_stake = self._merge.at_stake(replay.event for replay in missing.values())
            self._merge.guard(protected_since(self._target.bucket, at_stake))
        size = sum(record.size for replay in missing.values() for record in replay.records)
        transfer = Transfer(size, progress, in_parts=in_parts)
        copied = Copied()
        lost = self._revoke_lost(receipts, events, missing) if receipts and not self._done else ()
        self._notes = {}
        for event in events:
            replay = missing.get(event["write_id"])
            if replay is not None:
                copied += self._replay(replay, transfer)
            self._merge.passed(event)
            self._done = event["number"]
            if event["event"] == "version":
                self._version = event["index"]
            if receipts and (replay is not None or self._done == view.head):
                receipts.confirm(self._name, self._done, self._version, self._head())
        if any(replay.event["event"] in ("metrics", "rule") for replay in missing.values()):
            follow(self._log())  # both stores may have measured something
        self._copy_signatures()
        return replace(copied, notes=(*lost, *self._notes.values()))

    def _source_view(self, receipts: Receipts | None) -> View:
        view = self._source.log(self._name).view()
        if not view.head:
            raise ArtifactNotFound(f"No artifact {self._name!r} in {self._source.location}.")
        confirmed = receipts.receipt(self._name) if receipts and not self._done else None
        if confirmed and confirmed.record > view.head:
            raise Damaged(f"{self._name}: {lost_end(confirmed, view.head)}. Run kept repair.")
        return view

    def _revoke_lost(
        self, receipts: Receipts, events: list[Event], missing: Mapping[str, _Replay]
    ) -> tuple[str, ...]:
        """Revoke the receipts if the target lacks what it has confirmed; return a note of that."""
        confirmed = receipts.receipt(self._name)
        until = confirmed.record if confirmed else 0
        lost = sum(e["number"] <= until and e["write_id"] in missing for e in events)
        place, found = self._target.location, known_id(self._target.logs.marker)
        before = confirmed.mirror.store_id if confirmed and confirmed.mirror else ""
        if lost:
            note = f"{place} had lost {lost} of {until} records; they are copied again"
        elif before and found and before != found:
            note = f"{place} holds another store than before, with the id {found}, not {before}"
        else:
            return ()
        receipts.revoke()
        return (note,)

    def _head(self) -> MirrorHead | None:
        if self._newest is None:
            return None
        store_id = known_id(self._target.logs.marker)
        return MirrorHead(self._newest["number"], self._newest["write_id"], store_id)

    def _copy_signatures(self) -> None:
        if self._copy == self._name:  # a signature names the artifact
            buckets = self._source.bucket, self._target.bucket
            copy_signatures(*buckets, self._name, self._signatures)

    def _log(self) -> Log:
        return self._target.log(self._copy)

    def _learn(self, view: View) -> None:
        """Take the target's events that are new since the last call."""
        new = itertools.takewhile(lambda e: e["number"] > self._known_head, view.backwards())
        events = list(new)
        self._known.update(event["write_id"] for event in events)
        self._newest = next(iter(events), self._newest)
        self._merge.learn(events)
        if any(map(is_fence, events)):
            self._content.forget()
        self._known_head = view.head

    def _missing(self, events: list[Event], needed: dict[int, VersionRecord]) -> dict[str, _Replay]:
        """Return how to replay each event that the target lacks, by write_id.

        The source can have events of its own between events that both stores share: a user changed
        aliases of a mirror, and copies it back. Then the later, shared event takes precedence.
        """
        later: set[Fact] = set()
        found = {}
        for event in reversed(events):
            if event["write_id"] in self._known:
                later.update(facts(event))
                continue
            # The number belongs to the source, and so does the gc of a fence.
            rest = {k: v for k, v in without(event, later).items() if k not in _OWN}
            records = tuple(needed[i] for i in _shown_by(rest) if i in needed)
            gone = [i for i in _shown_by(rest) if i not in needed]
            found[event["write_id"]] = _Replay(_without_content(rest, gone), records)
        return found

    def _replay(self, replay: _Replay, transfer: Transfer) -> Copied:
        event, records = replay
        if not records:
            return self._append(event, self._log().view(), None)

        def build(fence: WriteFence) -> Copied:
            if self._has(event, fence.view):
                return Copied()
            shown = _shown_by(self._merge.settle(event).event)
            if not shown:
                return self._append(event, fence.view, fence)
            self._content.forget(fence.damaged)
            self._content.forget_after(fence.gcs)
            copied, gone = Copied(), []
            for record in records:
                if record.index not in shown:
                    continue
                try:
                    blobs, size = self._content.copy(record, fence.condemned, transfer)
                    copied += Copied(blobs=blobs, bytes=size)
                except Damaged:
                    now = self._source.log(self._name).view()
                    if not is_deleted(now.facts(), record.index):
                        raise
                    gone.append(record.index)
            return copied + self._append(_without_content(event, gone), fence.view, fence)

        return with_write_fence(self._log(), build)

    def _append(self, event: Event, view: View, fence: WriteFence | None) -> Copied:
        """Append what applies of the event, unless another process has appended it."""
        log = self._log()
        for newest in log.views(view):
            if fence:
                fence.check(newest)
            if self._has(event, newest):
                return Copied()
            settled = self._merge.settle(event)
            if recorded := log.append_after(newest, settled.event):
                self._newest = recorded
                break
        self._notes |= {note.subject: note.text for note in settled.notes}
        is_version = event["event"] == "version"
        return Copied(versions=int(is_version), changes=int(not is_version))

    def _has(self, event: Event, view: View) -> bool:
        """Return whether the target has the event; raises Diverged if it cannot follow."""
        self._learn(view)
        if event["write_id"] in self._known:
            return True
        newest = next(version_records(view.facts()), None)
        following = newest.index + 1 if newest else 0
        index = max([event.get("index", -1), *event.get("indexes", ())])
        is_version = event["event"] == "version"
        if index != following if is_version else index >= following:
            raise Diverged(self._divergence(following, index))
        return False

    def _divergence(self, expected: int, found: int) -> str:
        source, target = self._source.location, self._target.location
        sync = shlex.join(["kept", "sync", source, target, "--artifact", self._name])
        return (
            f"{self._copy} in {target} is not a copy of {self._name} in {source}: expected "
            f"v{expected} as its next version, found v{found}. Both stay as they are. To copy the "
            f"second one to another name: {sync} --as {self._name}-2. To continue with one of "
            f"them: {sync} --ours (that of {source}) or --theirs; the other one gets another name."
        )


def _without_content(event: Event, gone: Sequence[int]) -> Event:
    """Return an event for the target, if the source has no content of some of its versions.

    Such a version is deleted again, or a gc has freed it since the log was read.
    """
    if not gone:
        return event
    if event["event"] == "version":
        return event | {"deleted": True}
    return without(event, {("deleted", index) for index in gone})


def _shown_by(event: Event) -> list[int]:
    """Return the versions whose content readers can see because of an event."""
    if event["event"] in ("version", "undelete"):
        return [event["index"]]
    return list(event["indexes"]) if event["event"] == "restore" else []


def _needed(events: Iterable[Event], view: View) -> dict[int, VersionRecord]:
    """Return the versions whose content the events make visible, except those deleted again."""
    wanted = {index for event in events for index in _shown_by(event)}
    found = {}
    for record in version_records(view.facts()) if wanted else ():
        if record.index in wanted and not record.deleted:
            found[record.index] = record
        if record.index <= min(wanted):
            break
    return found
