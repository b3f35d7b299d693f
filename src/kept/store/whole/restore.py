"""Takes the removal of a whole artifact back, as far as gc has left its content."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kept.errors import ArtifactNotFound, VersionGone
from kept.parallel import mapped
from kept.store.log.fence import WriteFence, with_write_fence
from kept.store.log.history import VersionRecord, live, version_records
from kept.store.log.log import Log
from kept.store.log.lookup import removal_of, some, view_of
from kept.store.log.overview import known_now, remember
from kept.store.origin.actor import actor
from kept.store.rank.follow import follow
from kept.store.retention.delete import check_content
from kept.store.whole.remove import is_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.bucket.transfer import Progress
    from kept.store.log.log import Logs, View
    from kept.store.log.overview import Known

_AT_ONCE = 8  # artifacts


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restoration has done with one artifact."""

    name: str
    versions: tuple[int, ...] = ()  # that exist again
    gone: tuple[int, ...] = ()  # that gc has freed


def restore(log: Log) -> Restored:
    """Bring back the versions that the last removal of an artifact has deleted.

    Versions that were deleted one by one stay deleted. Raises ArtifactNotFound if the artifact was
    renamed, VersionGone if gc has freed the content of all its versions, or Damaged.
    """

    def build(fence: WriteFence) -> Restored:
        removed = _removed(fence.view)
        good, gone = _with_content(log, removed, fence.condemned)
        if removed and not good:
            raise VersionGone(
                f"{log.name} was removed on {removed[0].deleted_at}, and gc has freed the content "
                f"of {'its version' if len(removed) == 1 else f'all its {len(removed)} versions'}."
            )
        for view in log.views(fence.view):
            fence.check(view)
            still = {record.index for record in _removed(view)}
            indexes = sorted(still.intersection(good))
            event = {"event": "restore", "indexes": indexes, "by": actor()}
            if not indexes or log.append_after(view, event):
                return Restored(log.name, tuple(indexes), tuple(sorted(gone)))
        raise AssertionError("views has no end")

    restored = with_write_fence(log, build)
    if restored.versions:
        follow(log)
    return restored


def _removed(view: View) -> list[VersionRecord]:
    """Return the versions that are deleted by the last removal; raises ArtifactNotFound."""
    event = removal_of(view)
    if event is None:
        return []
    if "moved_to" in event and next(live(view.facts()), None) is None:
        old, new = view.log.name, event["moved_to"]
        raise ArtifactNotFound(
            f"{old} was renamed to {new}, not removed. To take that back: kept mv {new} {old}"
        )
    if "moved_to" in event:
        return []
    indexes = set(event["indexes"])
    return [
        record
        for record in version_records(view.facts())
        if record.index in indexes and record.deleted and record.deleted_at == event["time"]
    ]


def _with_content(
    log: Log, removed: list[VersionRecord], condemned: frozenset[str]
) -> tuple[set[int], set[int]]:
    """Return the versions whose content is still in the store, and those without."""
    good: set[int] = set()
    gone: set[int] = set()
    present: set[str] = set()
    for record in removed:
        try:
            present |= check_content(log, record, condemned, present)
            good.add(record.index)
        except VersionGone:
            gone.add(record.index)
    return good, gone


def restore_all(
    logs: Logs, wanted: Sequence[str], progress: Progress | None = None
) -> list[Restored]:
    """Restore the artifacts that names or patterns name; return what was done with each.

    A pattern names the artifacts that are removed and not renamed. progress is called with the
    artifacts done and in all. Raises ArtifactNotFound, also for a pattern without an artifact;
    otherwise see restore, except that a pattern passes over an artifact that gc has freed.
    """
    exact = {name for name in wanted if not is_pattern(name)}
    for name in sorted(exact):
        view_of(logs, name)
    names = sorted(exact | _removed_names(logs, [name for name in wanted if is_pattern(name)]))
    found: list[Restored] = []
    known: dict[str, Known] = {}

    def work(name: str) -> tuple[Restored, Known | None]:
        log = Log(logs, name)
        try:
            return restore(log), known_now(log)
        except VersionGone:
            if name in exact:
                raise
            gone = tuple(sorted(record.index for record in _removed(log.view())))
            return Restored(name, (), gone), None

    try:
        for restored, now in mapped(work, names, max(_AT_ONCE, logs.bucket.concurrency)):
            found.append(restored)
            if now is not None:
                known[restored.name] = now
            if progress:
                progress(len(found), len(names))
    finally:
        remember(logs, known)
    return found


def _removed_names(logs: Logs, patterns: Sequence[str]) -> set[str]:
    if not patterns:
        return set()
    every = list(logs.names())
    names = sorted({name for pattern in patterns for name in fnmatch.filter(every, pattern)})

    def is_removed(name: str) -> bool:
        view = Log(logs, name).view()
        event = removal_of(view)
        if event is None or "moved_to" in event:
            return False
        return next(live(view.facts()), None) is None

    asked = mapped(is_removed, names, max(_AT_ONCE, logs.bucket.concurrency))
    found = {name for name, removed in zip(names, asked, strict=True) if removed}
    if not names:
        raise ArtifactNotFound(
            f"No artifact in {logs.bucket.location} matches {', '.join(patterns)}. Artifacts: "
            f"{some(every)}."
        )
    return found
