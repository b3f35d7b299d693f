"""Whether a log has changed since it was read, without reading it.

In a folder, the stamp of a log is the time of its folder's last change, and no record after the
last one exists. A folder that was changed less than 2 seconds before its stamp was taken may
change again with the same time, so it gets no stamp. In object storage, the stamp is what a
listing says of the last record.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from kept.bucket.local import LocalBucket
from kept.store.log.overview import end_of
from kept.store.log.records import Records

if TYPE_CHECKING:
    from kept.bucket.base import Bucket
    from kept.store.log.log import Logs

_RACY = 2_000_000_000  # nanoseconds; the times of some file systems have whole, even seconds


def has_stamps(bucket: Bucket) -> bool:
    """Return whether the logs of a bucket have stamps; in memory they have none."""
    return bucket.is_remote or isinstance(bucket, LocalBucket)


def is_current(logs: Logs, name: str, stamp: str | None, head: int) -> bool:
    """Return whether a log is as it was when it had this stamp, and that number of records."""
    if stamp is None:
        return False
    if isinstance(logs.bucket, LocalBucket):
        return _changed(logs.bucket, name) == stamp and not _has_record(logs, name, head + 1)
    return head > 0 and stamp_of(logs, name, head) == stamp


def stamp_before(logs: Logs, name: str) -> str | None:
    """Return the stamp of a log that is about to be read; None in object storage."""
    if not isinstance(logs.bucket, LocalBucket):
        return None
    stamp = _changed(logs.bucket, name)
    is_racy = stamp is None or int(stamp) > time.time_ns() - _RACY
    return None if is_racy else stamp


def stamp_of(logs: Logs, name: str, head: int) -> str | None:
    """Return the stamp of a log in object storage, None if it has other records by now."""
    end = end_of(logs, name, head) if head else None
    return f"{end.size} {end.stored!r}" if end and end.record == head else None


def _changed(bucket: LocalBucket, name: str) -> str | None:
    try:
        return str(os.stat(os.path.join(bucket.root, "artifacts", name, "log")).st_mtime_ns)
    except OSError:
        return None


def _has_record(logs: Logs, name: str, number: int) -> bool:
    assert isinstance(logs.bucket, LocalBucket)
    return os.path.lexists(os.path.join(logs.bucket.root, Records(logs.bucket, name).key(number)))
