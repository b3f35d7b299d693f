"""The store: artifacts, their versions and aliases, in a bucket."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from kept import names
from kept.errors import (
    ArtifactNotFound,
    InvalidInput,
    KeyExists,
    KeyNotFound,
    NewerFormat,
    NotAStore,
    StoreError,
    VersionInUse,
    VersionNotFound,
)
from kept.names import LATEST, Reference, check_alias, check_name, parse_reference
from kept.store.encoding import Json, canonical, check_metadata, parse
from kept.store.history import Entry, entries, live
from kept.store.log import Event, Log, View
from kept.store.version import Artifact, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from kept.bucket.base import Bucket
    from kept.store.manifest import Manifest
    from kept.store.restore import Progress
    from kept.store.sources import Storable
    from kept.store.verify import Report

FORMAT = 1
_FORMAT_KEY = "kept.json"
_ATTEMPTS = 8  # for an answer "exists" to the first creation where there is nothing
_SHOWN = 10  # names in an error message


class Store:
    """Artifacts in a bucket. Safe with many threads and processes at once."""

    def __init__(self, bucket: Bucket) -> None:
        """Open the store in a bucket; an empty one becomes a store with the first version.

        Raises NotAStore or NewerFormat.
        """
        self.bucket = bucket
        self.exists = _check_format(bucket)
        self._logs: dict[str, Log] = {}

    def __repr__(self) -> str:
        return f"<kept.Store {self.location}>"

    @property
    def location(self) -> str:
        """Where the store is, in the form open_store takes."""
        return self.bucket.location

    def log_artifact(
        self,
        name: str,
        paths: Storable | Iterable[Storable],
        *,
        type: str = "model",
        aliases: Iterable[str] = (),
        metadata: Mapping[str, Any] | Callable[[int], Mapping[str, Any]] | None = None,
    ) -> Version:
        """Commit files and folders as a new version, with its aliases, in one atomic step.

        A path is stored under its own name: a/b/f becomes f, a folder a/b/d becomes d with all
        that is below it, a MemoryFile (of kept.store.content) under its own. Content identical to
        the newest version makes no new version; the aliases then move to that one. On return the
        version is durable.

        metadata is a dict of what JSON can hold. As a function it is called right before the
        commit, with the number of bytes that were new to the store, and returns the dict.

        Raises InvalidName, InvalidPath, InvalidMetadata, InvalidInput (another type than the
        artifact has) or OSError (disk full, no permission); then there is no new version, unless
        it is the disk that fails in the very moment of the commit.
        """
        from kept.store.commit import Label, commit
        from kept.store.sources import find_sources

        check_name(name)
        label = Label(check_name(type), names.check_aliases(aliases), _describer(metadata))
        sources = find_sources(paths)
        self.create()
        index = commit(self.bucket, self._log(name), sources, label)
        return self._by_reference(Reference(name, index=index))

    def artifacts(self) -> list[Artifact]:
        """Return the artifacts, by name."""
        return [Artifact(self, name) for name in self._names()]

    def artifact(self, name: str) -> Artifact:
        """Return the artifact of that name; raises ArtifactNotFound."""
        self._view(name)
        return Artifact(self, name)

    def artifact_type(self, name: str) -> str:
        """Return an artifact's type; raises ArtifactNotFound."""
        return next(entries(self._view(name).backwards())).type

    def versions(self, name: str) -> list[Version]:
        """Return the versions of an artifact that are not deleted, oldest first.

        Raises ArtifactNotFound or Damaged.
        """
        return list(self.newest_first(name))[::-1]

    def newest_first(self, name: str) -> Iterator[Version]:
        """Yield what versions returns from its end, reading no more than is asked for."""
        return (Version(self, name, entry) for entry in live(self._view(name).backwards()))

    def version(self, reference: str) -> Version:
        """Return the version that name, name:v3, name:alias or name@digest names.

        Raises InvalidReference, ArtifactNotFound, VersionNotFound or Damaged.
        """
        return self._by_reference(parse_reference(reference))

    def __getitem__(self, reference: str) -> Version:
        return self.version(reference)

    def set_alias(self, reference: str, alias: str) -> Version:
        """Put an alias on a version, taking it from the version that had it."""
        check_alias(alias)
        version = self.version(reference)
        self._alias(version.name, {alias: version.index})
        return self._by_reference(Reference(version.name, index=version.index))

    def remove_alias(self, name: str, alias: str) -> None:
        """Take an alias away; raises VersionNotFound if no version has it."""
        check_alias(alias)
        self._by_reference(Reference(name, alias=alias))
        self._alias(name, {alias: None})

    def delete(self, reference: str, *, force: bool = False) -> Version:
        """Delete a version; its number is never used again.

        Raises VersionInUse if it has aliases of its own and force is not set.
        """
        version = self.version(reference)

        def make(view: View) -> Event | None:
            now = next((e for e in live(view.backwards()) if e.index == version.index), None)
            if now is None:
                return None  # somebody else was faster
            own = [alias for alias in now.aliases if alias != LATEST]
            if own and not force:
                raise VersionInUse(
                    f"{version.reference} has the aliases {', '.join(own)}. Remove them, or force "
                    "the deletion."
                )
            return {"event": "delete", "index": version.index}

        self._log(version.name).append(make)
        return version

    def read_manifest(self, version: Version) -> Manifest:
        """Return a version's manifest; raises Damaged."""
        from kept.store.commit import read_manifest

        return read_manifest(self.bucket, version.entry)

    def download(self, version: Version, root: Path, progress: Progress | None = None) -> Path:
        """Write a version's files below root; see Version.download."""
        from kept.store.restore import restore

        restore(self.bucket, version.manifest, root, progress)
        return root

    def verify(self, reference: str | None = None, *, progress: Progress | None = None) -> Report:
        """Re-read and re-hash one version, or everything; return what was read and found.

        progress is called with the versions done and the versions in all.
        """
        from kept.store.verify import Verifier

        verifier = Verifier(self.bucket)
        if reference is not None:
            version = self.version(reference)
            due = [(version.name, version.entry)]
        else:
            due = [
                (name, entry)
                for name in self._names()
                for entry in verifier.check_log(name, self._log(name))
            ]
        for done, (name, entry) in enumerate(due, start=1):
            verifier.check_version(name, entry)
            if progress:
                progress(done, len(due))
        return verifier.report

    def create(self) -> None:
        """Make the store now instead of with the first version; raises OSError if it cannot be."""
        for attempt in range(_ATTEMPTS):
            if self.exists:
                return
            try:
                self.bucket.put_if_absent(_FORMAT_KEY, [canonical({"format": FORMAT})])
                self.exists = True
            except KeyExists:  # S3 also says that of a race nobody has won yet
                time.sleep(0.02 * attempt)
                self.exists = _check_format(self.bucket)
        if not self.exists:
            raise StoreError(f"{_FORMAT_KEY} can neither be created nor read in {self.location}")

    def log(self, name: str) -> Log:
        """Return the log of an artifact, there or not; what mirrors read and write."""
        return self._log(name)

    def _names(self) -> Iterator[str]:
        return self.bucket.folders("artifacts/")

    def _log(self, name: str) -> Log:
        return self._logs.setdefault(name, Log(self.bucket, check_name(name)))

    def _view(self, name: str) -> View:
        view = self._log(name).view()
        if not view.head:
            there = _some(self._names())
            raise ArtifactNotFound(
                f"No artifact {name!r} in {self.location}. "
                + (f"There are: {there}." if there else "The store is empty.")
            )
        return view

    def _by_reference(self, wanted: Reference) -> Version:
        view = self._view(wanted.name)
        for entry in live(view.backwards()):
            if _matches(entry, wanted):
                return Version(self, wanted.name, entry)
        raise VersionNotFound(_not_found(view, wanted))

    def _alias(self, name: str, aliases: dict[str, int | None]) -> None:
        event: Event = {"event": "alias", "aliases": aliases}
        self._log(name).append(lambda _: event)


