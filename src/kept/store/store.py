"""The store: artifacts, their versions and aliases, in a bucket."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kept.errors import ArtifactNotFound, Damaged, VersionNotFound
from kept.names import Reference, check_alias, check_aliases, check_name, parse_reference
from kept.store.format_marker import check_format, make_store
from kept.store.log.history import live, version_records
from kept.store.log.log import Event, Log, View
from kept.store.log.lookup import matches, no_artifact, not_found
from kept.store.metadata import MeasuredMetadata, checked
from kept.store.version import Artifact, Version
from kept.units import expiry, parse_span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import timedelta
    from pathlib import Path

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress
    from kept.store.compact.compactor import Compacted
    from kept.store.content.find_files import Storable
    from kept.store.content.manifest import Manifest
    from kept.store.encoding import Json
    from kept.store.gc.collector import Collection
    from kept.store.log.history import VersionRecord
    from kept.store.retention.keep import Keep
    from kept.store.retention.policy import Decision
    from kept.store.usage import Usage
    from kept.store.verify import Report

    _Which = Callable[[Iterable[Event]], Iterator[VersionRecord]]


class Store:
    """Artifacts in a bucket. Safe with many threads and processes at once."""

    def __init__(self, bucket: Bucket, *, look: bool = True) -> None:
        """Open the store in a bucket; an empty one becomes a store with the first version.

        Raises NotAStore or NewerFormat. Without look that is done later, by create: for a bucket
        that cannot be reached now.
        """
        self.bucket = bucket
        self.exists = check_format(bucket) if look else False
        self._logs: dict[str, Log] = {}

    def __repr__(self) -> str:
        return f"<kept.Store {self.location}>"

    @property
    def location(self) -> str:
        """Where the store is, in the form open_store takes."""
        return self.bucket.location

    def log_artifact(  # noqa: PLR0913 - what a version is given
        self,
        name: str,
        paths: Storable | Iterable[Storable],
        *,
        type: str = "model",
        aliases: Iterable[str] = (),
        metadata: Mapping[str, Any] | MeasuredMetadata | None = None,
        ttl: str | float | timedelta | None = None,
        progress: Progress | None = None,
    ) -> Version:
        """Commit files and folders as a new version, with its aliases, in one atomic step.

        A path is stored under its own name: a/b/f becomes f, a folder a/b/d becomes d with all
        that is below it, a MemoryFile under its own. Content identical to
        the newest version makes no new version; the aliases then move to that one. On return the
        version is durable.

        metadata is a dict of what JSON can hold; a MeasuredMetadata (of kept.store.metadata) is
        completed with bytes_new and the seconds that the commit took. ttl is
        how long the version is worth keeping ("7d"); see set_ttl. progress is called with the bytes
        that are stored and those that are to be, by any thread, by one at a time; what the store
        has already is in neither.

        Raises InvalidName, InvalidPath, InvalidMetadata, InvalidInput (another type than the
        artifact has) or OSError (disk full, no permission); then there is no new version, unless
        it is the disk that fails in the very moment of the commit.
        """
        from kept.bucket.transfer import watched
        from kept.store.commit import VersionInfo, commit
        from kept.store.content.find_files import find_sources

        check_name(name)
        check_name(type, "A type")
        given = checked(metadata)
        info = VersionInfo(type, check_aliases(aliases), given, expiry(ttl))
        sources = find_sources(paths)
        self.create()
        committed = commit(
            self.bucket, name, self.log(name), sources, info, transfer=watched(progress)
        )
        version = self.logged(name, committed.index)
        return replace(version, is_new=committed.is_new, bytes_new=committed.bytes_new)

    def logged(self, name: str, index: int) -> Version:
        """Return a version that a commit has told of, also if somebody has deleted it since.

        Raises NotFound if there never was one, and Damaged.
        """
        return self._find(Reference(name, index=index), version_records)

    def artifacts(self) -> list[Artifact]:
        """Return the artifacts, by name."""
        return [Artifact(self, name) for name in filter(self._is_made, self._names())]

    def artifact(self, name: str) -> Artifact:
        """Return the artifact of that name; raises ArtifactNotFound."""
        self._view(name)
        return Artifact(self, name)

    def artifact_type(self, name: str) -> str:
        """Return an artifact's type; raises ArtifactNotFound."""
        return next(version_records(self._view(name).backwards())).type

    def versions(self, name: str) -> list[Version]:
        """Return the versions of an artifact that are not deleted, oldest first.

        Raises ArtifactNotFound or Damaged.
        """
        return list(self.newest_first(name))[::-1]

    def newest_first(self, name: str) -> Iterator[Version]:
        """Yield what versions returns from its end, reading no more than is asked for."""
        return (Version(self, name, record) for record in live(self._view(name).backwards()))

    def version(self, reference: str) -> Version:
        """Return the version that name, name:v3, name:alias or name@digest names.

        Raises InvalidReference, ArtifactNotFound, VersionNotFound or Damaged.
        """
        return self._find(parse_reference(reference))

    def __getitem__(self, reference: str) -> Version:
        return self.version(reference)

    def set_alias(self, reference: str, alias: str) -> Version:
        """Put an alias on a version, taking it from the version that had it."""
        check_alias(alias)
        version = self.version(reference)
        self._alias(version.name, {alias: version.index})
        return self.logged(version.name, version.index)

    def remove_alias(self, name: str, alias: str) -> None:
        """Take an alias away; raises VersionNotFound if no version has it."""
        check_alias(alias)
        self._find(Reference(name, alias=alias))
        self._alias(name, {alias: None})

    def delete(self, reference: str, *, force: bool = False) -> Version:
        """Delete a version; its number is never used again.

        Raises VersionInUse if it has aliases of its own and force is not set.
        """
        from kept.store.retention.delete import delete

        version = self.version(reference)
        delete(self.log(version.name), version.name, version.index, force=force)
        return version

    def undelete(self, reference: str) -> Version:
        """Take a deletion back: name:v3 or name@digest is there again, with its aliases.

        Raises VersionNotFound if there never was one, and VersionGone if gc has removed its
        content.
        """
        from kept.store.retention.delete import undelete

        version = self._find(parse_reference(reference), version_records)
        undelete(self.bucket, version.name, self.log(version.name), version.index)
        return self.logged(version.name, version.index)

    def deleted(self, name: str) -> list[Version]:
        """Return the deleted versions of an artifact, oldest first, whether undelete can or not.

        Raises ArtifactNotFound or Damaged.
        """
        every = version_records(self._view(name).backwards())
        return [Version(self, name, record) for record in every if record.deleted][::-1]

    def set_ttl(self, reference: str, ttl: str | float | timedelta | None) -> Version:
        """Have a version expire after a time from now ("7d"); None takes that back.

        What has expired is deleted by the next prune or gc, but never what Keep always keeps.
        """
        version = self.version(reference)
        self._alias(version.name, {}, index=version.index, expires=expiry(ttl))
        return self.logged(version.name, version.index)

    def prune(self, name: str, keep: Keep | None, *, dry_run: bool = False) -> list[Decision]:
        """Delete the versions that keep does not keep, and those that have expired.

        Returns what was decided of each version, oldest first; with dry_run nothing is deleted.
        Without keep only expired versions go. What is deleted can be undeleted until gc.
        Raises ArtifactNotFound or Damaged.
        """
        from kept.store.retention.delete import plan_prune, prune

        view = self._view(name)
        if dry_run:
            return plan_prune(self.bucket, name, view, keep)
        return prune(self.bucket, name, self.log(name), keep)

    def gc(self, *, grace: str | float | timedelta = "24h", dry_run: bool = False) -> Collection:
        """Free the bytes that no version needs; return what was deleted, and why.

        Versions that have expired are deleted first. What was deleted less than grace ago keeps its
        content, so it can be undeleted, and what is younger is left alone. Others may write
        meanwhile, in any process. With dry_run nothing is deleted.

        Raises InvalidInput, or Damaged if a version's manifest cannot be read: what it needs is not
        known then, and nothing is deleted.
        """
        from kept.store.gc.collector import collect

        return collect(self.bucket, self.log, parse_span(grace, "grace"), dry_run=dry_run)

    def read_manifest(self, version: Version) -> Manifest:
        """Return a version's manifest; raises Damaged."""
        from kept.store.content.manifest import read_manifest

        return read_manifest(self.bucket, version.record)

    def download(self, version: Version, root: Path, progress: Progress | None = None) -> Path:
        """Write a version's files below root; see Version.download."""
        from kept.store.content.restore import restore

        restore(self.bucket, version.manifest, root, progress)
        return root

    def verify(self, reference: str | None = None, *, progress: Progress | None = None) -> Report:
        """Re-read and re-hash one version, or everything; return what was read and found.

        progress is called with the versions done and the versions in all.
        """
        from kept.store.verify import verify

        if reference is None:
            return verify(self.bucket, {name: self.log(name) for name in self._names()}, progress)
        version = self.version(reference)
        return verify(self.bucket, {version.name: version.record}, progress)

    def compact(self, name: str | None = None, *, progress: Progress | None = None) -> Compacted:
        """Store the versions of an artifact, or all, in less room; return what was done.

        What versions hold stays as it is; any thread or process may work with the store meanwhile,
        and a crash does no harm. progress is called with the versions done and those in all.

        Raises ArtifactNotFound.
        """
        from kept.store.compact.compactor import Compactor

        return Compactor(self.bucket).compact_all(self._versions(live, name), progress)

    def usage(self, name: str | None = None) -> Usage:
        """Return what the versions of an artifact, or all, take; raises ArtifactNotFound."""
        from kept.store.usage import usage

        if name is not None:
            self._view(name)
        return usage(self.bucket, self._versions(version_records), name)

    def create(self) -> None:
        """Make the store now instead of with the first version; raises OSError if it cannot be."""
        if not self.exists:
            make_store(self.bucket)
            self.exists = True

    def log(self, name: str) -> Log:
        """Return the log of an artifact, there or not; what mirrors read and write."""
        return self._logs.setdefault(name, Log(self.bucket, check_name(name)))

    def _names(self) -> Iterator[str]:
        return self.bucket.folders("artifacts/")

    def _versions(
        self, which: _Which, name: str | None = None
    ) -> list[tuple[str, list[VersionRecord]]]:
        """Return such versions of one artifact, or of each, oldest first."""
        due = filter(self._is_made, self._names()) if name is None else [name]
        return [(each, list(which(self._view(each).backwards()))[::-1]) for each in due]

    def _is_made(self, name: str) -> bool:
        """Return whether an artifact has had a version; a gc fences also what is being made."""
        try:
            return self.log(name).view().has_version()
        except Damaged:  # there is something, and whoever asks for it is told what is wrong
            return True

    def _view(self, name: str) -> View:
        view = self.log(name).view()
        if not view.has_version():
            raise ArtifactNotFound(no_artifact(name, self.location, self._names()))
        return view

    def _find(self, wanted: Reference, among: _Which = live) -> Version:
        view = self._view(wanted.name)
        for record in among(view.backwards()):
            if matches(record, wanted):
                return Version(self, wanted.name, record)
        raise VersionNotFound(not_found(view, wanted))

    def _alias(self, name: str, aliases: dict[str, int | None], **more: Json) -> None:
        event: Event = {"event": "alias", "aliases": aliases, **more}
        self.log(name).append(lambda _: event)
