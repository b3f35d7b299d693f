"""Prunes, frees bytes, and verifies. What takes long runs as a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.errors import InvalidInput, VersionNotFound
from kept.store.retention.keep import Keep
from kept.units import counted, parse_span, size_text
from kept.web.verbs.chosen import as_pairs, freed, one, place, row
from kept.web.verbs.plan import Done, Field, Plan, Row, Undo, Verb
from kept.web.verbs.versions import frees, when_freed

if TYPE_CHECKING:
    from kept.bucket.transfer import Progress
    from kept.store.gc.collector import Collection
    from kept.store.store import Store
    from kept.web.query import Query

_RULES = ("last", "best", "monitor", "mode", "every", "within", "bytes")
_COUNTS = ("last", "best")


def keep_of(form: Query) -> Keep | None:
    """Return the retention of an address, None without a rule; raises InvalidInput."""
    given = {name: form.get(name).strip() for name in _RULES if form.get(name).strip()}
    rules: dict[str, Any] = {
        name: int(text) if name in _COUNTS and text.isdecimal() and len(text) < 10 else text
        for name, text in given.items()
    }
    return Keep(**rules) if rules else None


class Prune(Verb):
    """Deletes the versions that no rule keeps."""

    name = "prune"
    title = "Prune an artifact"
    keys = ("name", "expired")
    inputs = (
        Field("last", "Keep the last", hint="versions"),
        Field("best", "Keep the best", hint="versions by the metric"),
        Field("monitor", "Metric for best", hint="empty: that of the callbacks"),
        Field("mode", "Better is", kind="choice",
              choices=(("", "as the name says"), ("min", "lower"), ("max", "higher"))),
        Field("every", "Keep the first of each", hint="10 epochs, 1000 steps, 6h"),
        Field("within", "Keep those of the last", hint="7d, 12h"),
        Field("bytes", "At most", hint="50GB"),
    )  # fmt: skip

    def is_ready(self, form: Query) -> bool:
        """Return whether a rule is typed; "expired" in the address prunes without one."""
        return "expired" in form or any(form.get(name).strip() for name in _RULES)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return which versions go, and the bytes that a gc then frees."""
        name, keep = store.artifact(form.get("name")).name, keep_of(form)
        decisions = store.prune(name, keep, dry_run=True)
        records = [d.record for d in decisions if not d.keep]
        why = {d.record.index: ", ".join(d.reasons) for d in decisions}
        doomed = [store.logged(name, record.index) for record in records]
        stay = len(decisions) - len(doomed)
        if not doomed:
            raise InvalidInput(f"Nothing to delete: {_kept(stay)}.")
        room = freed(store, doomed)
        count = counted(len(doomed), "version")
        rules = "only what has expired goes" if keep is None else str(keep)
        return Plan(
            title=f"Prune {name}",
            says=(f"{len(doomed):,} of {counted(len(decisions), 'version')} are deleted; "
                  f"{_kept(stay)}." if len(doomed) > 1 else f"1 version is deleted; {_kept(stay)}.",
                  "The newest version, the newest without NaN, and versions with aliases stay.",
                  *when_freed(room)),
            button=f"Delete {count}{frees(room)}, undo until gc",
            facts=[name, rules, [[v.reference, v.digest] for v in doomed]],
            rows=tuple(row(v, f"{size_text(v.size)}; {why[v.index]}") for v in doomed),
            back=f"artifacts/{name}/",
            command=f"kept prune {name}{_options(form)}",
            is_dangerous=True,
            detail=(name, keep),
        )  # fmt: skip

    def do(self, store: Store, plan: Plan) -> Done:
        """Prune the artifact; prune decides again, and only drops deletions."""
        name, keep = plan.detail
        gone = [d.record for d in store.prune(name, keep) if not d.keep]
        if not gone:
            return Done(f"Nothing of {name} was deleted: others changed it meanwhile.")
        versions = [store.logged(name, record.index) for record in gone]
        text = f"Deleted {counted(len(gone), 'version')} of {name}."
        return Done(text, Undo("undelete", as_pairs(versions)))


