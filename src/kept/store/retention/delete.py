"""Deleting versions by name or by retention, and taking that back: events, no bytes.

The bytes go later, by gc, so until then each deletion can be taken back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.errors import Damaged, VersionGone, VersionInUse
from kept.names import LATEST
from kept.parallel import mapped
from kept.store.blobs.blob import blob_key
from kept.store.content.manifest import manifest_key, read_manifest
from kept.store.log.fence import WriteFence, with_write_fence
from kept.store.log.history import VersionRecord, live, version_records
from kept.store.receipts import mirrored_up_to
from kept.store.retention.policy import Decision, decide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.bucket.base import Bucket
    from kept.store.log.log import Event, Log, View
    from kept.store.retention.keep import Keep

_AT_ONCE = 8  # questions to object storage


def delete(log: Log, name: str, index: int, *, force: bool) -> None:
    """Delete a version that is not deleted yet; raises VersionInUse, see Store.delete."""

    def make(view: View) -> Event | None:
        now = next((e for e in live(view.backwards()) if e.index == index), None)
        if now is None:
            return None  # somebody else was faster
        own = [alias for alias in now.aliases if alias != LATEST]
        if own and not force:
            raise VersionInUse(
                f"{name}:v{index} has the aliases {', '.join(own)}. Remove them, or force "
                "the deletion."
            )
        return {"event": "delete", "index": index}

    log.append(make)


def undelete(bucket: Bucket, name: str, log: Log, index: int) -> None:
    """Take the deletion of a version back; raises VersionGone."""

    def build(fence: WriteFence) -> None:
        record = next(
            (e for e in version_records(fence.view.backwards()) if e.index == index), None
        )
        if record is None or not record.deleted:
            return
        _check_content(bucket, name, record, fence.condemned)

        def make(view: View) -> Event:
            fence.check(view)
            return {"event": "undelete", "index": index}

        log.append(make, fence.view)

    with_write_fence(bucket, name, log, build)


def prune(bucket: Bucket, name: str, log: Log, keep: Keep | None) -> list[Decision]:
    """Delete the versions that plan_prune says; return what was decided.

    Where others change the artifact meanwhile it is decided again, so what was just given an alias
    stays.
    """
    done: dict[int, Decision] = {}
    while True:
        view = log.view()
        decisions = plan_prune(bucket, name, view, keep)
        due = [decision for decision in decisions if not decision.keep]
        if _delete_all(log, view.head, due, done):
            return sorted([*done.values(), *(d for d in decisions if d.keep)],
                          key=lambda decision: decision.record.index)  # fmt: skip


def plan_prune(bucket: Bucket, name: str, view: View, keep: Keep | None) -> list[Decision]:
    """Return what becomes of each version, oldest first: by keep, or without it by expiry alone.

    Raises Damaged where a budget needs a manifest that cannot be read.
    """

    def content(record: VersionRecord) -> Mapping[str, int]:
        return {chunk.digest: chunk.size for chunk in read_manifest(bucket, record).chunks()}

    versions = list(live(view.backwards()))[::-1]
    mirrored = mirrored_up_to(bucket, name)
    return decide(versions, keep, datetime.now(UTC), mirrored, content)


class _Moved(Exception):
    """Somebody else has changed the artifact since it was decided what is to be deleted."""


def _delete_all(log: Log, head: int, due: list[Decision], done: dict[int, Decision]) -> bool:
    """Delete what is due while the log is as it was; return whether that was all."""
    for decision in due:
        event: Event = {
            "event": "delete",
            "index": decision.record.index,
            "reason": ", ".join(decision.reasons),
        }

        def make(view: View, event: Event = event, expected: int = head) -> Event:
            if view.head != expected:
                raise _Moved
            return event

        try:
            log.append(make)
        except _Moved:
            return False
        done[decision.record.index] = decision
        head += 1
    return True


def _check_content(
    bucket: Bucket, name: str, record: VersionRecord, condemned: frozenset[str]
) -> None:
    """Raise VersionGone unless all that a version needs is there, and stays."""
    gone = VersionGone(
        f"{name}:v{record.index} was deleted on {record.deleted_at}, and gc has removed its content."
    )
    key = manifest_key(record.manifest)
    if key in condemned or bucket.size(key) is None:
        raise gone
    try:
        blobs = {blob_key(chunk.blob) for chunk in read_manifest(bucket, record).chunks()}
    except Damaged:  # a gc that is at work right now, or what verify would have told
        raise gone from None
    sizes = mapped(bucket.size, sorted(blobs), _AT_ONCE if bucket.is_remote else 1)
    if blobs & condemned or None in list(sizes):
        raise gone
