"""The values of a version that conditions read and lists are sorted by, under their names.

The value of a metric is the newest one that was logged later, else that of the commit. If two
values have one name, that of the version itself counts before a metric, a metric before metadata,
and metadata before provenance.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kept.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kept.store.condition.literal import Scalar, Value
    from kept.store.encoding import Json
    from kept.store.log.history import VersionRecord

# Of the version itself. A metric or metadata of such a name is metadata.NAME.
OWN = ("artifact", "version", "type", "size", "created", "digest", "aliases", "tags",
       "description", "expires", "parent", "uses")  # fmt: skip
LISTS = ("aliases", "tags", "uses")  # empty, not missing
MOMENTS = ("created", "expires")
_PREFIXES = ("metadata.", "metrics.")
_INFINITE = {"inf": float("inf"), "-inf": float("-inf")}
_DEEPEST = 20  # objects inside each other


def canonical_name(name: str) -> str:
    """Return a name as values_of has it: metadata.lr is lr, but metadata.size stays."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            return f"metadata.{rest}" if rest in OWN else rest
    return name


def values_of(
    name: str, record: VersionRecord, provenance: Mapping[str, Json] | None = None
) -> dict[str, Value]:
    """Return the values of a version of the artifact name; a missing one has no key.

    Pass the provenance if the record only says which other version has the same.
    """
    origin = record.origin
    if provenance is None and isinstance(origin.get("provenance"), dict):
        provenance = origin["provenance"]
    described = {key: value for key, value in record.described.items() if key != "metrics"}
    found = _renamed(_flat(described) | _metrics(record))
    return provenance_values(provenance or {}) | found | _own(name, record)


def provenance_values(provenance: Mapping[str, Json]) -> dict[str, Value]:
    """Return the values of a provenance, which many versions share."""
    return _renamed(
        {
            name.replace("packages.versions.", "packages.", 1): value
            for name, value in _flat(provenance).items()
        }
    )


def _renamed(found: dict[str, Value]) -> dict[str, Value]:
    """Return values with other names for those that only the version itself has."""
    for taken in found.keys() & set(OWN):
        found[f"metadata.{taken}"] = found.pop(taken)
    return found


def _metrics(record: VersionRecord) -> dict[str, Value]:
    """Return the value of each metric, as rank.values.measured finds that of one."""
    committed = record.metadata
    found: dict[str, Value] = {}
    if isinstance(monitor := committed.get("monitor"), str):
        found |= _flat({monitor: committed.get("value")})
    if isinstance(metrics := committed.get("metrics"), dict):
        found |= _flat(metrics)
    return found | _flat(record.changes.metrics)


def _own(name: str, record: VersionRecord) -> dict[str, Value]:
    origin, changes = record.origin, record.changes
    found: dict[str, Value] = {
        "artifact": name,
        "version": record.index,
        "type": record.type,
        "size": record.size,
        "created": _moment(record.created_at),
        "digest": record.digest,
        "aliases": record.aliases,
        "tags": changes.tags,
        "uses": tuple(filter(None, map(_source, origin.get("uses", ())))),
    }
    if changes.description is not None:
        found["description"] = changes.description
    if record.expires is not None:
        found["expires"] = _moment(record.expires)
    if parent := _source(origin.get("parent")):
        found["parent"] = parent
    return found


def _source(value: Json) -> str | None:
    """Return what a version was made from as a text: a reference, or a URI."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("uri"), str):
        return str(value["uri"])
    artifact, index = value.get("artifact"), value.get("index")
    if not isinstance(artifact, str):
        return None
    store = f"{value['store']}/" if isinstance(value.get("store"), str) else ""
    selector = value.get("alias", "latest") if index is None else f"v{index}"
    return f"{store}{artifact}:{selector}"


def _moment(moment: str) -> str:
    """Return a moment of a log with all its digits, so that texts have the order of moments."""
    return time_text(datetime.fromisoformat(moment).astimezone(UTC))


def _flat(values: Mapping[str, Json], prefix: str = "", depth: int = 0) -> dict[str, Value]:
    """Return values that may be nested, under dotted names; lists keep their plain elements."""
    found: dict[str, Value] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            if depth < _DEEPEST:
                found |= _flat(value, f"{name}.", depth + 1)
        elif isinstance(value, list):
            found[name] = tuple(_scalars(value))
        elif value is not None:
            found[name] = _INFINITE.get(value, value) if isinstance(value, str) else value
    return found


def _scalars(values: list[Json]) -> Iterator[Scalar]:
    for value in values:
        if isinstance(value, str):
            yield _INFINITE.get(value, value)
        elif isinstance(value, (int, float)):
            yield value
