"""Deletes and undeletes versions, and lets them expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kept.errors import KeptError, VersionNotFound
from kept.store.log.lookup import view_of
from kept.store.promotion.protected import check_deletable
from kept.store.rank.best import BEST
from kept.store.rank.rule import records_in, rule_of
from kept.units import counted, expiry, size_text
from kept.web.filters import exact
from kept.web.verbs.chosen import as_pairs, chosen, freed, named, one, own_aliases, place, row
from kept.web.verbs.plan import Done, Field, Plan, Undo, Verb

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.store.version import Version
    from kept.web.query import Query

_GRACE = timedelta(hours=24)  # of kept gc, if nothing else is given
NO_BYTE = size_text(0)


class Delete(Verb):
    """Deletes versions; undelete takes it back until gc has freed the bytes."""

    name = "delete"
    title = "Delete versions"
    keys = ("ref", "name", "versions")

    def plan(self, store: Store, form: Query) -> Plan:
        """Return which versions go, their aliases, and the bytes that a gc then frees."""
        versions = chosen(store, form)
        for version in versions:
            check_deletable(store.bucket, version.name, version.record)
        losses = _losses(store, versions)
        room = freed(store, versions)
        what = "1 version" if len(versions) == 1 else counted(len(versions), "version")
        return Plan(
            title=f"Delete {named(versions)}",
            says=(*losses, *when_freed(room)),
            button=f"Delete {what}{frees(room)}, undo until gc",
            facts=[losses, *([v.reference, v.digest, sorted(own_aliases(v))] for v in versions)],
            rows=tuple(row(v, _what_goes(v)) for v in versions),
            back=f"artifacts/{versions[0].name}/",
            command=f"kept rm {'--force ' if any(map(own_aliases, versions)) else ''}"
            f"{_references(versions)}",
            is_dangerous=True,
            detail=versions,
        )

    def do(self, store: Store, plan: Plan) -> Done:
        """Delete the versions, one record each."""
        done: list[Version] = []
        try:
            for version in plan.detail:
                store.delete(version.reference, force=bool(own_aliases(version)))
                done.append(version)
        except (KeptError, OSError) as error:
            if not done:
                raise
            text = f"Deleted {len(done)} of {len(plan.detail)} versions, then: {error}"
            return Done(text, Undo("undelete", as_pairs(done)), is_partial=True)
        return Done(f"Deleted {named(done)}.", Undo("undelete", as_pairs(done)))


class Undelete(Verb):
    """Brings deleted versions back."""

    name = "undelete"
    title = "Undelete versions"
    keys = ("ref", "name", "versions")

    def plan(self, store: Store, form: Query) -> Plan:
        """Return which versions come back; those that exist are left out."""
        versions = [v for v in chosen(store, form, deleted=True) if v.record.deleted]
        if not versions:
            raise VersionNotFound("None of these versions is deleted. There is nothing to undo.")
        is_one = len(versions) == 1
        exist = "The version exists" if is_one else "The versions exist"
        return Plan(
            title=f"Undelete {named(versions)}",
            says=(
                f"{exist} again, with the aliases that no other version has since.",
                "Retention does not delete an undeleted version again.",
                "This fails for a version whose bytes gc has freed.",
            ),
            button=f"Undelete {named(versions)}",
            facts=[v.reference for v in versions],
            rows=tuple(row(v, _when_deleted(v)) for v in versions),
            back=place(versions[0]) if is_one else f"artifacts/{versions[0].name}/",
            command=f"kept undelete {_references(versions)}",
            detail=versions,
        )

    def do(self, store: Store, plan: Plan) -> Done:
        """Undelete the versions; an error about one of them ends it."""
        done: list[Version] = []
        try:
            for version in plan.detail:
                store.undelete(version.reference)
                done.append(version)
        except (KeptError, OSError) as error:
            if not done:
                raise
            text = f"Undeleted {len(done)} of {len(plan.detail)} versions, then: {error}"
            return Done(text, Undo("delete", as_pairs(done)), is_partial=True)
        return Done(f"Undeleted {named(done)}.", Undo("delete", as_pairs(done)))


class Ttl(Verb):
    """Lets a version expire after a time."""

    name = "ttl"
    title = "Let a version expire"
    inputs = (
        Field("ttl", "Expires after", required=True, hint="such as 7d or 12h; never: it stays"),
    )

    def plan(self, store: Store, form: Query) -> Plan:
        """Return when the version expires."""
        version, text = one(store, form), form.get("ttl").strip()
        is_never = text.lower() == "never"
        moment = None if is_never else expiry(text)
        before = version.record.expires
        own = own_aliases(version)
        says = [f"{version.reference} never expires." if is_never else
                f"{version.reference} expires in {text}, on {exact(moment)}.",
                f"Before, it expired on {exact(before)}." if before else
                "Before, it had no expiry."]  # fmt: skip
        if not is_never:
            says.append("The next prune or gc after that deletes it.")
            if own:
                says.append(f"It stays as long as it has an alias ({', '.join(own)}).")
        button = (
            f"Keep {version.reference}" if is_never else f"Expire {version.reference} in {text}"
        )
        time = "--remove" if is_never else text
        return Plan(f"Expiry of {version.reference}", tuple(says), button,
                    [version.reference, text, before], back=place(version),
                    command=f"kept ttl {version.reference} {time}",
                    detail=(version, text, is_never, before))  # fmt: skip

    def do(self, store: Store, plan: Plan) -> Done:
        """Set or remove the expiry."""
        version, text, is_never, before = plan.detail
        store.set_ttl(version.reference, None if is_never else text)
        undo = Undo("ttl", (("ref", version.reference), ("ttl", "never")))
        done = "never expires" if is_never else f"expires in {text}"
        return Done(f"{version.reference} {done}.", None if before or is_never else undo)


def frees(room: str | None) -> str:
    """Return the part of a button's text about the bytes that come back."""
    return f", free {room}" if room and room != NO_BYTE else ""


