"""What the records of a log report to a watcher, and the JSON that describes it.

The state of a version in an event is that at its record. So an event that is sent twice is the same
both times, whatever has happened since.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from kept.digest import digest
from kept.names import is_automatic
from kept.store.encoding import canonical
from kept.store.log.history import version_records
from kept.watch.state import indexes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.store.encoding import Json
    from kept.store.log.events import Event, Item
    from kept.store.log.history import VersionRecord
    from kept.watch.state import State

KINDS = ("commit", "alias", "mirrored", "deleted", "metric")
_HEX = re.compile(r"[0-9a-f]{32}")
_METRICS = 10  # of an event, in a line for people
_CUT = ("metadata", "metrics", "logged", "tags", "aliases", "promotion")  # in this order
_SHORT = 8  # hex digits of a digest in an id, because an id has no full stop


class Happening(NamedTuple):
    """One event that a watcher sends."""

    id: str  # the same in each copy of the artifact, and each time the event is sent
    kind: str
    artifact: str
    time: str  # UTC, ISO 8601
    reference: str  # of the version
    facts: dict[str, Json]  # what only this kind of event has, and by
    version: VersionRecord

    def text(self) -> str:
        """Return the event in one line, for people."""
        by = f" by {self.facts['by']}" if self.facts.get("by") else ""
        facts = self.facts
        match self.kind:
            case "commit":
                what = f"committed{_listed(self.version.aliases)}"
            case "alias" if facts["removed"]:
                what = f"lost the alias {facts['alias']}"
            case "alias":
                was = f" (was v{facts['was']})" if facts["was"] is not None else ""
                what = f"is now {self.artifact}:{facts['alias']}{was}"
            case "mirrored":
                what = f"is in the mirror {facts['mirror']}"
            case "deleted":
                what = f"deleted ({facts['reason']})" if facts["reason"] else "deleted"
            case _:
                what = f"has the metrics {_values(facts['logged'])}"
        return f"{self.reference} {what}{by}"


class Wanted(NamedTuple):
    """Which events a watcher sends."""

    kinds: frozenset[str]
    names: str | None = None  # an artifact, or a glob of artifacts
    aliases: str | None = None  # an alias, or a glob, for events of the kind alias

    def has_artifact(self, name: str) -> bool:
        """Return whether the events of an artifact are wanted."""
        return self.names is None or fnmatchcase(name, self.names)

    def has(self, happening: Happening) -> bool:
        """Return whether an event of a wanted artifact is wanted."""
        if happening.kind not in self.kinds:
            return False
        if happening.kind != "alias" or self.aliases is None:
            return True
        return fnmatchcase(happening.facts["alias"], self.aliases)


def body_of(happening: Happening, store: str, store_id: str, most: int | None = None) -> bytes:
    """Return an event as JSON; cut names what is left out if it had more than most bytes."""
    version = happening.version
    metrics = version.metadata.get("metrics")
    own = metrics if isinstance(metrics, dict) else {}
    data: dict[str, Json] = {
        "artifact": happening.artifact,
        "reference": happening.reference,
        "index": version.index,
        "type": version.type,
        "size": version.size,
        "digest": version.digest,
        "created_at": version.created_at,
        "aliases": list(version.aliases),
        "tags": list(version.changes.tags),
        "metrics": own | version.changes.metrics,
        "metadata": version.described,
        "store": store,
        "store_id": store_id,
        **happening.facts,
    }
    whole = {"id": happening.id, "type": happening.kind, "timestamp": happening.time, "data": data}
    encoded = canonical(whole)
    cut: list[str] = []
    for key in _CUT:
        if most is None or len(encoded) <= most:
            break
        if data.get(key):
            cut.append(key)
            data |= {key: None if key == "metadata" else type(data[key])(), "cut": cut}
            encoded = canonical(whole)
    return encoded


def happened(name: str, state: State, event: Event) -> Iterator[Happening]:
    """Yield what the next record reports, and take it into the state of the artifact."""
    kind = event["event"]
    if kind in ("delete", "remove"):
        yield from _deletions(name, event, state)
        state.add(event)
        return
    commits = kind == "version"
    moves = dict.fromkeys(event["aliases"], event["index"]) if commits else event.get("aliases", {})
    chosen = {alias: index for alias, index in moves.items() if not is_automatic(alias)}
    held = {alias: state.version(state.holder(alias)) for alias in chosen}
    state.add(event)
    if commits:
        if event.get("deleted"):  # a copy of a version whose content is gone
            return
        version = state.version(event["index"])
        assert version is not None, "the record commits it"
        yield _made(name, event, "commit", version, {"by": _committer(event, state)})
    elif kind == "metrics" and event["metrics"] and (found := state.version(event["index"])):
        facts = {key: event.get(key) for key in ("dataset", "evaluation")}
        yield _made(name, event, "metric", found, {"logged": event["metrics"], **facts})
    for alias, index in chosen.items():
        now = state.version(index)
        if now is not None or index is None:
            yield from _move(name, event, alias, (held[alias], now))


def mirrored(
    name: str, newest_first: Sequence[Item], mirror: str, versions: range, time: str
) -> Iterator[Happening]:
    """Yield the versions of a range that a mirror has confirmed, oldest first."""
    records = (item for item in newest_first if isinstance(item, dict))
    commits = {record["index"]: record for record in records if record["event"] == "version"}
    found = [r for r in version_records(newest_first, []) if r.index in versions and not r.deleted]
    for version in reversed(found):
        made = _made(name, commits[version.index], "mirrored", version, {"mirror": mirror}, mirror)
        yield made._replace(time=time)


def _deletions(name: str, event: Event, state: State) -> Iterator[Happening]:
    """Yield the versions that an event deletes; an artifact that was renamed has lost none."""
    if "moved_to" in event:
        return
    for index in state.live(indexes_of(event)):
        version = state.version(index)
        assert version is not None, "it is live"
        yield _made(name, event, "deleted", version, {"reason": event.get("reason")}, f"v{index}")


def _move(
    name: str,
    event: Event,
    alias: str,
    move: tuple[VersionRecord | None, VersionRecord | None],
) -> Iterator[Happening]:
    """Yield the move of an alias from a version to another, unless it stays where it was."""
    held, now = move
    version = now or held
    if version is None or (held and now and held.index == now.index):
        return
    facts = {"alias": alias, "was": held.index if held else None, "removed": now is None}
    if "promotion" in event:
        facts["promotion"] = event["promotion"]
    yield _made(name, event, "alias", version, facts, alias)


def _committer(event: Event, state: State) -> str | None:
    """Return who committed a version, by its provenance; None if that does not say."""
    found = event.get("provenance")
    if isinstance(found, int):  # an earlier version has the same one
        found = state.provenance(found)
    if not isinstance(found, dict) or not found.get("user"):
        return None
    return f"{found['user']}@{found.get('host') or 'unknown'}"


def _made(  # noqa: PLR0913, PLR0917 - the parts of an event
    name: str,
    event: Event,
    kind: str,
    version: VersionRecord,
    facts: dict[str, Json],
    detail: str = "",
) -> Happening:
    write_id = event["write_id"]
    if not _HEX.fullmatch(write_id):  # a header takes it in any case
        write_id = digest(write_id.encode(errors="surrogatepass"))[:32]
    # A copy under another name has the same records: so the id has the name, too.
    about = digest(f"{name}\n{detail}".encode(errors="surrogatepass"))[:_SHORT]
    return Happening(
        "-".join((write_id, kind, about)),
        kind,
        name,
        event["time"],
        f"{name}:v{version.index}",
        {"by": event.get("by"), **facts},
        version,
    )


def _values(metrics: dict[str, float | str]) -> str:
    shown = [f"{name}={_number(metrics[name])}" for name in list(metrics)[:_METRICS]]
    more = f", … ({len(metrics):,} in all)" if len(metrics) > _METRICS else ""
    return ", ".join(shown) + more


def _number(value: float | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _listed(aliases: Sequence[str]) -> str:
    return f" as {', '.join(aliases)}" if aliases else ""
