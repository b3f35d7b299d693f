"""The blobs that other blobs need as bases: only in a folder, where compaction makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.store.blobs.blob import bases_of, blob_key

if TYPE_CHECKING:
    from kept.bucket.base import Bucket, Item


class _Read(NamedTuple):
    """A blob as it was when its header was read; compaction may write it again."""

    size: int
    stored: float
    bases: tuple[str, ...]


class Bases:
    """The bases of all blobs of a bucket; the header of each is read once."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: dict[str, _Read] = {}

    def below(self, doomed: set[str]) -> set[str]:
        """Return what the blobs that are not doomed need as bases; raises Unreadable.

        Hold bases_lock from this call to the end of the deletions.
        """
        if self._bucket.is_remote or not doomed:
            return set()
        self._known = {item.key: self._read(item) for item in self._bucket.items("blobs/")}
        stay = (read for key, read in self._known.items() if key not in doomed)
        return {base for read in stay for base in read.bases}

    def _read(self, item: Item) -> _Read:
        known = self._known.get(item.key)
        if known is not None and (known.size, known.stored) == (item.size, item.stored):
            return known
        bases = bases_of(self._bucket, item.key.rpartition("/")[2], strict=True)
        return _Read(item.size, item.stored, tuple(map(blob_key, bases)))
