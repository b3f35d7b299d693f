"""The lineage of a version: what it was made from, and what was made from it.

Invariant: each version appears once in each direction with its own links. So a circle, which only a
damaged or forged log can have, ends at its second place.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kept.bucket.open import bucket_at
from kept.errors import KeptError
from kept.parallel import mapped, within
from kept.store.format_marker import check_format, known_id
from kept.store.log.events import Fault
from kept.store.log.history import version_records
from kept.store.log.log import Log, Logs
from kept.store.origin.links import Link, Source
from kept.store.origin.origin import parent_of, uses_of
from kept.store.problems import warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.encoding import Json
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import View

_SECONDS = 20.0  # that another store has to answer

PARENT, USES, RESUMED, USED = "parent", "uses", "resumed by", "used by"


@dataclass(slots=True)
class Lineage:
    """A version or source, and those that it is related to."""

    reference: str  # "name:v3", or a URI
    relation: str = ""  # to the one above: "parent", "uses", "resumed by" or "used by"
    store: str | None = None  # the location, None for the store of the first version
    digest: str | None = None
    aliases: tuple[str, ...] = ()
    created_at: str | None = None
    state: str = "exists"  # or why it cannot be shown: "deleted", "missing", "repeated" and others
    up: list[Lineage] = field(default_factory=list)  # what it was made from
    down: list[Lineage] = field(default_factory=list)  # what was made from it

    def as_json(self) -> dict[str, Json]:
        """Return it, with all above and below, as JSON can hold it."""
        root: dict[str, Json] = {}
        waiting = [(self, root)]
        while waiting:  # no recursion: a run that was resumed 1,000 times has 1,000 levels
            node, shape = waiting.pop()
            shape |= {
                "reference": node.reference,
                "relation": node.relation or None,
                "store": node.store,
                "digest": node.digest,
                "aliases": list(node.aliases),
                "created_at": node.created_at,
                "state": node.state,
            }
            for direction in ("up", "down"):
                inner: list[dict[str, Json]] = [{} for _ in getattr(node, direction)]
                shape[direction] = inner
                waiting += zip(getattr(node, direction), inner, strict=True)
        return root


def lineage_of(
    logs: Logs, name: str, record: VersionRecord, *, up: bool = True, down: bool = True
) -> Lineage:
    """Return the lineage of a version; see Version.lineage. Raises Damaged, or RemoteError."""
    root = _node(f"{name}:v{record.index}", record)
    if up:
        _Ancestors(logs).add(root, name, record)
    if down:
        _Descendants(logs).add(root, name, record)
    return root


def _node(reference: str, record: VersionRecord, relation: str = "") -> Lineage:
    return Lineage(
        reference,
        relation,
        None,
        record.digest,
        record.aliases,
        record.created_at,
        "deleted" if record.deleted else "exists",
    )


@dataclass(slots=True)
class _Place:
    """A store in which versions of the lineage are."""

    location: str | None  # None for that of the first version
    logs: Logs | None  # None if it cannot be read
    problem: str = ""  # then: why
    records: dict[str, dict[int, VersionRecord]] = field(default_factory=dict)
    moved: dict[str, dict[int, str]] = field(default_factory=dict)  # renamed versions: new name

    def of(self, name: str) -> dict[int, VersionRecord]:
        """Return all versions of an artifact that can be read, by index; empty if it has none."""
        if name not in self.records and self.logs is not None:
            self.records[name], self.moved[name] = _read(self.logs, name)
        return self.records.get(name, {})

    def find(self, link: Link, name: str) -> tuple[str, VersionRecord] | None:
        """Return the artifact and the version of a link that a version of the artifact name has.

        A copied artifact can have another name, and a renamed one has: the digest decides.
        """
        if link.index is None:
            return None
        for named in (link.artifact, name):
            candidate: str | None = named
            seen: set[str] = set()
            while candidate is not None:
                record = self.of(candidate).get(link.index)
                if record is None or link.digest not in (None, record.digest):
                    break
                following = self.moved[candidate].get(link.index)
                if following is None or candidate in seen:  # renamed to and fro
                    return candidate, record
                seen.add(candidate)
                candidate = following
        return None


def _read(logs: Logs, name: str) -> tuple[dict[int, VersionRecord], dict[int, str]]:
    """Return the versions of an artifact, and the new name of each that was renamed.

    The log object is a new one: the logs of a large store do not stay in memory.
    """
    view = Log(logs, name).view()
    faults: list[Fault] = []
    records = {record.index: record for record in version_records(view.facts(), faults)}
    warn(name, (fault.message for fault in faults))
    deleted = {index for index, record in records.items() if record.deleted}
    return records, _renamed(view, deleted) if deleted else {}


def _renamed(view: View, deleted: set[int]) -> dict[int, str]:
    """Return the new names of deleted versions; the artifact can have later ones of its own."""
    found: dict[int, str] = {}
    first, is_back = "", False
    for item in view.facts():  # newest first
        if isinstance(item, Fault):
            continue
        if "moved_from" in item:  # the artifact has come back, so older renames do not count
            is_back = True
        elif "moved_to" in item and not is_back:
            first = str(item["moved_to"])
            found = dict.fromkeys(deleted.intersection(item["indexes"]), first) | found
        elif item["event"] == "version" and first and item["index"] in deleted:
            found.setdefault(item["index"], first)  # deleted before the artifact was renamed
    return found


class _Ancestors:
    """What versions were made from, also in other stores."""

    def __init__(self, logs: Logs) -> None:
        self._home = _Place(None, logs)
        self._id = known_id(logs.marker)
        self._places: dict[str, _Place] = {}

    def add(self, root: Lineage, name: str, record: VersionRecord) -> None:
        """Add all ancestors of a version above its node."""
        seen: set[tuple[str | None, str, int]] = set()
        waiting = [(root, self._home, name, record)]
        while waiting:
            node, place, own, version = waiting.pop()
            key = place.location, own, version.index
            if key in seen:
                node.state = "repeated"
                continue
            seen.add(key)
            following = []
            for relation, link in _links(version):
                above, found = self._above(place, own, link)
                above.relation = relation
                node.up.append(above)
                if found is not None:
                    following.append((above, *found))
            waiting += reversed(following)  # so that a version has its links at its first place

    def _above(
        self, place: _Place, own: str, link: Link | Source
    ) -> tuple[Lineage, tuple[_Place, str, VersionRecord] | None]:
        """Return the node of a link, and its version if that can be read."""
        if isinstance(link, Source):
            return Lineage(link.uri, digest=link.digest, state="source"), None
        there = place if link.store is None else self._opened(link)
        node = Lineage(link.reference, store=there.location, digest=link.digest)
        if there.problem:
            node.state = there.problem
            return node, None
        try:
            found = there.find(link, own)
        except (KeptError, OSError) as error:
            if there is self._home:
                raise
            node.state = f"cannot be read: {error}"
            return node, None
        if found is None:
            node.state = "missing" if link.index is not None else "not resolved"
            return node, None
        artifact, record = found
        node = _node(f"{artifact}:v{record.index}", record)
        node.store = there.location
        return node, (there, artifact, record)

    def _opened(self, link: Link) -> _Place:
        """Return the place of another store, opened once."""
        location = str(link.store)
        if location not in self._places:
            self._places[location] = self._open(location)
        place = self._places[location]
        marker = place.logs.marker if place.logs else None
        if marker is not None and link.store_id not in (None, known_id(marker)):
            return _Place(location, None, "another store is there now")
        if marker is not None and known_id(marker) == self._id != "":
            return self._home
        return place

    def _open(self, location: str) -> _Place:
        try:
            bucket = bucket_at(location)
            marker = within(_SECONDS, lambda: check_format(bucket))
        except (KeptError, OSError) as error:  # TimeoutError, too
            problem = str(error) or "it does not answer"
            return _Place(location, None, f"cannot be read: {problem}")
        if not marker.exists:
            return _Place(location, None, "there is no store")
        return _Place(location, Logs(bucket, marker))


def _links(record: VersionRecord) -> Iterator[tuple[str, Link | Source]]:
    parent = parent_of(record)
    if parent is not None:
        yield PARENT, parent
    for use in uses_of(record):
        yield USES, use


class _Descendants:
    """What was made from versions of one store, by its own logs."""

    def __init__(self, logs: Logs) -> None:
        """Read all logs of the store."""
        self._place = _Place(None, logs)
        self._children: dict[tuple[str, int], list[tuple[str, str, VersionRecord]]] = defaultdict(
            list
        )
        names = sorted(logs.names())
        found = mapped(lambda name: _read(logs, name), names, logs.bucket.concurrency)
        linked: list[tuple[str, list[VersionRecord]]] = []  # a store can have a million versions
        for name, (records, moved) in zip(names, found, strict=True):
            versions = [record for index, record in sorted(records.items()) if index not in moved]
            if having := [record for record in versions if next(_links(record), None)]:
                linked.append((name, having))
        for name, having in linked:
            for record in having:
                self._note(name, record)

    def _note(self, name: str, record: VersionRecord) -> None:
        """Note for each link of a version that it leads to the version."""
        store_id = known_id(self._place.logs.marker) if self._place.logs else ""
        for relation, link in _links(record):
            if not isinstance(link, Link):
                continue
            is_here = link.store is None or (store_id and link.store_id == store_id)
            found = self._place.find(link, name) if is_here else None
            if found is not None:
                back = RESUMED if relation == PARENT else USED
                self._children[found[0], found[1].index].append((back, name, record))

    def add(self, root: Lineage, name: str, record: VersionRecord) -> None:
        """Add all descendants of a version below its node."""
        seen: set[tuple[str, int]] = set()
        waiting = [(root, (name, record.index))]
        while waiting:
            node, key = waiting.pop()
            if key in seen:
                node.state = "repeated"
                continue
            seen.add(key)
            following = []
            for relation, artifact, version in self._children.get(key, ()):
                below = _node(f"{artifact}:v{version.index}", version, relation)
                node.down.append(below)
                following.append((below, (artifact, version.index)))
            waiting += reversed(following)
