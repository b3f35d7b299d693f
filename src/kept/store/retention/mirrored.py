"""What the mirrors of an artifact have, and whether they still have it.

A receipt is from the past: the mirror may have been emptied, replaced or restored from an older
copy since. So each mirror is asked before a version is deleted that stays only because a mirror
lacks it. That is one request for each mirror, for its record that was the newest one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.bucket.open import bucket_at
from kept.errors import Damaged, KeptError
from kept.store.log.records import Records
from kept.store.retention.policy import Mirrored, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.log.history import VersionRecord
    from kept.store.receipts import Receipt
    from kept.store.retention.keep import Keep
    from kept.store.retention.policy import Decision, Sizes


def decide_now(
    versions: Sequence[VersionRecord],
    keep: Keep | None,
    receipts: Sequence[Receipt],
    sizes: Sizes | None = None,
) -> list[Decision]:
    """Decide as decide does, by the receipts of the artifact; ask mirrors before a deletion."""
    now = datetime.now(UTC)
    confirmed = min((Mirrored(receipt.version) for receipt in receipts), default=None)
    decisions = decide(versions, keep, now, confirmed, sizes)
    if confirmed is None or all(decision.keep for decision in decisions):
        return decisions
    return decide(versions, keep, now, min(map(_asked, receipts)), sizes)


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
        records = Records(bucket_at(receipt.destination), receipt.artifact)
        found = records.read(head.number)
    except Damaged:  # or missing
        return f"it was emptied or restored: record {head.number} cannot be read; run kept sync"
    except (KeptError, OSError) as error:
        return str(error)
    if found["write_id"] != head.write_id:
        return f"it was replaced: record {head.number} is another one; run kept sync"
    return None
