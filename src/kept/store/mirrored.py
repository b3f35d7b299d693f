"""What mirrors have confirmed, for those who may only delete what is elsewhere, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import Damaged, KeyNotFound
from kept.store.encoding import parse

if TYPE_CHECKING:
    from kept.bucket.base import Bucket

_RECEIPTS = "outbox/"


def mirrored_up_to(bucket: Bucket, name: str) -> int | None:
    """Return the newest version of an artifact that each of its mirrors has confirmed.

    -1 is none of them; None means that the artifact has no mirror.
    """
    ends = f"/{name}.json"
    found = [_confirmed(bucket, key) for key in bucket.keys(_RECEIPTS) if key.endswith(ends)]
    return min((version for version in found if version is not None), default=None)


def _confirmed(bucket: Bucket, key: str) -> int | None:
    try:
        return int(parse(bucket.get(key), key)["version"])
    except KeyNotFound:  # taken away since it was listed
        return None
    except (Damaged, LookupError, TypeError, ValueError):
        return -1  # a receipt that cannot be read confirms nothing
