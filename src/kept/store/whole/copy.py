"""Copies one version to another artifact, of the same store or of another one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from kept.bucket.transfer import Transfer
from kept.store.commit import Committed, check_type, log_stored
from kept.store.describe.log_metrics import log_metrics, metrics_event
from kept.store.describe.update import Update, update
from kept.store.format_marker import known_id
from kept.store.log.fence import WriteFence, with_write_fence
from kept.store.log.history import VersionRecord, live, version_records
from kept.store.origin.origin import parent_of, provenance_of, uses_of
from kept.store.whole.copy_content import ContentCopy

if TYPE_CHECKING:
    from collections.abc import Collection

    from kept.bucket.base import Bucket
    from kept.bucket.transfer import Progress
    from kept.store.encoding import Json
    from kept.store.log.changes import Changes
    from kept.store.log.events import Event
    from kept.store.log.log import Log, Logs
    from kept.store.origin.links import Link


class Original(NamedTuple):
    """The version that is copied."""

    bucket: Bucket
    record: VersionRecord
    link: Link  # to it, as the copy names it
    parent: Link | None  # of it, as the copy names it
    provenance: dict[str, Json]


def original_of(logs: Logs, record: VersionRecord, link: Link, target: Logs) -> Original:
    """Return a version of one store as copy_version takes it, for a copy in the target's store."""
    here = (logs.bucket.location, known_id(logs.marker))
    there = (target.bucket.location, known_id(target.marker))
    parent = parent_of(record)
    return Original(
        logs.bucket,
        record,
        _from(link, here, there),
        _from(parent, here, there) if parent else None,
        provenance_of(logs.of(link.artifact).view(), record),
    )


_Place = tuple[str, str]  # the location of a store, and its id


def _from(link: Link, here: _Place, there: _Place) -> Link:
    """Return a link of the store here as a version of the store there has it."""
    if link.store is None:
        return link if here == there else replace(link, store=here[0], store_id=here[1] or None)
    place = (link.store, link.store_id or "")
    is_there = place == there or (place[1] and place[1] == there[1])
    return replace(link, store=None, store_id=None) if is_there else link


def copy_version(original: Original, target: Log, progress: Progress | None = None) -> Committed:
    """Log the content of a version as a version of the target's artifact; see Store.copy.

    Of the content, only blobs that the target lacks are moved. progress is called with these bytes.
    """
    content = ContentCopy(original.bucket, target.bucket)
    record = original.record

    def build(fence: WriteFence) -> Committed:
        check_type(next(version_records(fence.view.facts()), None), record.type)
        content.forget()
        newest = next(live(fence.view.facts()), None)
        event = _event(original)
        if newest is not None and newest.digest == record.digest:
            event["manifest"] = newest.manifest  # it has the content, maybe in other blobs
            size = 0
        else:
            transfer = Transfer(record.size, progress, in_parts=True)
            _, size = content.copy(record, fence.condemned, transfer)
        version, is_new = log_stored(target, fence, event)
        return Committed(version, is_new, size, frozenset())

    committed = with_write_fence(target, build)
    if not committed.is_new and not _is_copy(committed.record, original):
        return committed  # what is said of a version of another origin stays
    return committed._replace(record=_described(target, committed.record, record.changes))


def _is_copy(record: VersionRecord, original: Original) -> bool:
    """Return whether a version is a copy of the original, maybe of an interrupted call."""
    return original.link in uses_of(record)


def _event(original: Original) -> Event:
    record = original.record
    event: Event = {
        "type": record.type,
        "manifest": record.manifest,
        "digest": record.digest,
        "size": record.size,
        "aliases": [],
        "metadata": record.metadata,
        "uses": [original.link.as_json()],
    }
    if original.parent is not None:  # metadata may name it, too, but not its store
        event["parent"] = original.parent.as_json()
    return event | ({"provenance": original.provenance} if original.provenance else {})


def _described(log: Log, record: VersionRecord, changes: Changes) -> VersionRecord:
    """Log for a copy what was said of its original since; return the copy with that.

    What is said of the copy already, by an interrupted call or by people, is not replaced.
    """
    said = record.changes
    for event in _metrics_events(changes, _newest_metrics(said).keys()):
        record = log_metrics(log, record.index, event) or record
    new = Update(
        None if said.description else changes.description,
        dict.fromkeys(changes.tags, True),
        {key: value for key, value in changes.metadata.items() if key not in said.metadata},
        None,
    )
    return update(log, record.index, new) if any(new) else record


_Measured = tuple[str, str | None]  # a metric, and its data set
_Metrics = dict[_Measured, tuple[float | str, str | None]]


def _metrics_events(changes: Changes, have: Collection[_Measured]) -> list[Event]:
    """Return the events of the metrics that a copy lacks, oldest first."""
    groups: list[tuple[str | None, str | None, dict[str, float]]] = []
    for (name, dataset), (value, evaluation) in _newest_metrics(changes).items():
        if (name, dataset) in have:
            continue
        if not groups or groups[-1][:2] != (dataset, evaluation):
            groups.append((dataset, evaluation, {}))
        groups[-1][2][name] = float(value)
    return [metrics_event(metrics, data, evaluation) for data, evaluation, metrics in groups]


def _newest_metrics(changes: Changes) -> _Metrics:
    """Return the newest value and evaluation of each metric and data set, oldest first."""
    found: _Metrics = {}
    for each in reversed(changes.logged):
        found.pop((each.name, each.dataset), None)
        found[each.name, each.dataset] = each.value, each.evaluation
    return found
