"""Changes what people say of a version: tags, notes, description, metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kept.errors import InvalidInput
from kept.store.describe.log_metrics import metrics_event
from kept.store.describe.update import Update
from kept.units import metric_text
from kept.web.verbs.chosen import one, place
from kept.web.verbs.plan import Done, Field, Plan, Undo, Verb

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.web.query import Query


class Tag(Verb):
    """Adds and removes tags."""

    name = "tag"
    title = "Tag a version"
    previews = False
    inputs = (
        Field("tags", "Add", hint="tags with commas between them"),
        Field("remove", "Remove", hint="tags with commas between them"),
    )

    def plan(self, store: Store, form: Query) -> Plan:
        """Return which tags the version has then."""
        version = one(store, form)
        added, removed = _listed(form.get("tags")), _listed(form.get("remove"))
        now = set(version.tags)
        if added or removed:
            Update.of(tags=added, remove_tags=removed)
        new, gone = sorted(set(added) - now), sorted(now & set(removed))
        return Plan(
            title=f"Tag {version.reference}",
            says=("The log keeps the change, with its time and author.",),
            button=f"Change the tags of {version.reference}",
            facts=[version.reference, sorted(now)],
            values=(("tags now", ", ".join(sorted(now)) or "none"),),
            back=place(version),
            command=f"kept tag {version.reference} TAG …",
            detail=(version.reference, new, gone),
        )

    def do(self, store: Store, plan: Plan) -> Done:
        """Change the tags."""
        reference, new, gone = plan.detail
        if not new and not gone:
            raise InvalidInput("These tags change nothing. Type a tag to add, or one to remove.")
        store.version(reference).update(tags=new, remove_tags=gone)
        pairs = (("ref", reference), ("tags", ", ".join(gone)), ("remove", ", ".join(new)))
        return Done(f"The tags of {reference} are changed.", Undo("tag", pairs))


class AddNote(Verb):
    """Adds a note to a version."""

    name = "note"
    title = "Add a note"
    previews = False
    inputs = (Field("text", "Note", kind="area"),)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return what is said of the version already."""
        version = one(store, form)
        return Plan(
            title=f"Note on {version.reference}",
            says=("Notes add up, and stay: the log keeps them, with their times and authors.",),
            button=f"Add the note to {version.reference}",
            facts=[version.reference, len(version.notes)],
            values=_notes(version),
            back=place(version),
            command=f"kept note {version.reference} TEXT",
            detail=(version.reference, form.get("text")),
        )

    def do(self, store: Store, plan: Plan) -> Done:
        """Add the note."""
        reference, text = plan.detail
        store.version(reference).update(note=text)
        return Done(f"The note is on {reference}.")


class Describe(Verb):
    """Replaces the description of a version."""

    name = "describe"
    title = "Describe a version"
    previews = False
    inputs = (Field("text", "Description", kind="area", hint="empty: none"),)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return the description that is replaced."""
        version = one(store, form)
        return Plan(
            title=f"Describe {version.reference}",
            says=("It replaces the description before; the log keeps both.",),
            button=f"Set the description of {version.reference}",
            facts=[version.reference, version.description],
            values=(("description now", version.description or "none"),),
            back=place(version),
            command=f"kept note {version.reference} --description TEXT",
            detail=(version.reference, form.get("text"), version.description),
        )

    def do(self, store: Store, plan: Plan) -> Done:
        """Set the description."""
        reference, text, before = plan.detail
        store.version(reference).update(description=text)
        pairs = (("ref", reference), ("text", before or ""))
        return Done(f"The description of {reference} is set.", Undo("describe", pairs))


class Metric(Verb):
    """Logs a metric that was measured after the save."""

    name = "metric"
    title = "Log a metric"
    inputs = (
        Field("metric", "Metric", required=True, hint="such as test_acc"),
        Field("value", "Value", required=True),
        Field("dataset", "Data set", hint="may be empty"),
    )

    def plan(self, store: Store, form: Query) -> Plan:
        """Return the value that is logged, and the one before."""
        version, metric = one(store, form), form.get("metric").strip()
        value, dataset = _number(form.get("value")), form.get("dataset").strip() or None
        metrics_event({metric: value}, dataset, None)
        name = f"{metric}@{dataset}" if dataset else metric
        before = version.metrics.get(name)
        return Plan(
            title=f"Log a metric of {version.reference}",
            says=("The newest value counts; the log keeps all of them.",
                  "If a rule decides best by this metric, best may move."),
            button=f"Log {metric_text(value)} for {version.reference}",
            facts=[version.reference, name, repr(value), repr(before)],
            values=(("metric", name),
                    ("value before", "none" if before is None else metric_text(before))),
            back=place(version),
            command=f"kept metric {version.reference} NAME=VALUE",
            detail=(version.reference, metric, value, dataset),
        )  # fmt: skip

    def do(self, store: Store, plan: Plan) -> Done:
        """Log the metric."""
        reference, metric, value, dataset = plan.detail
        store.version(reference).log_metrics({metric: value}, dataset=dataset)
        return Done(f"The metric of {reference} is logged.")


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def _notes(version: Version) -> tuple[tuple[str, str], ...]:
    return tuple((f"note by {note.by}", note.text) for note in version.notes[-20:])


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
        if text.strip().lower() not in ("nan", "+nan", "-nan"):
            raise InvalidInput(f"A metric is a number. Received: {text[:100]!r}") from None
    return value