def _check_format(bucket: Bucket) -> bool:
    """Return whether the bucket is a store (True) or empty (False)."""
    try:
        value = parse(bucket.get(_FORMAT_KEY), f"{bucket.location}: {_FORMAT_KEY}")
    except KeyNotFound:
        found = next(iter(bucket.keys("")), None)
        if found is None:
            return False
        if bucket.size(_FORMAT_KEY) is not None:  # somebody has made the store this moment
            return _check_format(bucket)
        raise NotAStore(
            f"{bucket.location} holds other things than a store (first: {found}). "
            "Pass a store, or an empty or new folder."
        ) from None
    number = value.get("format") if isinstance(value, dict) else None
    if type(number) is not int or number < 1:
        raise NotAStore(f"{bucket.location}: {_FORMAT_KEY} names no format. Received: {value!r}")
    if number > FORMAT:
        raise NewerFormat(
            f"{bucket.location} has format {number}; this kept knows format {FORMAT}. Update kept."
        )
    return True


def _describer(
    metadata: Mapping[str, Any] | Callable[[int], Mapping[str, Any]] | None,
) -> Callable[[int], dict[str, Json]]:
    if callable(metadata):
        return lambda bytes_new: check_metadata(metadata(bytes_new))
    checked = check_metadata(metadata)
    return lambda _: checked


