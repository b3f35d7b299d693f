"""The origin of a version: what its record says of it, and how that is read again.

The versions of a run have one provenance, so only the first of them holds it. A later record has
the index of that version instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kept.errors import InvalidInput
from kept.store.log.events import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from kept.store.encoding import Json
    from kept.store.log.events import Event
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Log, Logs, View
    from kept.store.origin.capture import Capture
    from kept.store.origin.links import Link, Source


@dataclass(frozen=True, slots=True)
class Origin:
    """What a commit is to record of a version's origin."""

    provenance: Capture | dict[str, Json] | None = None  # None if it is not to be captured
    parent: Link | None = None
    uses: tuple[Link | Source, ...] = ()

    def facts(self) -> dict[str, Json]:
        """Return the keys of the event that commits the version; waits for the capture."""
        captured = self.provenance
        if captured is not None and not isinstance(captured, dict):
            captured = captured.result()
        facts: dict[str, Json] = {"provenance": captured} if captured else {}
        if self.parent is not None:
            facts["parent"] = self.parent.as_json()
        if self.uses:
            facts["uses"] = [link.as_json() for link in self.uses]
        return facts


UNKNOWN = Origin()


def origin_of(logs: Logs, uses: Iterable[Any], *, capture: bool | Origin) -> Origin:
    """Return the origin of a version that is about to be committed; see Store.log_artifact.

    Raises InvalidInput, NotFound, or what reading the used stores raises.
    """
    if isinstance(capture, Origin):
        return capture
    if not isinstance(capture, bool):
        raise InvalidInput(f"capture is True or False. Received: capture={capture!r}")
    from kept.store.origin.capture import of_process
    from kept.store.origin.uses import resolve, wanted

    links = resolve(wanted(uses), logs)
    return Origin(of_process() if capture else None, None, links)


def origin_from(facts: dict[str, Json]) -> Origin:
    """Return the origin whose facts an entry of an outbox holds."""
    from kept.store.origin.links import Link, link_in, links_in

    parent = link_in(facts["parent"]) if isinstance(facts.get("parent"), dict) else None
    provenance = facts.get("provenance")
    return Origin(
        provenance if isinstance(provenance, dict) else None,
        parent if isinstance(parent, Link) else None,
        links_in(facts.get("uses")),
    )


def stored_once(log: Log, view: View, event: Event) -> Event:
    """Return a version's event with an index as its provenance, if an earlier version has it.

    It looks at the versions after the newest page, and at the last one that this process committed:
    that costs no request.
    """
    provenance = event.get("provenance")
    if not isinstance(provenance, dict):
        return event
    known = log.provenance
    if known is not None and known[1] == provenance:
        return event | {"provenance": known[0]}
    for item in reversed(view.tail):
        if not isinstance(item, Fault) and item.get("provenance") == provenance:
            return event | {"provenance": item["index"]}
    return event


def remember(log: Log, recorded: Event, provenance: Json) -> None:
    """Note which version of a log holds a provenance, for stored_once."""
    stated = recorded.get("provenance")
    if isinstance(provenance, dict) and stated is not None:
        log.provenance = (recorded["index"] if stated == provenance else stated, provenance)


def known_provenance(record: VersionRecord) -> dict[str, Json] | None:
    """Return the provenance of a version; None if the record of another version has it."""
    stated = record.origin.get("provenance", {})
    return stated if isinstance(stated, dict) else None


def provenance_of(view: View, record: VersionRecord) -> dict[str, Json]:
    """Return the provenance of a version, empty if it is unknown or its record was lost."""
    known = known_provenance(record)
    if known is not None:
        return known
    stated = record.origin["provenance"]
    for item in view.facts():
        if not isinstance(item, Fault) and item["event"] == "version" and item["index"] == stated:
            found = item.get("provenance")
            return found if isinstance(found, dict) else {}
    return {}


def parent_of(record: VersionRecord) -> Link | None:
    """Return the version that a run continued from, None for a run that did not resume.

    Versions of an earlier kept have it in their metadata only.
    """
    stated = record.origin.get("parent")
    if isinstance(stated, dict):
        from kept.store.origin.links import Link, link_in

        link = link_in(stated)
        return link if isinstance(link, Link) else None
    noted = record.metadata.get("parent")
    return link_from_note(noted) if isinstance(noted, dict) else None


def link_from_note(noted: dict[str, Json]) -> Link | None:
    """Return the link that the metadata of a resumed run notes: a reference, and a digest."""
    from kept.store.origin.links import Link, link_in

    name, colon, version = str(noted.get("reference")).rpartition(":v")
    if not colon or not version.isdecimal():
        return None
    found = link_in({"artifact": name, "index": int(version), "digest": noted.get("digest")})
    return found if isinstance(found, Link) else None


def uses_of(record: VersionRecord) -> tuple[Link | Source, ...]:
    """Return what a version was made from."""
    stated = record.origin.get("uses")
    if stated is None:
        return ()
    from kept.store.origin.links import links_in

    return links_in(stated)
