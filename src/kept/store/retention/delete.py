"""Deletes versions by name or by retention, and undeletes them: only events, no bytes.

gc deletes the bytes later, so each deletion can be undone until then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from kept.errors import Damaged, VersionGone, VersionInUse, VersionNotFound
from kept.names import is_automatic
from kept.parallel import mapped
from kept.store.blobs.blob import blob_key
from kept.store.content.manifest import manifest_key
from kept.store.content.put_manifest import put_manifest
from kept.store.content.read_manifest import read_manifest, read_with_bytes
from kept.store.log.fence import WriteFence, with_write_fence
from kept.store.log.history import VersionRecord, live, version_records
from kept.store.log.lookup import new_name_of
from kept.store.origin.actor import actor
from kept.store.promotion.protected import check_deletable
from kept.store.rank.follow import follow
from kept.store.rank.live import live_at
from kept.store.receipts import receipts_of
from kept.store.retention.mirrored import decide_now

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kept.bucket.base import Bucket
    from kept.store.log.events import Event
    from kept.store.log.log import Log, View
    from kept.store.retention.keep import Keep
    from kept.store.retention.policy import Decision

_MOST_FAILURES = 50  # attempts in a row in which other writers are faster
_BUSY = "other writers were faster: prune again to delete it"
_MOST_CHUNKS = 100_000  # that are remembered for a budget; 20 MB


def delete(log: Log, index: int, *, force: bool) -> None:
    """Delete a version that is not deleted yet; see Store.delete.

    Raises VersionInUse, or AliasProtected also with force.
    """
    with log.bucket.spending_reserve():  # a record frees no room, but the gc after it does
        for view in log.views():
            now = next((r for r in live(view.facts()) if r.index == index), None)
            if now is None:
                return  # another writer was faster
            check_deletable(log.bucket, log.name, now)
            own = [alias for alias in now.aliases if not is_automatic(alias)]
            if own and not force:
                raise VersionInUse(
                    f"{log.name}:v{index} has the aliases {', '.join(own)}. Remove them, or pass "
                    "--force (in Python: force=True)."
                )
            if log.append_after(view, {"event": "delete", "index": index, "by": actor()}):
                follow(log)
                return


def undelete(log: Log, index: int) -> None:
    """Take the deletion of a version back; raises VersionGone.

    Raises VersionNotFound if it was not deleted, but is in another artifact since a rename.
    """

    def build(fence: WriteFence) -> None:
        found = (r for r in version_records(fence.view.facts()) if r.index == index)
        record = next(found, None)
        if record is None or not record.deleted:
            return
        _check_not_moved(fence.view, index)
        check_content(log, record, fence.condemned)
        for view in log.views(fence.view):
            _check_not_moved(view, index)
            fence.check(view)
            if log.append_after(view, {"event": "undelete", "index": index, "by": actor()}):
                return

    with_write_fence(log, build)
    follow(log)


def _check_not_moved(view: View, index: int) -> None:
    if new := new_name_of(view, index):
        old = view.log.name
        raise VersionNotFound(
            f"{old}:v{index} was not deleted: {old} was renamed to {new}, so it is {new}:v{index}. "
            f"To take that back: kept mv {new} {old}"
        )


def prune(
    log: Log, keep: Keep | None, view: View | None = None, *, waits: bool = True
) -> list[Decision]:
    """Delete the versions that plan_prune decides to delete; return all decisions.

    It decides once, on the given view or the log as it is now. If another writer changes the
    artifact meanwhile, it looks again, and only drops deletions: so a version that just got an
    alias stays, and the call ends however fast others write. See decide_now for waits.
    """
    view = view or log.view()
    decided = {d.record.index: d for d in plan_prune(view, keep, waits=waits)}
    doomed = [index for index, decision in decided.items() if not decision.keep]
    failures = 0
    with log.bucket.spending_reserve():  # a record frees no room, but the gc after it does
        while doomed and failures < _MOST_FAILURES:
            head = view.head
            if log.append_after(view, _deletion(decided[doomed[0]])):
                del doomed[0]
                head, failures = head + 1, 0
            else:
                failures += 1
            view = log.view() if doomed else view
            if doomed and view.head != head:
                doomed = _still_doomed(doomed, decided, plan_prune(view, keep, waits=waits))
    for index in doomed:
        decided[index] = replace(decided[index], keep=True, reasons=(_BUSY,))
    return list(decided.values())


def _deletion(decision: Decision) -> Event:
    reason = ", ".join(decision.reasons)
    return {
        "event": "delete",
        "index": decision.record.index,
        "reason": reason,
        "by": actor(),
    }


def _still_doomed(
    doomed: list[int], decided: dict[int, Decision], again: list[Decision]
) -> list[int]:
    """Return the versions that a newer decision deletes, too; note in decided why others stay."""
    now = {decision.record.index: decision for decision in again}
    for index in doomed:
        if index not in now:
            del decided[index]  # another process has deleted it
        elif now[index].keep:
            decided[index] = now[index]
    return [index for index in doomed if index in now and not now[index].keep]


def plan_prune(view: View, keep: Keep | None, *, waits: bool = True) -> list[Decision]:
    """Decide for each version, oldest first, by keep, or without it by expiry alone.

    The first decision about a log reads all of it, later ones in this process read what is new. If
    a version would be deleted, the mirrors are asked whether they still have what they confirmed;
    see decide_now for waits. Raises Damaged if a budget needs a manifest that cannot be read.
    """
    log = view.log
    known = _known.setdefault(log, _Known())
    sizes = ChunkSizes(log.bucket, known.sizes)
    receipts = receipts_of(log.bucket, log.name)
    decisions = decide_now(live_at(view), keep, receipts, sizes, waits=waits)
    known.sizes = sizes.used if sum(map(len, sizes.used.values())) <= _MOST_CHUNKS else {}
    return decisions


class ChunkSizes:
    """Looks up the chunks of versions in their manifests, or in what is known of them."""

    def __init__(self, bucket: Bucket, known: Mapping[str, Mapping[str, int]]) -> None:
        """Take the chunks that are known, by the name of the manifest."""
        self._bucket, self._known = bucket, known
        self.used: dict[str, Mapping[str, int]] = {}

    def of(self, record: VersionRecord) -> Mapping[str, int]:
        """Return the chunks of a version and their sizes in bytes; raises Damaged."""
        found = self.used.get(record.manifest, self._known.get(record.manifest))
        if found is None:
            found = {c.digest: c.size for c in read_manifest(self._bucket, record).chunks()}
        self.used[record.manifest] = found
        return found


class _Known:
    """What the last decision about a log has read."""

    def __init__(self) -> None:
        self.sizes: dict[str, Mapping[str, int]] = {}


_known: WeakKeyDictionary[Log, _Known] = WeakKeyDictionary()


def check_content(
    log: Log, record: VersionRecord, condemned: frozenset[str], present: Collection[str] = ()
) -> set[str]:
    """Raise VersionGone unless everything that a version needs exists, and stays.

    Returns the keys of its blobs. Pass those that are known to be present: they are not asked for.
    """
    gone = VersionGone(
        f"{log.name}:v{record.index} was deleted on {record.deleted_at}, and gc has removed its "
        "content."
    )
    key = manifest_key(record.manifest)
    if key in condemned or log.bucket.size(key) is None:
        raise gone
    try:
        manifest, stored = read_with_bytes(log.bucket, record)
        blobs = {blob_key(chunk.blob) for chunk in manifest.chunks()}
    except Damaged:
        if log.bucket.size(key) is None:  # a gc is deleting right now
            raise gone from None
        raise
    asked = sorted(blobs.difference(present))
    sizes = mapped(log.bucket.size, asked, log.bucket.concurrency)
    if blobs & condemned or None in list(sizes):
        raise gone
    # A gc of another artifact reads no logs: it sees by this that a version needs the content.
    put_manifest(log.bucket, record.manifest, bytes(stored))
    return blobs
