"""How notebooks display a store, an artifact, a version and a run."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from kept.charts.look import NEUTRAL, Look
from kept.charts.markup import Html, code, heading, local_time, note, pairs, table
from kept.charts.metrics import metric_chart
from kept.charts.parts.series import Axes
from kept.charts.render import can_draw, svg
from kept.charts.sparkline import sparkline
from kept.names import BEST
from kept.store.content.read_manifest import read_manifest
from kept.store.display.lines import lines_for
from kept.store.display.measured import (
    epoch_of,
    metric_names,
    metrics_of,
    monitor_of,
    points_of,
)
from kept.store.health.state import health_of
from kept.store.log.lookup import moved_to, records_of, view_of
from kept.store.log.overview import summaries
from kept.units import counted, metric_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kept.charts.markup import Cell
    from kept.store.content.manifest import File
    from kept.store.log.history import VersionRecord
    from kept.store.log.log import Logs
    from kept.store.log.overview import Summary

_MOST_ARTIFACTS = 50
_MOST_READ = 10  # logs of a store in object storage, for their curves
_MOST_VERSIONS = 20
_MOST_OF_RUN = 5  # checkpoints of a callback
_MOST_FILES = 20
_MOST_METRICS = 4  # columns
_MOST_MEASURED = 100  # metrics of a version
_WIDTH, _HEIGHT = 640, 220


def store_parts(logs: Logs) -> list[Html]:
    """Return the table of the artifacts of a store, the last changed ones first."""
    found = [each for each in summaries(logs) if each[1].versions or each[1].type is None]
    found.sort(key=lambda each: each[1].created_at or "", reverse=True)
    shown = found[:_MOST_ARTIFACTS]
    parts = [heading(logs.bucket.location, f"a store of {counted(len(found), 'artifact')}")]
    if not found:
        return [*parts, note("It is empty. A callback with store=…, or kept put, fills it.")]
    most = _MOST_READ if logs.bucket.is_remote else len(shown)
    rows = [_artifact_row(logs, *each, with_curve=n < most) for n, each in enumerate(shown)]
    head = ["artifact", "latest", "best", "metric", "versions", "bytes", "updated"]
    parts.append(table(head, rows, right=(4, 5)))
    hidden = len(found) - len(shown)
    if hidden:
        parts.append(note(f"{counted(hidden, 'more artifact')}: store.artifacts()"))
    return parts


def _artifact_row(logs: Logs, name: str, summary: Summary, *, with_curve: bool) -> list[Cell]:
    latest = "" if summary.newest is None else f"v{summary.newest}"
    best = next((f"v{index}" for alias, index in summary.aliases if alias == BEST), "")
    size, curve = summary.size or 0, ""
    if with_curve:
        view = view_of(logs, name)
        records = list(records_of(view))
        monitor = monitor_of(view, records)
        size = sum(record.size for record in records)
        curve = _curve(records, monitor)
        best = _best_text(records, monitor) or best
    updated = local_time(summary.created_at) if summary.created_at else ""
    known = f"{size_text(size)}" if with_curve else f"{size_text(size)} (newest)"
    return [name, latest, best, Html(curve), str(summary.versions), known, updated]


def _curve(newest_first: Sequence[VersionRecord], monitor: str | None) -> str:
    if monitor is None:
        return ""
    having = [record for record in reversed(newest_first) if monitor in metrics_of(record)]
    best = next((n for n, record in enumerate(having) if BEST in record.aliases), None)
    return sparkline([metrics_of(record)[monitor] for record in having], monitor, best=best)


def _best_text(newest_first: Sequence[VersionRecord], monitor: str | None) -> str:
    best = next((record for record in newest_first if BEST in record.aliases), None)
    if best is None:
        return ""
    value = metrics_of(best).get(monitor or "")
    said = f" ({monitor} {metric_text(value)})" if value is not None else ""
    return f"v{best.index}{said}"


def artifact_parts(logs: Logs, name: str) -> list[Html]:
    """Return the chart of an artifact, and the table of its newest versions."""
    view = view_of(logs, name)
    records = list(records_of(view))
    if not records:
        new_name = moved_to(view)
        why = f"It was renamed to {new_name}." if new_name else "All its versions were deleted."
        return [heading(name), note(why)]
    monitor = monitor_of(view, records)
    names = metric_names(records, monitor)
    size = size_text(sum(record.size for record in records))
    said = f"{records[0].type}, {counted(len(records), 'version')}, {size}"
    parts = [heading(name, said)]
    if names:
        parts.append(chart(records, monitor, names))
    parts.append(versions_table(records[:_MOST_VERSIONS], names[:_MOST_METRICS]))
    if len(records) > _MOST_VERSIONS:
        parts.append(note(f"{len(records) - _MOST_VERSIONS:,} older: artifact.versions()"))
    return parts


def chart(newest_first: Sequence[VersionRecord], monitor: str | None, names: Sequence[str]) -> Html:
    """Return the chart of the first metric, and of its value on the other data."""
    if not can_draw():
        return note("For a chart here: pip install 'kept[plot]'")
    points = points_of(newest_first, monitor)
    first = names[0]
    beside = first.removeprefix("val_") if first.startswith("val_") else f"val_{first}"
    metrics = [first, beside] if beside in names else [first]
    look = Look(NEUTRAL, _WIDTH, _HEIGHT)
    axes = Axes("epoch" if any(point.epoch is not None for point in points) else "version")
    return Html(svg(metric_chart(points, metrics, axes, look)))


def versions_table(newest_first: Sequence[VersionRecord], metrics: Sequence[str]) -> Html:
    """Return a table of versions with the values of some metrics."""
    with_epoch = any(epoch_of(record) is not None for record in newest_first)
    with_health = any(health_of(record).state for record in newest_first)
    head = ["version", "aliases", *(["epoch"] if with_epoch else []), *metrics, "bytes", "created"]
    first = 2 + with_epoch
    right = {2} if with_epoch else set()
    right |= set(range(first, first + len(metrics) + 1))
    rows = [
        [
            f"v{record.index}",
            ", ".join(record.aliases),
            *([_epoch_text(record)] if with_epoch else []),
            *(_value(record, metric) for metric in metrics),
            size_text(record.size),
            local_time(record.created_at),
            *([_health_cell(record)] if with_health else []),
        ]
        for record in newest_first
    ]
    return table([*head, *(["health"] if with_health else [])], rows, right)


def _epoch_text(record: VersionRecord) -> str:
    epoch = epoch_of(record)
    return "" if epoch is None else f"{epoch:g}"


def _value(record: VersionRecord, metric: str) -> str:
    value = metrics_of(record).get(metric)
    return "" if value is None else metric_text(value)


def _health_cell(record: VersionRecord) -> Cell:
    health = health_of(record)
    if not health.is_marked:
        return str(health)
    return f"{health}: {health.findings[0]}" if health.findings else str(health)


def version_parts(logs: Logs, name: str, record: VersionRecord) -> list[Html]:
    """Return all about a version: facts, metrics, files, and the lines to copy."""
    reference = f"{name}:v{record.index}"
    health = health_of(record)
    facts: list[tuple[str, Cell]] = [
        ("created", local_time(record.created_at)),
        ("bytes", size_text(record.size)),
        ("digest", (record.digest[:10], record.digest)),
        ("health", "; ".join([str(health), *health.findings])),
    ]
    if (epoch := epoch_of(record)) is not None:
        facts.append(("epoch", f"{epoch:g}"))
    if record.deleted:
        facts.append(("deleted", local_time(record.deleted_at or record.created_at)))
    if record.changes.tags:
        facts.append(("tags", ", ".join(record.changes.tags)))
    if record.changes.description is not None:
        facts.append(("description", record.changes.description))
    found = metrics_of(record)
    metrics = [[m, metric_text(found[m])] for m in itertools.islice(found, _MOST_MEASURED)]
    aliases = f"{record.type}, {', '.join(record.aliases)}" if record.aliases else record.type
    parts = [heading(reference, aliases), pairs(facts)]
    if metrics:
        parts.append(table(["metric", "value"], metrics, right=(1,)))
    if len(found) > len(metrics):
        parts.append(note(f"{counted(len(found) - len(metrics), 'more metric')}: version.metadata"))
    files = read_manifest(logs.bucket, record).files
    lines = lines_for(logs.bucket.location, name, record, [file.path for file in files])
    return [*parts, *_files(files), code([line for line in lines if line])]


def _files(files: Sequence[File]) -> Iterator[Html]:
    rows = [[file.path, size_text(file.size)] for file in files[:_MOST_FILES]]
    yield table(["file", "bytes"], rows, right=(1,))
    if len(files) > _MOST_FILES:
        yield note(f"{counted(len(files) - _MOST_FILES, 'more file')}: version.files")


def run_facts(callback: Any) -> list[tuple[str, Cell]]:
    """Return what a callback saves and where, by its attributes, as Keras's callbacks name them."""
    every = getattr(callback, "save_freq", "epoch")
    what = "the weights" if getattr(callback, "save_weights_only", False) else "the model"
    when = "after each epoch" if every == "epoch" else f"after every {every} batches"
    best = ", if it is better" if getattr(callback, "save_best_only", False) else ""
    store = getattr(callback, "store", None)
    facts: list[tuple[str, Cell]] = [("saves", f"{what} {when}{best}")]
    known = {name: getattr(callback, name, None) for name in ("filepath", "directory", "monitor")}
    facts += [(name, value) for name, value in known.items() if isinstance(value, str)]
    value = getattr(callback, "best", None)
    if isinstance(value, (int, float)) and math.isfinite(value):
        facts.append(("best value", metric_text(float(value))))
    return [*facts, ("store", "none: W&B" if store is None else store.location)]


def run_parts(
    facts: Sequence[tuple[str, Cell]], newest_first: Sequence[VersionRecord]
) -> list[Html]:
    """Return what a callback saves and where, and its last checkpoints, the best one too."""
    if not newest_first:
        return [pairs(facts), note("No checkpoint was committed so far.")]
    shown = list(newest_first[:_MOST_OF_RUN])
    shown += [each for each in newest_first[_MOST_OF_RUN:] if BEST in each.aliases]
    names = metric_names(newest_first, None)[:_MOST_METRICS]
    said = note(f"The last of {counted(len(newest_first), 'checkpoint')}:")
    return [pairs(facts), said, versions_table(shown, names)]
