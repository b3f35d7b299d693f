"""What is known of a version from the log of its artifact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kept.names import BEST, LATEST, is_automatic
from kept.store.display.measured import saved_at
from kept.store.health.state import Health, health_of
from kept.store.origin.origin import parent_of, uses_of
from kept.store.promotion.history import history
from kept.store.promotion.protected import protected_among
from kept.store.signing.signatures import claimed_signatures

if TYPE_CHECKING:
    from kept.store.encoding import Json
    from kept.store.log.history import VersionRecord
    from kept.store.origin.links import Link, Source
    from kept.store.promotion.history import Change
    from kept.store.signing.statement import Signature
    from kept.web.reading.reader import Reader

MOST = 100  # changes on a page
_MOST_READ = 20_000  # changes of the artifact
_ENDINGS = ("delete", "remove", "move")


class Alias(NamedTuple):
    """An alias, and how it is marked."""

    name: str
    kind: str  # "best", "protected", "latest", "automatic" or ""


@dataclass(frozen=True)
class VersionFacts:
    """A version, and those that it is compared with."""

    name: str
    record: VersionRecord
    faults: list[str]  # of the log
    before: VersionRecord | None  # not deleted, as all the following
    after: VersionRecord | None
    best: VersionRecord | None
    latest: VersionRecord | None
    aliases: list[Alias]
    signatures: list[Signature]  # as they are stored, not checked
    provenance: dict[str, Json]
    ending: Change | None  # who deleted or moved it

    @property
    def reference(self) -> str:
        """The text that names the version."""
        return f"{self.name}:v{self.record.index}"

    @property
    def health(self) -> Health:
        """The health, as it was measured at the save."""
        return health_of(self.record)

    @property
    def saved_at(self) -> str | None:
        """When another program saved the checkpoint, if it was imported."""
        return saved_at(self.record)

    @property
    def parent(self) -> Link | None:
        """The version from which the run continued."""
        return parent_of(self.record)

    @property
    def uses(self) -> tuple[Link | Source, ...]:
        """What the version was made from."""
        return uses_of(self.record)

    @property
    def committer(self) -> str | None:
        """Who committed the version, by its provenance."""
        user = self.provenance.get("user")
        return f"{user}@{self.provenance.get('host') or 'unknown'}" if user else None

    @property
    def moved_to(self) -> str | None:
        """The new name of the artifact, if the version was renamed with it."""
        return self.ending.details.get("moved_to") if self.ending else None

    @property
    def partners(self) -> list[tuple[str, VersionRecord]]:
        """The versions that it is worth comparing with, each once, with a word for it."""
        found: dict[int, tuple[str, VersionRecord]] = {}
        for word, each in (("before", self.before), ("best", self.best), ("latest", self.latest)):
            if each is not None and each.index != self.record.index:
                found.setdefault(each.index, (word, each))
        return list(found.values())


def version_facts(reader: Reader, name: str, index: int) -> VersionFacts:
    """Return what is known of a version, deleted or not.

    Raises ArtifactNotFound, VersionNotFound or Damaged.
    """
    store = reader.store
    versions = reader.versions(name)
    record, before = around(reader, name, index)
    live = versions.live
    return VersionFacts(
        name,
        record,
        versions.faults,
        before,
        next((each for each in reversed(live) if each.index > index), None),
        next((each for each in live if BEST in each.aliases), None),
        live[0] if live else None,
        aliases_of(reader, record),
        claimed_signatures(store.log(name), index),
        provenance_of(reader, name, record),
        _ending(reader, name, index) if record.deleted else None,
    )


def aliases_of(reader: Reader, record: VersionRecord) -> list[Alias]:
    """Return the aliases of a version, with what marks them."""
    marked = frozenset(protected_among(reader.store.bucket, record.aliases))
    return [Alias(alias, _kind(alias, marked)) for alias in record.aliases]


def provenance_of(reader: Reader, name: str, record: VersionRecord) -> dict[str, Json]:
    """Return the provenance of a version; the record of another version may hold it."""
    stated = record.origin.get("provenance", {})
    if isinstance(stated, int):
        records = reader.versions(name).records
        holder = next((each for each in records if each.index == stated), None)
        stated = holder.origin.get("provenance") if holder else None
    return stated if isinstance(stated, dict) else {}


def around(reader: Reader, name: str, index: int) -> tuple[VersionRecord, VersionRecord | None]:
    """Return a version, and the one before it that is not deleted; raises NotFound or Damaged."""
    versions = reader.versions(name)
    record = next((each for each in versions.records if each.index == index), None)
    if record is None:
        record = reader.store.logged(name, index).record
    return record, next((each for each in versions.live if each.index < index), None)


def history_of(reader: Reader, name: str, index: int) -> list[Change]:
    """Return the changes of a version, the newest first, up to MOST."""
    found: list[Change] = []
    for position, change in enumerate(history(reader.store.logs, name)):
        if is_about(change, index):
            found.append(change)
        is_commit = change.action == "version" and change.details.get("version") == index
        if is_commit or len(found) >= MOST or position >= _MOST_READ:
            break
    return found


def is_about(change: Change, index: int) -> bool:
    """Return whether a change concerns a version."""
    details = change.details
    if details.get("version") == index or index in (details.get("versions") or ()):
        return True
    was = details.get("was")
    moved = details.get("aliases")
    places = [*(was.values() if isinstance(was, dict) else [was])]
    places += moved.values() if isinstance(moved, dict) else []
    return index in places


def _ending(reader: Reader, name: str, index: int) -> Change | None:
    """Return the change that deleted a version."""
    for position, change in enumerate(history(reader.store.logs, name)):
        if change.action in _ENDINGS and is_about(change, index):
            return change
        if position >= _MOST_READ:
            break
    return None


def _kind(alias: str, marked: frozenset[str]) -> str:
    if alias in (BEST, LATEST):
        return alias
    return "protected" if alias in marked else "automatic" if is_automatic(alias) else ""
