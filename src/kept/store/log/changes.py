"""What later events add to a version: metrics, a description, tags, metadata and notes.

The record of a version never changes, so a signature of it stays valid. Of two events about one
thing, the newer one counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.store.encoding import Json
    from kept.store.log.events import Event


class Logged(NamedTuple):
    """The value of a metric, as it was logged after the commit."""

    name: str
    value: float | str  # a text for "nan", "inf" and "-inf"
    dataset: str | None
    evaluation: str | None
    time: str
    by: str | None


class Note(NamedTuple):
    """What a person wrote about a version."""

    text: str
    time: str
    by: str | None


_NOTHING: dict[str, Json] = {}


class Changes(NamedTuple):
    """What later events say about one version."""

    logged: tuple[Logged, ...] = ()  # newest first
    description: str | None = None
    tags: tuple[str, ...] = ()  # sorted
    metadata: dict[str, Json] = _NOTHING  # these values replace those of the commit; read-only
    notes: tuple[Note, ...] = ()  # by time

    @property
    def metrics(self) -> dict[str, float | str]:
        """The newest value of each metric, by name; with a data set also as name@dataset.

        Of several data sets the one with the latest time counts: two stores that copy each other's
        events have them in different orders.
        """
        newest: dict[tuple[str, str | None], Logged] = {}
        for each in self.logged:
            newest.setdefault((each.name, each.dataset), each)
        found: dict[str, float | str] = {}
        for each in sorted(newest.values(), key=lambda e: (e.time, e.dataset or "")):
            found[each.name] = each.value
        for (name, dataset), each in newest.items():
            if dataset is not None:
                found[f"{name}@{dataset}"] = each.value
        return found

    def evaluated(self, evaluation: str) -> dict[str, float | str]:
        """Return the newest metrics that an evaluation of this name logged, empty for none."""
        found: dict[str, float | str] = {}
        for each in self.logged:
            if each.evaluation == evaluation:
                found.setdefault(each.name, each.value)
        return found

    def after(self, event: Event) -> Changes:
        """Return the changes after one more event about this version, the newest one."""
        time, by = event["time"], event.get("by")
        if event["event"] == "metrics":
            new = [
                Logged(name, value, event.get("dataset"), event.get("evaluation"), time, by)
                for name, value in event["metrics"].items()
            ]
            return self._replace(logged=(*new, *self.logged))
        tags = dict.fromkeys(self.tags, True) | event.get("tags", {})
        note = [Note(event["note"], time, by)] if "note" in event else []
        return self._replace(
            description=event.get("description", self.description),
            tags=tuple(sorted(tag for tag, has in tags.items() if has)),
            metadata=self.metadata | event.get("set", {}),
            notes=tuple(sorted((*self.notes, *note), key=lambda each: each.time)),
        )


UNCHANGED = Changes()


def changes_of(oldest_first: Iterable[Event]) -> Changes:
    """Return what events about one version add up to."""
    changes = UNCHANGED
    for event in oldest_first:
        changes = changes.after(event)
    return changes
