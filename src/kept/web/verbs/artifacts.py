"""Removes, restores and renames artifacts, and copies versions between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import ArtifactNotFound, InvalidName
from kept.names import check_name
from kept.store.log.lookup import has_live_version, removal_of, view_of
from kept.store.whole.remove import check
from kept.store.whole.rename import check_movable
from kept.store.whole.rules import own_aliases
from kept.units import counted, size_text
from kept.web.verbs.chosen import freed, one
from kept.web.verbs.plan import Done, Field, Plan, Undo, Verb
from kept.web.verbs.versions import frees, when_freed

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.web.query import Query


class Remove(Verb):
    """Removes a whole artifact."""

    name = "remove"
    title = "Remove an artifact"
    keys = ("name",)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return how many versions go, and the bytes that a gc then frees."""
        name = check_name(form.get("name"))
        planned = store.remove_artifacts([name], force=True, dry_run=True)
        check(planned)
        versions = store.versions(name)
        if not versions:
            raise ArtifactNotFound(f"{name} is removed already.")
        aliases, room = own_aliases(a for v in versions for a in v.aliases), freed(store, versions)
        count = counted(len(versions), "version")
        says = [f"All {count} of {name} are deleted, in one step."]
        if aliases:
            says.append(f"These aliases go with them: {', '.join(aliases[:20])}.")
        return Plan(
            title=f"Remove {name}",
            says=(*says, *when_freed(room)),
            button=f"Remove {name} with {count}{frees(room)}, undo until gc",
            facts=[name, [v.index for v in versions], aliases],
            command=f"kept rm --artifact {'--force ' if aliases else ''}{name}",
            is_dangerous=True,
            detail=(name, bool(aliases)),
        )

    def do(self, store: Store, plan: Plan) -> Done:
        """Remove the artifact."""
        name, force = plan.detail
        removed = store.remove_artifact(name, force=force)
        text = f"Removed {removed.name} with {counted(removed.versions, 'version')}."
        return Done(text, Undo("restore", (("name", removed.name),)))


class Restore(Verb):
    """Takes the removal of an artifact back."""

    name = "restore"
    title = "Restore an artifact"
    keys = ("name",)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return which versions come back."""
        name = check_name(form.get("name"))
        removal = removal_of(view_of(store.logs, name, renamed=False))
        if removal is None or has_live_version(store.logs, name):
            raise ArtifactNotFound(f"{name} is not removed. There is nothing to restore.")
        count = counted(len(removal.get("indexes", ())), "version")
        return Plan(
            title=f"Restore {name}",
            says=(f"The {count} of its last removal exist again, with all aliases.",
                  "Versions that were deleted one by one stay deleted.",
                  "Versions whose bytes gc has freed stay deleted, too."),
            button=f"Restore {name} with {count}",
            facts=[name, removal["number"]],
            back=f"artifacts/{name}/",
            command=f"kept undelete --artifact {name}",
            detail=name,
        )  # fmt: skip

    def do(self, store: Store, plan: Plan) -> Done:
        """Restore the artifact."""
        found = store.restore_artifact(plan.detail)
        gone = f" gc has freed {counted(len(found.gone), 'version')} of it." if found.gone else ""
        text = f"Restored {counted(len(found.versions), 'version')} of {found.name}.{gone}"
        return Done(text, Undo("remove", (("name", found.name),)))


class Rename(Verb):
    """Gives an artifact another name."""

    name = "rename"
    title = "Rename an artifact"
    keys = ("name",)
    inputs = (Field("new", "New name", required=True, hint="A-Z a-z 0-9 . _ -"),)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return what comes along, and what does not."""
        name, new = store.artifact(form.get("name")).name, check_name(form.get("new").strip())
        if new == name:
            raise InvalidName(f"The new name of an artifact is another one. Received: {new!r}")
        if new in store:
            raise InvalidName(f"{new} has versions of its own. Choose another name.")
        versions = store.versions(name)
        view = view_of(store.logs, name)
        check_movable(view, {version.index: version.record for version in versions})
        count = counted(len(versions), "version")
        says = [f"The {count}, their numbers, aliases and history appear under {new}.",
                "No byte is moved. Signatures do not come along: they name the artifact.",
                f"Programs that name {name} no longer find it."]  # fmt: skip
        return Plan(
            title=f"Rename {name} to {new}", says=tuple(says), button=f"Rename {name} to {new}",
            facts=[name, new, [v.index for v in versions]],
            back=f"artifacts/{new}/", command=f"kept mv {name} {new}", detail=(name, new),
        )  # fmt: skip

    def do(self, store: Store, plan: Plan) -> Done:
        """Rename the artifact."""
        name, new = plan.detail
        store.rename(name, new)
        undo = Undo("rename", (("name", new), ("new", name)))
        return Done(f"{name} is {new} now.", undo, back=f"artifacts/{new}/")


class Copy(Verb):
    """Logs the content of a version as the newest version of another artifact."""

    name = "copy"
    title = "Copy a version"
    inputs = (Field("name", "Into the artifact", required=True, hint="existing or new"),)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return what the copy has."""
        version, name = one(store, form), check_name(form.get("name").strip())
        exists = name in store
        newest = next(store.newest_first(name)).index if exists else None
        where = f"as its newest version, after v{newest}" if exists else "which is new"
        return Plan(
            title=f"Copy {version.reference} to {name}",
            says=(f"The content becomes a version of {name}, {where}.",
                  f"No byte is stored twice: the {size_text(version.size)} are shared.",
                  "Metadata, metrics, tags and description come along; aliases do not.",
                  "If the newest version has this content, there is no new version."),
            button=f"Copy {version.reference} to {name}",
            facts=[version.reference, version.digest, name, newest],
            command=f"kept cp {version.reference} {name}",
            detail=(version, name),
        )  # fmt: skip

    def do(self, store: Store, plan: Plan) -> Done:
        """Copy the version."""
        version, name = plan.detail
        made = store.copy(version.reference, name)
        place = f"artifacts/{made.name}/{made.version}/"
        if not made.is_new:
            return Done(f"{made.reference} has this content already.", back=place)
        undo = Undo("delete", (("ref", made.reference),))
        return Done(f"{version.reference} is copied to {made.reference}.", undo, back=place)
