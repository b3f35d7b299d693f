"""What later events add to a version: metrics, a description, tags, metadata and notes.

The record of a version never changes, so a signature of it stays valid. Of two events about one
thing, the newer one counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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

    def after(self, *oldest_first: Event) -> Changes:
        """Return the changes after more events about this version, all newer than the known ones.

        Many events at once cost no more copies of what is known than one.
        """
        logged = [e for e in reversed(oldest_first) if e["event"] == "metrics"]
        said = [event for event in oldest_first if event["event"] != "metrics"]
        found = self._said(said) if said else self
        if not logged:
            return found
        new = (each for event in logged for each in _logged(event))
        return found._replace(logged=(*new, *self.logged))

    def _said(self, oldest_first: Iterable[Event]) -> Changes:
        """Return the changes after more of what people say."""
        description, tags = self.description, dict.fromkeys(self.tags, True)
        metadata, notes = dict(self.metadata), list(self.notes)
        for event in oldest_first:
            description = event.get("description", description)
            tags |= event.get("tags", {})
            metadata |= event.get("set", {})
            if "note" in event:
                notes.append(Note(event["note"], event["time"], event.get("by")))
        return self._replace(
            description=description,
            tags=tuple(sorted(tag for tag, has in tags.items() if has)),
            metadata=metadata,
            notes=tuple(sorted(notes, key=lambda each: each.time)),
        )


def _logged(event: Event) -> Iterator[Logged]:
    dataset, evaluation = event.get("dataset"), event.get("evaluation")
    for name, value in event["metrics"].items():
        yield Logged(name, value, dataset, evaluation, event["time"], event.get("by"))


UNCHANGED = Changes()
