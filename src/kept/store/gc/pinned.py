"""The blobs that other blobs need as bases: only in a folder, where compaction makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.store.blobs.blob import bases_of, blob_key, stored_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.bucket.base import Bucket


class Bases:
    """The bases of all blobs of a bucket. Hold bases_lock from the first call to the last one."""

    def __init__(self, bucket: Bucket, ends: Mapping[str, int]) -> None:
        """Take the number of raw bytes of the blobs that are known, by key: these cost no read."""
        self._bucket, self._ends = bucket, ends
        self._of: dict[str, tuple[str, ...]] | None = None

    def below(self, doomed: set[str]) -> set[str]:
        """Return what the blobs that are not doomed need as bases; raises Unreadable."""
        if self._bucket.is_remote or not doomed:
            return set()
        if self._of is None:
            self._of = self._read()
        return {base for key, bases in self._of.items() if key not in doomed for base in bases}

    def _read(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for item in self._bucket.items("blobs/"):
            # A blob of this length is raw (coded forms are shorter), so it has no base.
            if item.size != stored_size(self._ends.get(item.key, -1)):
                bases = bases_of(self._bucket, item.key.rpartition("/")[2], strict=True)
                if bases:
                    found[item.key] = tuple(map(blob_key, bases))
        return found
