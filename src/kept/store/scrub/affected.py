"""Finds the versions that damaged blobs take with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kept.parallel import mapped
from kept.store.content.manifest import manifest_key
from kept.store.content.read_manifest import read_manifest
from kept.store.scrub.blobs import READ_ERRORS, is_missing, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kept.bucket.base import Bucket
    from kept.store.content.manifest import Manifest
    from kept.store.log.history import VersionRecord
    from kept.store.scrub.blobs import BlobFault

Named = tuple[str, "VersionRecord"]  # the artifact, and a version of it


class Finding(NamedTuple):
    """What is wrong with the content of a version."""

    name: str
    record: VersionRecord
    key: str
    message: str
    is_missing: bool  # nothing lies under the key: no fault if the version is deleted


def affected(
    bucket: Bucket, versions: Iterable[Named], faults: Mapping[str, Sequence[BlobFault]]
) -> Iterator[Finding]:
    """Yield a finding for each version and each fault of a blob that it needs.

    It reads the manifests again, because a map of all versions and blobs would need much memory.
    """
    if not faults:
        return
    missing = {f.key: is_missing(bucket, f.key) for each in faults.values() for f in each}
    read = mapped(lambda one: (one, _manifest(bucket, one[1])), versions, bucket.concurrency)
    for (name, record), manifest in read:
        if manifest is None:
            continue
        for fault in _of(manifest, faults):
            # A wrong place is a fault of the manifest that names it.
            key = fault.key if fault.places is None else manifest_key(record.manifest)
            yield Finding(name, record, key, fault.message, missing[fault.key])


def _of(manifest: Manifest, faults: Mapping[str, Sequence[BlobFault]]) -> list[BlobFault]:
    """Return the different faults that concern chunks of a manifest, in their order."""
    return list(
        dict.fromkeys(
            fault
            for chunk in manifest.chunks()
            for fault in faults.get(chunk.blob, ())
            if fault.places is None or place_of(chunk) in fault.places
        )
    )


def _manifest(bucket: Bucket, record: VersionRecord) -> Manifest | None:
    try:
        return read_manifest(bucket, record)
    except READ_ERRORS:  # the caller has seen it before
        return None
