"""The store: artifacts, their versions and aliases, in a bucket."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kept.bucket.memory import MemoryBucket
from kept.bucket.open import bucket_at
from kept.errors import Damaged, NotFound
from kept.names import (
    Reference,
    check_alias,
    check_aliases,
    check_name,
    check_own_alias,
    check_selected,
    is_word,
    parse_reference,
)
from kept.store.format_marker import Marker, check_format, make_store
from kept.store.log.log import Log, Logs
from kept.store.log.lookup import find, has_live_version, records_of, view_of, with_live_versions
from kept.store.maintenance import Maintenance
from kept.store.management import Management
from kept.store.metadata import MeasuredMetadata, checked
from kept.store.problems import warn
from kept.store.signing.keys import required_keys
from kept.store.version import Version, after_commit
from kept.units import expiry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import timedelta
    from pathlib import Path

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress
    from kept.store.artifact import Artifact
    from kept.store.content.find_files import Storable
    from kept.store.content.manifest import Manifest
    from kept.store.log.history import VersionRecord
    from kept.store.origin.links import Source
    from kept.store.origin.origin import Origin
    from kept.store.signing.keys import Keys, PublicKey


class Store(Maintenance, Management):
    """Artifacts in a bucket. Many threads and processes may use one store at once."""

    def __init__(
        self, bucket: Bucket, *, look: bool = True, require_signed: Keys | None = None
    ) -> None:
        """Open the store in a bucket; an empty bucket becomes a store with the first version.

        Raises NotAStore or NewerFormat. With look=False, create checks that later: for a bucket
        that cannot be reached now. For require_signed see open_store.
        """
        if isinstance(bucket, str):
            raise TypeError(f"To open a store: kept.open_store({bucket!r})")
        self.bucket = bucket
        self.required_keys = required_keys(require_signed)  # one of them must have signed a version
        marker = check_format(bucket) if look else Marker(exists=False)
        self.exists = marker.exists  # False until the first version
        self.logs = Logs(bucket, marker)  # the logs of its artifacts

    def __repr__(self) -> str:
        return f"<kept.Store {self.location}>"

    def __deepcopy__(self, memo: object) -> Store:
        """Return the store itself: a copy of what holds a store uses the same one."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the location and the keys; another process opens the store there."""
        if isinstance(self.bucket, MemoryBucket):
            raise TypeError("A store in memory cannot be pickled: it ends with its process.")
        return _store_at, (self.location, self.required_keys)

    @property
    def location(self) -> str:
        """The folder or URL of the store, in the form open_store takes."""
        return self.bucket.location

    def log_artifact(  # noqa: PLR0913 - public: the parts of a version
        self,
        name: str,
        paths: Storable | Iterable[Storable],
        *,
        type: str = "model",
        aliases: Iterable[str] = (),
        metadata: Mapping[str, Any] | MeasuredMetadata | None = None,
        ttl: str | float | timedelta | None = None,
        progress: Progress | None = None,
        uses: Iterable[str | Source | Version] = (),
        capture: bool | Origin = True,
    ) -> Version:
        """Commit files and folders as a new version, with its aliases, in one atomic step.

        A path is stored under its own name: a/b/f becomes f, a folder a/b/d becomes d with all
        files below it, a MemoryFile keeps its name. If the content is identical to the newest
        version, there is no new version, and the aliases move to that one. On return the version
        is durable.

        metadata is a dict of values that JSON can hold, or a kept.store.metadata.MeasuredMetadata.
        ttl is how long to keep the version ("7d"); see set_ttl. progress is called with the bytes
        stored so far and in all, from any thread, one call at a time. Bytes that the store has
        already are in neither.

        uses names what the version was made from: "name:v3" or "name:alias" of this store, the same
        after the location of another store and a slash, a Version, or a kept.Source. capture=False
        leaves out where the version comes from: code, command line and environment; see
        docs/provenance.md. A kept.store.origin.origin.Origin states it instead, with what it uses.

        Raises NotFound (uses names no version), InvalidName, InvalidPath, InvalidMetadata,
        InvalidInput (the artifact has another type, or best is among the aliases and a rule moves
        it), AliasProtected or OSError. Then there is no new version, unless the disk fails.
        """
        from kept.bucket.transfer import Transfer
        from kept.store.commit import VersionInfo, commit
        from kept.store.content.find_files import find_sources
        from kept.store.origin.origin import origin_of

        check_name(name)
        check_name(type, "A type")
        given = check_aliases(aliases), checked(metadata), expiry(ttl)
        sources = find_sources(paths)
        origin = origin_of(self.logs, uses, capture=capture)
        info = VersionInfo(type, *given, origin=origin)
        self.create()
        transfer = progress and Transfer(sum(s.size for s in sources), progress, in_parts=True)
        committed = commit(self.log(name), sources, info, transfer)
        version = self._again(Version(self, name, committed.record))
        return after_commit(version, committed)

    def logged(self, name: str, index: int) -> Version:
        """Return a committed version, deleted since or not; raises NotFound or Damaged."""
        return self._find(Reference(name, index=index), deleted=True)

    def artifacts(self) -> list[Artifact]:
        """Return the artifacts that have a version, by name, and those that damage hides."""
        from kept.store.artifact import Artifact

        return [Artifact(self, name) for name in with_live_versions(self.logs)]

    def artifact(self, name: str) -> Artifact:
        """Return the artifact of that name; raises ArtifactNotFound."""
        from kept.store.artifact import Artifact

        view_of(self.logs, name, renamed=False)
        return Artifact(self, name)

    def artifact_type(self, name: str) -> str:
        """Return an artifact's type; raises ArtifactNotFound."""
        return self.artifact(name).type

    def versions(self, name: str) -> list[Version]:
        """Return the versions of an artifact that are not deleted, oldest first.

        A DamageWarning names a version that is hidden by damage. Raises ArtifactNotFound.
        """
        return list(self.newest_first(name))[::-1]

    def newest_first(self, name: str) -> Iterator[Version]:
        """Yield the versions from the newest to the oldest; reads only as far as you iterate."""
        records = records_of(view_of(self.logs, name))
        return (Version(self, name, record) for record in records)

    def version(self, reference: str) -> Version:
        """Return the version that name, name:v3, name:alias or name@digest names.

        Raises InvalidReference, ArtifactNotFound, VersionNotFound, or Damaged, also if damage
        hides which version is the newest, or has the alias.
        """
        return self._find(parse_reference(reference))

    def __getitem__(self, text: str) -> Any:  # no type says whether the text has a colon
        """Return the Artifact of a name, or the Version of name:v3, name:alias or name@digest."""
        return self.artifact(text) if is_word(text) else self.version(text)

    def __iter__(self) -> Iterator[Artifact]:
        return iter(self.artifacts())

    def __contains__(self, text: str) -> bool:
        with suppress(NotFound):
            return has_live_version(self.logs, text) if is_word(text) else bool(self.version(text))
        return False

    def set_alias(self, reference: str, alias: str) -> Version:
        """Put an alias on a version, taking it from the version that had it.

        Raises AliasProtected if only a promotion moves it, InvalidInput for best if a rule moves it
        (Artifact.set_best), InvalidName also for epoch_<n>, and what version raises.
        """
        from kept.store.promotion.move import set_alias
        from kept.store.rank.rule import check_unruled

        wanted = parse_reference(reference)
        check_unruled(self.logs, wanted.name, alias)
        moved = set_alias(self.logs, wanted, check_own_alias(alias))
        return self._changed(wanted.name, moved.record)

    def remove_alias(self, name: str, alias: str) -> None:
        """Remove an alias; raises VersionNotFound if no version has it, and what set_alias does."""
        from kept.store.promotion.move import remove_alias
        from kept.store.rank.rule import check_unruled

        check_unruled(self.logs, name, alias)
        remove_alias(self.logs, Reference(name, alias=check_alias(alias)))

    def delete(self, reference: str, *, force: bool = False) -> Version:
        """Delete the version name:v3, name:alias or name@digest; its number is never used again.

        Raises VersionInUse if force is not set and it has aliases other than latest and epoch_<n>,
        and AliasProtected in any case if one of them is protected. Raises InvalidReference for a
        name alone: it could mean its newest version or all of them.
        """
        from kept.store.retention.delete import delete

        version = self.version(reference)
        check_selected(reference)
        delete(self.log(version.name), version.index, force=force)
        return version

    def undelete(self, reference: str) -> Version:
        """Undo a deletion: name:v3 or name@digest exists again, with its aliases.

        Raises VersionNotFound if it never existed, and VersionGone if gc has removed its content.
        """
        from kept.store.retention.delete import undelete

        version = self._find(parse_reference(reference), deleted=True)
        undelete(self.log(version.name), version.index)
        return self._again(version)

    def deleted(self, name: str) -> list[Version]:
        """Return the deleted versions of an artifact, oldest first; raises ArtifactNotFound."""
        every = records_of(view_of(self.logs, name), deleted=True)
        return [Version(self, name, record) for record in every if record.deleted][::-1]

    def set_ttl(self, reference: str, ttl: str | float | timedelta | None) -> Version:
        """Let a version expire after a time from now ("7d"), or with None never.

        The next prune or gc deletes expired versions, except those that Keep always keeps.
        """
        from kept.store.origin.actor import actor

        version = self.version(reference)
        event = {"event": "alias", "aliases": {}, "index": version.index, "by": actor()}
        self.log(version.name).append(event | {"expires": expiry(ttl)})
        return self._again(version)

    def read_manifest(self, version: Version) -> Manifest:
        """Return a version's manifest; raises Damaged."""
        from kept.store.content.read_manifest import read_manifest

        return read_manifest(self.bucket, version.record)

    def download(self, version: Version, root: Path, progress: Progress | None = None) -> Path:
        """Write a version's files below root; see Version.download."""
        from kept.store.content.restore import restore

        if self.required_keys:
            version.check_signed(self.required_keys)
        restore(self.bucket, version.manifest, root, progress)
        return root

    def create(self) -> None:
        """Create the store now instead of with the first version; raises OSError or Damaged."""
        self.logs.check()
        if not self.exists:
            self.logs.marker = Marker(exists=True, id=make_store(self.bucket))
            self.exists = True

    def log(self, name: str) -> Log:
        """Return the log of an artifact, existing or not; mirrors read and write it."""
        return self.logs.of(name)

    def _find(self, wanted: Reference, *, deleted: bool = False) -> Version:
        view = view_of(self.logs, wanted.name)
        return Version(self, wanted.name, find(view, wanted, deleted=deleted))

    def _of(self, name: str, record: VersionRecord) -> Version:
        return Version(self, name, record)

    def _changed(self, name: str, record: VersionRecord) -> Version:
        return self._again(Version(self, name, record))

    def _again(self, version: Version) -> Version:
        """Return a version as the log states it after a change; the change stands in any case."""
        try:
            return self.logged(version.name, version.index)
        except (Damaged, OSError) as error:
            warn(version.reference, [f"it was changed, but cannot be read again: {error}"])
            return version


def _store_at(location: str, keys: tuple[PublicKey, ...]) -> Store:
    return Store(bucket_at(location), require_signed=keys or None)
