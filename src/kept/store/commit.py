"""Logging a version: blobs, then the manifest, then the record that makes it visible.

Invariant: each step is durable before the next begins, so whatever a reader can see is whole.
A crash in between leaves blobs or a manifest that nothing refers to, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kept.digest import digest
from kept.errors import Damaged, InvalidInput
from kept.store.blobs.blob import blob_key
from kept.store.content.manifest import Manifest, manifest_key, read_manifest
from kept.store.content.packing import Packer
from kept.store.log.fence import WriteFence, with_write_fence
from kept.store.log.history import VersionRecord, version_records
from kept.store.metadata import MeasuredMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Transfer
    from kept.store.content.find_files import Source
    from kept.store.encoding import Json
    from kept.store.log.log import Event, Log, View


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """What a version is given beside its files; all of it checked already."""

    type: str
    aliases: tuple[str, ...]
    metadata: Mapping[str, Json] | MeasuredMetadata
    expires: str | None = None  # when the version may be deleted: UTC, ISO 8601
    write_id: str | None = None  # of the record, for a commit that may have to be told again

    def metadata_of(self, bytes_new: int) -> dict[str, Json]:
        """Return the metadata for the record; bytes_new is what the commit added to the store."""
        if isinstance(self.metadata, MeasuredMetadata):
            return self.metadata.complete(bytes_new)
        return dict(self.metadata)


class Committed(NamedTuple):
    """What a commit did."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which has no use here
    is_new: bool  # False if the newest version has the same content
    bytes_new: int  # that the store did not have before


def commit(  # noqa: PLR0913 - the last one is optional
    bucket: Bucket,
    name: str,
    log: Log,
    sources: Iterable[Source],
    info: VersionInfo,
    *,
    transfer: Callable[[int], Transfer] | None = None,
) -> Committed:
    """Store the files and log them as a version of the artifact name.

    transfer makes what is told of the bytes, of so many; where a gc comes in between, once more.

    Where they are identical to the newest version, only the aliases move, to that version.
    """
    files = tuple(sources)

    def build(fence: WriteFence) -> Committed:
        told = transfer(sum(source.size for source in files)) if transfer else None
        return _commit(bucket, log, files, info, fence, transfer=told)

    return with_write_fence(bucket, name, log, build)


def _commit(  # noqa: PLR0913
    bucket: Bucket,
    log: Log,
    sources: Iterable[Source],
    info: VersionInfo,
    fence: WriteFence,
    *,
    transfer: Transfer | None,
) -> Committed:
    newest = _newest(fence.view)
    _check_type(newest.any, info.type)
    previous = _previous(bucket, newest.live)
    stored = _store(bucket, sources, previous, fence.condemned, transfer)
    event: Event = {
        "type": info.type,
        "manifest": stored.key_digest,
        "digest": stored.manifest.digest,
        "size": stored.manifest.size,
        "aliases": list(info.aliases),
        "metadata": info.metadata_of(stored.bytes_new),
    }
    if info.expires is not None:
        event["expires"] = info.expires
    if info.write_id is not None:
        event["write_id"] = info.write_id
    index, is_new = _log_version(log, fence, event, newest.live)
    return Committed(index, is_new, stored.bytes_new)


class _Stored(NamedTuple):
    manifest: Manifest
    key_digest: str  # names the manifest's key
    bytes_new: int


def _store(
    bucket: Bucket,
    sources: Iterable[Source],
    previous: Manifest | None,
    condemned: frozenset[str],
    transfer: Transfer | None = None,
) -> _Stored:
    """Store blobs and manifest, nothing of it under a condemned key."""
    packer = Packer(bucket, previous, condemned, transfer)
    bucket.put_many(packer.blobs(sources), transfer)
    manifest = packer.manifest()
    encoded = manifest.encode()
    name = digest(encoded)
    blobs = frozenset(blob_key(chunk.blob) for chunk in manifest.chunks())
    if manifest_key(name) in condemned and blobs:
        # Blobs of other names make a manifest of another name.
        return _store(bucket, sources, None, condemned | blobs)
    bucket.put(manifest_key(name), [encoded])
    return _Stored(manifest, name, packer.bytes_new)


class _Newest(NamedTuple):
    any: VersionRecord | None  # deleted or not: numbers are never used again
    live: VersionRecord | None


def _newest(view: View) -> _Newest:
    newest: VersionRecord | None = None
    for record in version_records(view.backwards()):
        newest = newest or record
        if not record.deleted:
            return _Newest(newest, record)
    return _Newest(newest, None)


def _previous(bucket: Bucket, record: VersionRecord | None) -> Manifest | None:
    try:
        return read_manifest(bucket, record) if record else None
    except Damaged:  # it serves to find chunks again; the new version can do without
        return None


def _log_version(
    log: Log, fence: WriteFence, version: Event, before: VersionRecord | None
) -> tuple[int, bool]:
    index, is_new = 0, True

    def make(view: View) -> Event | None:
        nonlocal index, is_new
        fence.check(view)
        newest = _newest(view)
        if newest.live is not None and _is_repeated(newest.live, version, before):
            index, is_new = newest.live.index, False
            return _repetition(index, version)
        _check_type(newest.any, version["type"])
        index = newest.any.index + 1 if newest.any else 0
        return {"event": "version", "index": index} | version

    log.append(make, fence.view)
    return index, is_new


def _is_repeated(newest: VersionRecord, version: Event, before: VersionRecord | None) -> bool:
    """Return whether the newest version holds the same content; before is what it was at first."""
    if newest.digest != version["digest"]:
        return False
    # All chunks of the newest version are found again where they lie. If the same content has got
    # another manifest, some had been lost: the version cannot be restored, and a new one can.
    is_the_same = before is not None and before.index == newest.index
    return not is_the_same or newest.manifest == version["manifest"]


def _repetition(index: int, version: Event) -> Event | None:
    """Return the event for content that is there already, as version index."""
    expiry = {"index": index, "expires": version["expires"]} if "expires" in version else {}
    stamp = {"write_id": version["write_id"]} if "write_id" in version else {}
    if not version["aliases"] and not expiry:
        return None
    aliases = dict.fromkeys(version["aliases"], index)
    # The version keeps its own metadata; what came with the repetition stays in the history.
    return {"event": "alias", "aliases": aliases, "metadata": version["metadata"]} | expiry | stamp


def _check_type(record: VersionRecord | None, wanted: str) -> None:
    if record is not None and record.type != wanted:
        raise InvalidInput(
            f"The artifact has the type {record.type!r}; an artifact keeps its type. "
            f"Received: type={wanted!r}"
        )
