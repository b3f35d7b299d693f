"""The list of one gc: it names the keys that this gc is about to delete.

Another gc removes the list of a killed one: at once if the process is known to be gone, otherwise
if the list is older than ABANDONED. So a living gc writes its list again long before that, and
stops if it could not.
"""

from __future__ import annotations

import contextlib
import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from kept.errors import Damaged, KeptError
from kept.store.blobs.blob import blob_key
from kept.store.gc.owner import is_gone, this_process
from kept.store.log.fence import (
    LISTS,
    encode_list,
    is_of_gc,
    marked_blob,
    owner_of,
    round_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.bucket.base import Bucket

ABANDONED = timedelta(hours=1)  # an older list counts as that of a killed gc
_RENEW = timedelta(minutes=10)  # a living gc writes its list again after this
_LOOKS = 6  # at the lists, if the own one is missing
_PAUSE = 0.1  # seconds before the second look; each further pause is twice as long
_LATE = 10.0  # seconds in which a server has executed the last request of a process that is gone


class OwnList:
    """The list of this gc."""

    def __init__(self, bucket: Bucket) -> None:
        self.id = os.urandom(16).hex()
        self.key = f"{LISTS}{self.id}.json"
        self._bucket, self._owner = bucket, this_process()
        self._keys: tuple[str, ...] = ()
        self._written = _Moment()

    def write(self, keys: Iterable[str]) -> None:
        """Store the list."""
        self._keys, moment = tuple(keys), _Moment()
        self._bucket.put(self.key, [encode_list(self._keys, self._owner)])
        self._written = moment

    def all_keys(self) -> dict[str, float]:
        """Return when each list, mark of a damaged blob, and round was stored, by its key.

        Raises Damaged if the bucket does not list the own one: then its other lists lack keys, too.
        """
        for look in range(_LOOKS):
            found = {i.key: i.stored for i in self._bucket.items(LISTS) if is_of_gc(i.key)}
            if self.key in found:
                return found
            time.sleep(_PAUSE * 2**look)
        raise Damaged(
            f"{self._bucket.location}: a list of the keys below {LISTS} lacks {self.key}, which "
            "this gc has just stored. Lists of this place are old or incomplete, so the gc deletes "
            "nothing. Run it again later; if that repeats, look for a cache before the bucket."
        )

    def check(self) -> None:
        """Renew the list if it gets old; raises KeptError if another gc may have removed it."""
        age = self._written.age()
        if age >= ABANDONED.total_seconds() or self._bucket.size(self.key) is None:
            raise KeptError(
                "Another gc took this one for killed, because it stood still for "
                f"{ABANDONED.total_seconds() / 60:.0f} minutes, or removed its list. Some unneeded "
                "bytes are left: run kept gc again."
            )
        if age >= _RENEW.total_seconds():
            self.write(self._keys)

    def remove(self) -> None:
        """Delete the list."""
        self._bucket.delete(self.key)


class Others:
    """The lists of killed gcs, and marks of blobs that are whole again: this gc removes them."""

    def __init__(self, bucket: Bucket, stored: dict[str, float], own: str, limit: float) -> None:
        """Take when each key below gc/ was stored, the own one, and the age of an abandoned one."""
        self._bucket, self._since = bucket, time.monotonic()
        lists = {k: v for k, v in stored.items() if k != own and round_of(k) is None}
        oldest = stored[own] - limit
        self._old = [k for k, v in lists.items() if v < oldest and not self._is_missing(k)]
        others = (k for k in lists if marked_blob(k) is None and k not in self._old)
        self._of_gone = [key for key in others if is_gone(owner_of(bucket, key))]

    def remove(self) -> None:
        """Remove them. One that cannot be removed does no harm: a later gc removes it."""
        if self._of_gone and self._bucket.is_remote:  # the last request of such a process is over
            time.sleep(max(0.0, self._since + _LATE - time.monotonic()))
        for key in (*self._old, *self._of_gone):
            with contextlib.suppress(OSError, KeptError):
                self._bucket.delete(key)

    def _is_missing(self, key: str) -> bool:
        """Return whether a key marks a blob as damaged, and no writer has stored the blob since."""
        blob = marked_blob(key)
        return blob is not None and self._bucket.size(blob_key(blob)) is None


class _Moment:
    """A moment, by the two clocks of this machine: one of them stops while the machine sleeps."""

    def __init__(self) -> None:
        self._moment = time.monotonic(), time.time()

    def age(self) -> float:
        """Return the seconds since then, by the clock that has counted more."""
        return max(time.monotonic() - self._moment[0], time.time() - self._moment[1])
