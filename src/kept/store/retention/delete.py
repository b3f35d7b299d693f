"""Deletes versions by name or by retention, and undeletes them: only events, no bytes.

gc deletes the bytes later, so each deletion can be undone until then.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.errors import Damaged, VersionGone, VersionInUse
from kept.names import LATEST
from kept.parallel import mapped
from kept.store.blobs.blob import blob_key
from kept.store.content.manifest import manifest_key
from kept.store.content.read_manifest import read_manifest
from kept.store.log.fence import WriteFence, with_write_fence
from kept.store.log.history import VersionRecord, live, version_records
from kept.store.receipts import mirrored_up_to
from kept.store.retention.policy import Decision, decide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.bucket.base import Bucket
    from kept.store.log.log import Log, View
    from kept.store.retention.keep import Keep


def delete(log: Log, index: int, *, force: bool) -> None:
    """Delete a version that is not deleted yet; raises VersionInUse, see Store.delete."""
    with log.bucket.spending_reserve():  # a record frees no room, but the gc after it does
        for view in log.views():
            now = next((r for r in live(view.items()) if r.index == index), None)
            if now is None:
                return  # another writer was faster
            own = [alias for alias in now.aliases if alias != LATEST]
            if own and not force:
                raise VersionInUse(
                    f"{log.name}:v{index} has the aliases {', '.join(own)}. Remove them, or force "
                    "the deletion."
                )
            if log.append_after(view, {"event": "delete", "index": index}):
                return


def undelete(log: Log, index: int) -> None:
    """Take the deletion of a version back; raises VersionGone."""

    def build(fence: WriteFence) -> None:
        found = (r for r in version_records(fence.view.items()) if r.index == index)
        record = next(found, None)
        if record is None or not record.deleted:
            return
        _check_content(log, record, fence.condemned)
        for view in log.views(fence.view):
            fence.check(view)
            if log.append_after(view, {"event": "undelete", "index": index}):
                return

    with_write_fence(log, build)


def prune(log: Log, keep: Keep | None) -> list[Decision]:
    """Delete the versions that plan_prune decides to delete; return all decisions.

    If other writers change the artifact meanwhile, it decides again. So a version that just got an
    alias stays.
    """
    done: dict[int, Decision] = {}
    with log.bucket.spending_reserve():
        while True:
            view = log.view()
            decisions = plan_prune(view, keep)
            if _delete_all(view, [d for d in decisions if not d.keep], done):
                break
    every = [*done.values(), *(d for d in decisions if d.keep)]
    return sorted(every, key=lambda decision: decision.record.index)


def plan_prune(view: View, keep: Keep | None) -> list[Decision]:
    """Decide for each version, oldest first, by keep, or without it by expiry alone.

    Raises Damaged if a budget needs a manifest that cannot be read.
    """
    versions = list(live(view.items()))[::-1]
    bucket = view.log.bucket
    mirrored = mirrored_up_to(bucket, view.log.name)
    return decide(versions, keep, datetime.now(UTC), mirrored, ChunkSizes(bucket))


class ChunkSizes:
    """Looks up the chunks of versions in their manifests."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def of(self, record: VersionRecord) -> Mapping[str, int]:
        """Return the chunks of a version and their sizes in bytes; raises Damaged."""
        return {c.digest: c.size for c in read_manifest(self._bucket, record).chunks()}


def _delete_all(view: View, unkept: list[Decision], done: dict[int, Decision]) -> bool:
    """Delete versions while no other writer changes the log; return whether all are deleted."""
    head, log = view.head, view.log
    for decision in unkept:
        view = log.view()
        event = {
            "event": "delete",
            "index": decision.record.index,
            "reason": ", ".join(decision.reasons),
        }
        if view.head != head or not log.append_after(view, event):
            return False
        done[decision.record.index] = decision
        head += 1
    return True


def _check_content(log: Log, record: VersionRecord, condemned: frozenset[str]) -> None:
    """Raise VersionGone unless everything that a version needs exists, and stays."""
    gone = VersionGone(
        f"{log.name}:v{record.index} was deleted on {record.deleted_at}, and gc has removed its "
        "content."
    )
    key = manifest_key(record.manifest)
    if key in condemned or log.bucket.size(key) is None:
        raise gone
    try:
        blobs = {blob_key(chunk.blob) for chunk in read_manifest(log.bucket, record).chunks()}
    except Damaged:
        if log.bucket.size(key) is None:  # a gc is deleting right now
            raise gone from None
        raise
    sizes = mapped(log.bucket.size, sorted(blobs), log.bucket.concurrency)
    if blobs & condemned or None in list(sizes):
        raise gone
