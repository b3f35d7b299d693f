"""Commits a version: blobs, then the manifest, then the record that makes it visible.

Invariant: each step is durable before the next begins, so every version that a reader sees is
whole. A crash in between leaves blobs or a manifest that no record refers to, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from kept.digest import digest
from kept.errors import Damaged, InvalidInput
from kept.names import LATEST
from kept.store.blobs.blob import blob_key
from kept.store.content.manifest import Manifest, manifest_key
from kept.store.content.packing import Packer
from kept.store.content.put_manifest import put_manifest
from kept.store.content.read_manifest import read_manifest
from kept.store.format_marker import PARTS_FORMAT, raise_format
from kept.store.health.state import is_unhealthy
from kept.store.log.fence import CommitConflict, WriteFence, with_write_fence
from kept.store.log.history import VersionRecord, version_of, version_records
from kept.store.metadata import MeasuredMetadata
from kept.store.origin.actor import actor
from kept.store.origin.origin import UNKNOWN, Origin, remember, stored_once
from kept.store.promotion.protected import protected_among, refuse_protected
from kept.store.rank.follow import aliases_of
from kept.store.rank.rule import check_unruled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Transfer
    from kept.store.content.find_files import Source
    from kept.store.encoding import Json
    from kept.store.log.events import Event
    from kept.store.log.log import Log, View


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """The facts of a version other than its files; all of them are checked already."""

    type: str
    aliases: tuple[str, ...]
    metadata: Mapping[str, Json] | MeasuredMetadata
    expires: str | None = None  # when the version may be deleted: UTC, ISO 8601
    write_id: str | None = None  # of the record, if the commit may have to be repeated
    origin: Origin = UNKNOWN

    def metadata_of(self, bytes_new: int) -> dict[str, Json]:
        """Return the metadata for the record; bytes_new is what the commit added to the store."""
        if isinstance(self.metadata, MeasuredMetadata):
            return self.metadata.complete(bytes_new)
        return dict(self.metadata)

    @property
    def is_of_run(self) -> bool:
        """Whether it is a checkpoint of a run: then no protected alias is worth losing it."""
        return isinstance(self.metadata, MeasuredMetadata)

    @property
    def contends(self) -> bool:
        """Whether the version becomes the best one if its metric is better."""
        return isinstance(self.metadata, MeasuredMetadata) and self.metadata.contends


class Committed(NamedTuple):
    """The result of a commit."""

    record: VersionRecord
    is_new: bool  # False if the newest version has the same content
    bytes_new: int  # that the store did not have before
    written: frozenset[str]  # the blobs with these bytes
    withheld: tuple[str, ...] = ()  # protected aliases, without which a run's checkpoint is stored


def commit(
    log: Log, sources: Iterable[Source], info: VersionInfo, transfer: Transfer | None = None
) -> Committed:
    """Store the files and log them as a version of the log's artifact.

    transfer counts the bytes; if a gc forces a second attempt, it rewinds.

    If the files are identical to the newest version, only the aliases move, to that version. Raises
    AliasProtected, or InvalidInput for best if a rule moves it, unless a run commits.
    """
    if not info.is_of_run:  # before any byte is stored
        refuse_protected(log.bucket, info.aliases, f"{log.name}:vN")
        check_unruled(log.logs, log.name, *info.aliases)
    files = tuple(sources)
    start = transfer.position if transfer else None

    def build(fence: WriteFence) -> Committed:
        if transfer and start:
            transfer.rewind(start)
        return _commit(log, files, info, fence, transfer)

    return with_write_fence(log, build)


def _commit(
    log: Log,
    sources: Iterable[Source],
    info: VersionInfo,
    fence: WriteFence,
    transfer: Transfer | None,
) -> Committed:
    newest = _newest(fence.view)
    check_type(newest.any, info.type)
    previous = _previous(log.bucket, newest.live)
    stored = _store(log.bucket, sources, previous, fence, transfer)
    is_repeated = newest.live is not None and newest.live.manifest == stored.key_digest
    put_manifest(log.bucket, stored.key_digest, stored.encoded, is_repeated=is_repeated)
    withheld = _withheld(log, info)
    event: Event = {
        "type": info.type,
        "manifest": stored.key_digest,
        "digest": stored.manifest.digest,
        "size": stored.manifest.size,
        "aliases": [alias for alias in info.aliases if alias not in withheld],
        "metadata": info.metadata_of(stored.bytes_new),
        **info.origin.facts(),
    }
    if info.expires is not None:
        event["expires"] = info.expires
    if info.write_id is not None:
        event["write_id"] = info.write_id
    record, is_new = _log_version(log, fence, event, newest.live, contends=info.contends)
    return Committed(record, is_new, stored.bytes_new, stored.written, withheld)


def _withheld(log: Log, info: VersionInfo) -> tuple[str, ...]:
    """Return the aliases that are protected; raises AliasProtected unless a run commits."""
    if not info.is_of_run:
        refuse_protected(log.bucket, info.aliases, f"{log.name}:vN")
        return ()
    return tuple(protected_among(log.bucket, info.aliases))


class _Stored(NamedTuple):
    manifest: Manifest
    key_digest: str  # names the manifest's key
    encoded: bytes  # the manifest
    bytes_new: int
    written: frozenset[str]


def _store(
    bucket: Bucket,
    sources: Iterable[Source],
    previous: Manifest | None,
    fence: WriteFence,
    transfer: Transfer | None = None,
) -> _Stored:
    """Store blobs, and return the manifest, none of them with a condemned key."""
    packer = Packer(bucket, previous, fence, transfer)
    bucket.put_many(packer.blobs(sources), transfer)
    manifest = packer.manifest()
    if parts := manifest.encode_parts():
        bucket.put_many(packer.part_blobs(parts))
        manifest = packer.with_parts(manifest, parts)
        raise_format(bucket, PARTS_FORMAT)
    encoded = manifest.encode()
    name = digest(encoded)
    blobs = frozenset(blob_key(chunk.blob) for chunk in manifest.chunks())
    if manifest_key(name) in fence.condemned and blobs:
        # Blobs of other names make a manifest of another name.
        return _store(bucket, sources, None, replace(fence, condemned=fence.condemned | blobs))
    return _Stored(manifest, name, encoded, packer.bytes_new, packer.written)


class _Newest(NamedTuple):
    any: VersionRecord | None  # deleted or not: numbers are never used again
    live: VersionRecord | None

    @property
    def is_unhealthy(self) -> bool:
        """Whether the newest version that is not deleted must not become the best one."""
        return self.live is not None and is_unhealthy(self.live.described)


def _newest(view: View) -> _Newest:
    newest: VersionRecord | None = None
    for record in version_records(view.facts()):
        newest = newest or record
        if not record.deleted:
            return _Newest(newest, record)
    return _Newest(newest, None)


def _previous(bucket: Bucket, record: VersionRecord | None) -> Manifest | None:
    try:
        return read_manifest(bucket, record) if record else None
    except Damaged:  # it only serves to find existing chunks; the new version needs none of them
        return None


def _log_version(
    log: Log, fence: WriteFence, event: Event, before: VersionRecord | None, *, contends: bool
) -> tuple[VersionRecord, bool]:
    """Append the record of a version; return the version, and whether it is a new one.

    Each attempt compares the version with the best one again: the alias best is right for the log
    in which its record appears.

    The version is made from the event, because a look at the log could fail after the commit.
    """
    for view in log.views(fence.view):
        fence.check(view)
        newest = _newest(view)
        repeats = newest.live is not None and _is_repeated(newest.live, event, before)
        may_win = contends and not (repeats and newest.is_unhealthy)
        version = event | {"aliases": aliases_of(view, event, contends=may_win, repeats=repeats)}
        if newest.live is not None and repeats:
            repetition = _repetition(newest.live.index, version)
            if log.newest(view) if repetition is None else log.append_after(view, repetition):
                return _repeated(newest.live, version), False
        else:
            check_type(newest.any, version["type"])
            if before is not None and before.manifest == version["manifest"]:
                raise CommitConflict  # no longer a repetition: the manifest needs a note
            index = newest.any.index + 1 if newest.any else 0
            version = {"event": "version", "index": index} | stored_once(log, view, version)
            if recorded := log.append_after(view, version):
                remember(log, recorded, event.get("provenance"))
                return version_of(recorded), True
    raise AssertionError("views has no end")


def log_stored(log: Log, fence: WriteFence, event: Event) -> tuple[VersionRecord, bool]:
    """Log a version whose blobs and manifest are stored; return it, and whether it is a new one.

    It is no new one if the newest version has this content.
    """
    return _log_version(log, fence, event, _newest(fence.view).live, contends=False)


def _repeated(record: VersionRecord, version: Event) -> VersionRecord:
    """Return a version with the aliases and the expiry that its repetition gives it."""
    own = {*record.aliases, *version["aliases"]} - {LATEST}
    return record._replace(
        aliases=(LATEST, *sorted(own)), expires=version.get("expires", record.expires)
    )


def _is_repeated(newest: VersionRecord, version: Event, before: VersionRecord | None) -> bool:
    """Return whether the newest version holds the same content.

    before is the version that was the newest when the files were stored.
    """
    if newest.digest != version["digest"]:
        return False
    # Every chunk of the newest version is found again at its place. If the same content now has
    # another manifest, some chunks were lost: that version cannot be restored, a new one can.
    is_the_same = before is not None and before.index == newest.index
    return not is_the_same or newest.manifest == version["manifest"]


def _repetition(index: int, version: Event) -> Event | None:
    """Return the event for content that exists already, as version index; None if it needs none."""
    expiry = {"index": index, "expires": version["expires"]} if "expires" in version else {}
    stamp = {"write_id": version["write_id"]} if "write_id" in version else {}
    if not version["aliases"] and not expiry:
        return None
    aliases = dict.fromkeys(version["aliases"], index)
    # The version keeps its own metadata; the log also keeps the metadata of the repetition.
    repeated = {"event": "alias", "aliases": aliases, "metadata": version["metadata"]}
    return repeated | {"by": actor()} | expiry | stamp


def check_type(record: VersionRecord | None, wanted: str) -> None:
    """Raise InvalidInput unless a version of this type may follow; record is the newest one."""
    if record is not None and record.type != wanted:
        raise InvalidInput(
            f"The artifact has the type {record.type!r}; an artifact keeps its type. "
            f"Received: type={wanted!r}"
        )
