"""What the mirrors of an artifact have, and whether they still have it.

A receipt is from the past: the mirror may have been emptied, replaced or restored from an older
copy since. So each mirror is asked before a version is deleted that stays only because a mirror
lacks it. That is one request for each mirror, for its record that was the newest one; all mirrors
are asked at the same time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from kept.bucket.location import is_remote
from kept.bucket.memory import MemoryBucket
from kept.bucket.open import bucket_at
from kept.errors import Damaged, KeptError
from kept.parallel import mapped
from kept.store.log.records import Records
from kept.store.retention.policy import Mirrored, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.bucket.base import Bucket
    from kept.store.log.history import VersionRecord
    from kept.store.receipts import Receipt
    from kept.store.retention.keep import Keep
    from kept.store.retention.policy import Decision, Sizes

_UNASKED = Mirrored(-1, "a mirror has to confirm it, and was not asked")
_in_memory: WeakValueDictionary[str, MemoryBucket] = WeakValueDictionary()


def remember_mirror(bucket: Bucket) -> None:
    """Note the bucket of a mirror: one in memory cannot be opened by its location."""
    if isinstance(bucket, MemoryBucket):
        _in_memory[bucket.location] = bucket


def decide_now(
    versions: Sequence[VersionRecord],
    keep: Keep | None,
    receipts: Sequence[Receipt],
    sizes: Sizes | None = None,
    *,
    waits: bool = True,
) -> list[Decision]:
    """Decide as decide does, by the receipts of the artifact; ask mirrors before a deletion.

    If the caller may not wait for a server, a mirror in object storage is not asked, and confirms
    nothing.
    """
    now = datetime.now(UTC)
    confirmed = min((Mirrored(receipt.version) for receipt in receipts), default=None)
    decisions = decide(versions, keep, now, confirmed, sizes)
    if confirmed is None or all(decision.keep for decision in decisions):
        return decisions
    if not waits and any(is_remote(receipt.destination) for receipt in receipts):
        return decide(versions, keep, now, _UNASKED, sizes)
    return decide(versions, keep, now, min(mapped(_asked, receipts, len(receipts))), sizes)


def _asked(receipt: Receipt) -> Mirrored:
    if receipt.version < 0:
        return Mirrored(-1)
    problem = _problem(receipt)
    if problem is None:
        return Mirrored(receipt.version)
    return Mirrored(-1, f"not confirmed by the mirror {receipt.destination}: {problem}")


def _problem(receipt: Receipt) -> str | None:
    """Return why a mirror does not confirm its receipt, None if it does."""
    head = receipt.mirror
    if head is None:
        return "its receipt is of an earlier kept; run kept sync"
    try:
        place = receipt.destination
        records = Records(_in_memory.get(place) or bucket_at(place), receipt.artifact)
        found = records.read(head.number)
    except Damaged:  # or missing
        return f"it was emptied or restored: record {head.number} cannot be read; run kept sync"
    except (KeptError, OSError) as error:
        return str(error)
    if found["write_id"] != head.write_id:
        return f"it was replaced: record {head.number} is another one; run kept sync"
    return None
