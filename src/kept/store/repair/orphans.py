"""Manifests that no version refers to: what a version whose record is lost has left behind."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from kept.digest import DIGEST, digest
from kept.errors import Damaged, KeyNotFound
from kept.store.content.manifest import manifest_key
from kept.store.content.read_manifest import decode_manifest
from kept.store.encoding import MOST_VALUE, read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kept.bucket.base import Bucket
    from kept.store.content.manifest import Manifest
    from kept.store.log.events import Event

Named = tuple[str, "Manifest"]


class Orphans:
    """The manifests of a bucket that none of these events names; each is given out once."""

    def __init__(self, bucket: Bucket, events: Iterable[Event]) -> None:
        self._bucket = bucket
        named = {event["manifest"] for event in events if event["event"] == "version"}
        found = ((item.stored, name_in(item.key)) for item in bucket.items("manifests/"))
        self._left = sorted((stored, name) for stored, name in found if name and name not in named)

    def of(self, wanted: str | None, before: Event | None, kin: Sequence[str] = ()) -> Named | None:
        """Return the manifest of that name, or else the only one that fits, None if none does.

        A manifest is stored just before its record, so it is younger than the event before. It has
        a file of the same path as the artifact's other versions, whose manifests are kin.
        """
        if wanted is not None and DIGEST.fullmatch(wanted):
            manifest = manifest_named(self._bucket, wanted)
            return (wanted, manifest) if manifest else None
        since = datetime.fromisoformat(before["time"]).timestamp() if before else 0.0
        read = ((name, manifest_named(self._bucket, name)) for stored, name in self._left
                if stored >= since - 1.0)  # fmt: skip
        known = _paths(filter(None, (manifest_named(self._bucket, name) for name in kin[-1:])))
        fitting = [
            (name, m) for name, m in read if m and m.files and (known & _paths([m]) or not kin)
        ]
        if len(fitting) != 1:
            return None
        self._left = [each for each in self._left if each[1] != fitting[0][0]]
        return fitting[0]


def _paths(manifests: Iterable[Manifest]) -> set[str]:
    return {file.path for manifest in manifests for file in manifest.files}


def manifest_named(bucket: Bucket, name: str) -> Manifest | None:
    """Return a manifest by the digest of its bytes, or None if it is missing or damaged."""
    key = manifest_key(name)
    try:
        data = read_bounded(bucket, key, MOST_VALUE)
        return decode_manifest(data, key, bucket) if digest(data) == name else None
    except (KeyNotFound, Damaged):
        return None


def name_in(key: str) -> str | None:
    """Return the digest in the key of a manifest, None if it is another key."""
    name = key.rpartition("/")[2].removesuffix(".json")
    return name if DIGEST.fullmatch(name) and key == manifest_key(name) else None