class Gc(Verb):
    """Frees the bytes that no version needs."""

    name = "gc"
    title = "Free bytes"
    keys = ()
    inputs = (Field("grace", "Spare what was deleted in the last", hint="24h; 0s: spare nothing"),)
    label = "Freeing bytes"

    def plan(self, store: Store, form: Query) -> Plan:
        """Return what would be freed, by a dry run."""
        grace = form.get("grace").strip() or "24h"
        parse_span(grace, "grace")
        found = store.gc(grace=grace, dry_run=True)
        if not found.doomed and not found.expired:
            spared = f" {size_text(found.young)} are younger than {grace}." if found.young else ""
            kept = f" {_waiting(found)}" if found.waiting else ""
            raise InvalidInput(f"Nothing to free.{spared}{kept}")
        says = [f"{size_text(found.bytes)} in {counted(len(found.doomed), 'key')} are deleted.",
                "This cannot be undone: versions that need these bytes stay deleted."]  # fmt: skip
        if found.expired:
            gone = counted(len(found.expired), "expired version")
            says.insert(0, f"First, {gone} {'is' if len(found.expired) == 1 else 'are'} deleted.")
        if found.waiting:
            says.append(_waiting(found))
        rows = tuple(
            Row(why, f"{size_text(size)} in {counted(keys, 'key')}")
            for why, (keys, size) in found.by_reason().items()
        )
        return Plan(
            title="Free the bytes that no version needs", says=tuple(says),
            button=f"Free {size_text(found.bytes)} for good",
            facts=[grace, sorted(found.expired), sorted(d.key for d in found.doomed)],
            rows=rows, command=f"kept gc --grace {grace}", is_dangerous=True, detail=grace,
        )  # fmt: skip

    def work(self, store: Store, plan: Plan, progress: Progress) -> list[str]:  # noqa: ARG002
        """Free the bytes; return what was done, in sentences."""
        found = store.gc(grace=plan.detail)
        return [f"Freed {size_text(found.bytes)} in {counted(len(found.doomed), 'key')}."]


class Verify(Verb):
    """Reads a version, an artifact or the store, and checks every byte."""

    name = "verify"
    title = "Verify"
    keys = ("ref", "name")
    label = "Verifying"

    def plan(self, store: Store, form: Query) -> Plan:
        """Return what is read."""
        if form.get("ref"):
            version = one(store, form)
            what, size, back = [version.reference], version.size, place(version)
        elif form.get("name"):
            versions = store.versions(form.get("name"))
            if not versions:
                raise VersionNotFound(f"{form.get('name')} is removed: it has no version to read.")
            what, size = [v.reference for v in versions], sum(v.size for v in versions)
            back = f"artifacts/{form.get('name')}/"
        else:
            what, size, back = [], None, ""
        named = what[0] if len(what) == 1 else form.get("name") or "the whole store"
        room = "" if size is None else f" Its files have {size_text(size)}."
        return Plan(
            title=f"Verify {named}",
            says=(f"Every byte of {named} is read and checked.{room}",
                  "Nothing is changed. You can leave the page meanwhile."),
            button=f"Verify {named}", facts=what, back=back,
            command=" ".join(["kept verify", *what]) if len(what) < 2 else None,
            detail=what,
        )  # fmt: skip

    def work(self, store: Store, plan: Plan, progress: Progress) -> list[str]:
        """Verify; return what was found, in sentences."""
        wanted = plan.detail or [None]
        reports = [store.verify(reference, progress=_part_of(progress, place, len(wanted)))
                   for place, reference in enumerate(wanted)]  # fmt: skip
        problems = [problem for report in reports for problem in report.problems]
        unread = [problem for report in reports for problem in report.unread]
        versions, size = sum(r.versions for r in reports), sum(r.bytes for r in reports)
        read = f"{counted(versions, 'version')}, {size_text(size)} read"
        found = counted(len(problems), "problem") if problems else "no damage"
        says = [f"{read}: {found}.", *map(str, problems[:100])]
        return [*says, *(f"Could not be read: {problem}" for problem in unread[:100])]


def _part_of(progress: Progress, place: int, count: int) -> Progress:
    """Return the progress of one of several parts."""

    def update(done: int, total: int) -> None:
        progress(1000 * place + (1000 * done // total if total else 0), 1000 * count)

    return update


def _kept(count: int) -> str:
    return "1 version stays" if count == 1 else f"{counted(count, 'version')} stay"


def _waiting(found: Collection) -> str:
    return f"{counted(found.waiting, 'deleted version')} can still be undeleted."


def _options(form: Query) -> str:
    names = {"monitor": "--monitor", "mode": "--mode"}
    given = [(names.get(name, f"--keep-{name}"), form.get(name).strip()) for name in _RULES]
    return "".join(f" {name} {text!r}" if " " in text else f" {name} {text}"
                   for name, text in given if text)  # fmt: skip
