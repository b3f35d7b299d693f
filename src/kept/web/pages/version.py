"""The page of a version: what it is, whether it can be trusted, and how to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.errors import KeptError
from kept.store.content.manifest import Manifest
from kept.store.display.lines import Lines, lines_for
from kept.store.rank.values import finite
from kept.web.facts.version.content import content_of, manifest_of
from kept.web.facts.version.facts import VersionFacts, history_of, version_facts
from kept.web.facts.version.family import Family, family_of
from kept.web.facts.version.layers import Layers, layers_of
from kept.web.facts.version.metadata import flat, searched
from kept.web.facts.version.metrics import MOST, metric_history, metrics_of
from kept.web.page import Page
from kept.web.pages.file import version_file
from kept.web.pages.tensor import tensor_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from kept.store.log.history import VersionRecord
    from kept.store.promotion.history import Change
    from kept.web.page import Stream
    from kept.web.query import Query
    from kept.web.reading.reader import Reader

PARTS = ("layers", "lineage", "history")  # parts that are made only if with= names them
_KEY_METRICS = 6
_FILES = 50  # on a page


def version_page(reader: Reader, query: Query, name: str, index: int) -> Page:
    """Return the page of a version, deleted or not.

    The address says with=layers, with=lineage or with=history for the parts that take longer. A
    script asks for them, and an exported page has all of them.
    """
    facts = version_facts(reader, name, index)
    bucket, record = reader.store.bucket, facts.record
    manifest = manifest_of(bucket, record)
    metrics = metrics_of(record, facts.before)
    logged = list(metric_history(record))
    values: dict[str, Any] = {
        "facts": facts,
        "record": record,
        "metrics": metrics,
        "key_metrics": metrics[:_KEY_METRICS],
        "metric_history": logged[:MOST],
        "more_metrics": max(len(logged) - MOST, 0),
        "metadata": searched(record.described, query.get("find"), query.number("page", 1)),
        "times": _times(record),
        **_provenance(facts),
        "lines": _lines(reader, facts, manifest),
        "problem": manifest if isinstance(manifest, str) else "",
        **_files(reader, facts, manifest, query.number("files", 1, least=1)),
        **_parts(reader, facts, manifest, query),
    }
    return Page("version.html", facts.reference, values)


def metadata_json(reader: Reader, query: Query, name: str, index: int) -> dict[str, Any]:  # noqa: ARG001 - as all pages
    """Return the metadata of a version, whole."""
    return dict(version_facts(reader, name, index).record.described)


def _lines(reader: Reader, facts: VersionFacts, manifest: Manifest | str) -> Lines:
    paths = [] if isinstance(manifest, str) else [file.path for file in manifest.files]
    return lines_for(reader.store.location, facts.name, facts.record, paths)


def _times(record: VersionRecord) -> list[str]:
    """Return how long the training waited for the save, and how long it was written."""
    known = [("stall", "stall_seconds"), ("write", "write_seconds")]
    found = [(word, finite(record.metadata.get(key))) for word, key in known]
    return [f"{word} {_seconds(value)}" for word, value in found if value is not None]


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def _provenance(facts: VersionFacts) -> dict[str, Any]:
    """Return the provenance as rows; the packages, which are many, on their own."""
    rows = flat({key: v for key, v in facts.provenance.items() if key not in ("packages", "git")})
    git, packages = (facts.provenance.get(key) for key in ("git", "packages"))
    versions = packages.get("versions") if isinstance(packages, dict) else None
    return {
        "provenance": [row for row in rows if row.path != "command"],
        "git": git if isinstance(git, dict) else {},
        "packages": flat(versions if isinstance(versions, dict) else {}),
    }


def _files(
    reader: Reader, facts: VersionFacts, manifest: Manifest | str, page: int
) -> dict[str, Any]:
    """Return the files of a version, one page of them."""
    if isinstance(manifest, str):
        return {"content": None, "files": [], "files_page": 1, "files_pages": 1}
    older = None if facts.before is None else manifest_of(reader.store.bucket, facts.before)
    before = older if isinstance(older, Manifest) else None
    content = content_of(manifest, before, is_first=facts.before is None)
    pages = max(-(-len(content.files) // _FILES), 1)
    page = min(page, pages)
    shown = content.files[(page - 1) * _FILES : page * _FILES]
    return {"content": content, "files": shown, "files_page": page, "files_pages": pages}


def _parts(
    reader: Reader, facts: VersionFacts, manifest: Manifest | str, query: Query
) -> dict[str, Any]:
    """Return the parts that the address asks for; the others are None."""
    wanted = query.all("with")
    layers: Layers | None = None
    if "layers" in wanted and isinstance(manifest, Manifest):
        earlier = _earlier(reader, facts)
        page = query.number("tensors", 1, least=1)
        layers = layers_of(reader.store.bucket, manifest, earlier, page)
    history: list[Change] | None = None
    if "history" in wanted:
        history = history_of(reader, facts.name, facts.record.index)
    family: Family | str | None = _family(reader, facts) if "lineage" in wanted else None
    return {"layers": layers, "history": history, "family": family}


def _family(reader: Reader, facts: VersionFacts) -> Family | str:
    try:
        return family_of(reader, facts.name, facts.record)
    except (KeptError, OSError) as error:  # damage elsewhere does not hide the rest
        return str(error)


def _earlier(reader: Reader, facts: VersionFacts) -> list[VersionRecord]:
    """Return the versions before this one, the newest first."""
    live = reader.versions(facts.name).live
    return [record for record in live if record.index < facts.record.index]


# By the ends of their addresses, below the one of the artifact.
VIEWS: dict[str, Callable[..., Page | Stream | dict[str, Any]]] = {
    "v{index:int}/": version_page,
    "v{index:int}/metadata.json": metadata_json,
    "v{index:int}/tensor/": tensor_page,
    "v{index:int}/file/": version_file,
}