def when_freed(room: str | None) -> tuple[str, ...]:
    """Return sentences about when the bytes of versions deleted now come back."""
    first = exact(datetime.now(UTC) + _GRACE)
    undo = "Until then, undelete brings everything back. After that, nothing does."
    if room == NO_BYTE:
        return (f"No byte comes back: other versions share them. A gc after {first} ends undo.",)
    what = f"frees {room}" if room else "frees the bytes"
    return (
        f"The next kept gc after {first} {what} that no other version shares.",
        "With a shorter --grace, gc does that earlier.",
        undo,
    )


def _losses(store: Store, versions: list[Version]) -> list[str]:
    """Return sentences about the aliases of versions that are deleted."""
    says, lost = [], []
    for version in versions:
        own = own_aliases(version)
        ruled = _best_then(store, version, versions) if BEST in own else None
        says += [ruled] if ruled else []
        lost += [alias for alias in own if not (ruled and alias == BEST)]
    if lost:
        noun = "The alias is" if len(lost) == 1 else "These aliases are"
        says.insert(0, f"{noun} on no version then: {', '.join(lost[:20])}.")
    if any("latest" in version.aliases for version in versions):
        says.append("latest then names the newest version that is left.")
    return says


def _best_then(store: Store, version: Version, deleted: list[Version]) -> str | None:
    """Return where the rule of an artifact moves best; None without a rule: best is lost."""
    view = view_of(store.logs, version.name)
    rule = rule_of(view)
    if rule is None:
        return None
    gone = {each.index for each in deleted if each.name == version.name}
    record = rule.best(each for each in records_in(view) if each.index not in gone)
    to = f"{version.name}:v{record.index}" if record else "no version"
    return f"best is on {to} then: {rule} decides it."


def _what_goes(version: Version) -> str:
    own = own_aliases(version)
    return size_text(version.size) + (f"; loses {', '.join(own)}" if own else "")


def _when_deleted(version: Version) -> str:
    return f"{size_text(version.size)}; deleted {exact(version.record.deleted_at)}"


def _references(versions: list[Version]) -> str:
    shown = [version.reference for version in versions[:20]]
    return " ".join(shown) + (" …" if len(versions) > len(shown) else "")
