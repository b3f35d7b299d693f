"""Manifests that no version refers to: what a version whose record is lost has left behind."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from kept.digest import DIGEST, digest
from kept.errors import Damaged, KeyNotFound
from kept.store.content.manifest import Manifest, manifest_key
from kept.store.encoding import MOST_VALUE, read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.bucket.base import Bucket
    from kept.store.log.events import Event

Named = tuple[str, Manifest]


class Orphans:
    """The manifests of a bucket that none of these events names; each is given out once."""

    def __init__(self, bucket: Bucket, events: Iterable[Event]) -> None:
        self._bucket = bucket
        named = {event["manifest"] for event in events if event["event"] == "version"}
        found = ((item.stored, name_in(item.key)) for item in bucket.items("manifests/"))
        self._left = sorted((stored, name) for stored, name in found if name and name not in named)

    def of(self, wanted: str | None, before: Event | None) -> Named | None:
        """Return the manifest of that name, or else the first one stored after an event.

        A manifest is stored just before its record, so the time shows which version it was.
        """
        if wanted is not None and DIGEST.fullmatch(wanted):
            manifest = manifest_named(self._bucket, wanted)
            return (wanted, manifest) if manifest else None
        since = datetime.fromisoformat(before["time"]).timestamp() if before else 0.0
        by_time = sorted(self._left, key=lambda each: (each[0] < since - 1.0, each[0]))
        for each in by_time:
            manifest = manifest_named(self._bucket, each[1])
            if manifest is not None and manifest.files:
                self._left.remove(each)
                return each[1], manifest
        return None


def manifest_named(bucket: Bucket, name: str) -> Manifest | None:
    """Return a manifest by the digest of its bytes, or None if it is missing or damaged."""
    key = manifest_key(name)
    try:
        data = read_bounded(bucket, key, MOST_VALUE)
        return Manifest.decode(data, key) if digest(data) == name else None
    except (KeyNotFound, Damaged):
        return None


def name_in(key: str) -> str | None:
    """Return the digest in the key of a manifest, None if it is another key."""
    name = key.rpartition("/")[2].removesuffix(".json")
    return name if DIGEST.fullmatch(name) and key == manifest_key(name) else None