def _matches(entry: Entry, wanted: Reference) -> bool:
    if wanted.index is not None:
        return entry.index == wanted.index
    if wanted.digest is not None:
        return entry.digest.startswith(wanted.digest)
    return (wanted.alias or LATEST) in entry.aliases


def _not_found(view: View, wanted: Reference) -> str:
    every = list(entries(view.backwards()))[::-1]
    gone = [entry for entry in every if entry.deleted and _matches(entry, wanted)]
    there = [entry for entry in every if not entry.deleted]
    selector = wanted.alias or wanted.digest or f"v{wanted.index}"
    if gone:
        return f"{wanted.name} has no {selector!r}: v{gone[-1].index} was deleted."
    if not there:
        return f"{wanted.name} has no version: all {len(every)} were deleted."
    aliases = _some(alias for entry in reversed(there) for alias in entry.aliases)
    return (
        f"{wanted.name} has no {selector!r}. It has {len(there)} versions, v{there[0].index} to "
        f"v{there[-1].index}, and the aliases: {aliases}."
    )


def _some(found: Iterable[str]) -> str:
    all_names = list(found)
    more = f", … ({len(all_names)} in all)" if len(all_names) > _SHOWN else ""
    return ", ".join(all_names[:_SHOWN]) + more


def open_store(location: str | os.PathLike[str] | None = None) -> Store:
    """Open the store at a folder or URL; it is created with the first version.

    location defaults to $KEPT_STORE, and without that to ./kept-store. A folder is written as a
    path or as file:///path, object storage as s3://bucket/prefix, gs://bucket/prefix or
    az://container/prefix with the credentials in the cloud's own environment variables; memory:
    is a new store in this process's memory.

    Raises NotAStore, NewerFormat, InvalidInput or RemoteError.
    """
    return Store(open_bucket(location))


def open_bucket(location: str | os.PathLike[str] | None = None) -> Bucket:
    """Return the bucket at a location as open_store takes it; nothing is read of it yet."""
    text = os.fspath(location) if location is not None else os.environ.get("KEPT_STORE")
    return _bucket(text or "kept-store")


def _bucket(text: str) -> Bucket:
    from kept.bucket.local import LocalBucket
    from kept.bucket.location import is_remote
    from kept.bucket.memory import MemoryBucket

    scheme, separator, rest = text.partition("://")
    if text in ("memory:", "memory://"):
        return MemoryBucket()
    if not separator:
        return LocalBucket(os.path.expanduser(text))
    if scheme == "file" and rest.startswith("/"):
        from urllib.parse import unquote

        return LocalBucket(unquote(rest))
    if is_remote(text):
        from kept.bucket.object import ObjectBucket

        return ObjectBucket(text)
    raise InvalidInput(
        "A store is a folder, a file:///path, s3://, gs://, az:// or memory:. "
        f"Received: {scheme + '://…'!r}"
    )
