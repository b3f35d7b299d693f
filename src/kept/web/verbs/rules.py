"""Protects aliases, and sets the metric that decides best."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from kept.errors import InvalidInput, NotFound, VersionNotFound
from kept.names import check_alias
from kept.store.log.lookup import view_of
from kept.store.promotion.move import holder_of
from kept.store.promotion.protected import check_protectable
from kept.web.verbs.plan import Done, Field, Plan, Undo, Verb

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.web.query import Query


class Protect(Verb):
    """Protects an alias in all artifacts."""

    name = "protect"
    title = "Protect an alias"
    keys = ()
    inputs = (Field("alias", "Alias", required=True, hint="such as prod"),)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return what the protection refuses."""
        alias = form.get("alias").strip()
        check_protectable([alias])
        if alias in store.protected():
            raise InvalidInput(f"The alias {alias} is protected already.")
        return Plan(
            title=f"Protect {alias}",
            says=(f"In all artifacts, only a promotion or a rollback moves {alias} then.",
                  f"Nothing deletes a version that has {alias}.",
                  "The first protection raises the store to format 3, refused by an older kept."),
            button=f"Protect {alias} in all artifacts",
            facts=["protect", alias],
            command=f"kept protect {alias}",
            detail=alias,
        )  # fmt: skip

    def do(self, store: Store, plan: Plan) -> Done:
        """Protect the alias."""
        store.protect(plan.detail)
        return Done(f"{plan.detail} is protected.", Undo("unprotect", (("alias", plan.detail),)))


class Unprotect(Verb):
    """Ends the protection of an alias."""

    name = "unprotect"
    title = "End the protection of an alias"
    keys = ("alias",)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return what becomes possible again."""
        alias = check_alias(form.get("alias"))
        if alias not in store.protected():
            raise NotFound(f"The alias {alias} is not protected.")
        return Plan(
            title=f"End the protection of {alias}",
            says=(f"Then every run and every person can move {alias}, in all artifacts.",
                  f"Versions with {alias} can be deleted."),
            button=f"End the protection of {alias}",
            facts=["unprotect", alias],
            command=f"kept protect --remove {alias}",
            is_dangerous=True,
            detail=alias,
        )  # fmt: skip

    def do(self, store: Store, plan: Plan) -> Done:
        """End the protection."""
        alias = plan.detail
        store.unprotect(alias)
        return Done(f"{alias} is no longer protected.", Undo("protect", (("alias", alias),)))


class Best(Verb):
    """Sets the metric that decides the alias best."""

    name = "best"
    title = "Choose what best means"
    keys = ("name",)
    inputs = (
        Field("monitor", "Metric", hint="such as test_acc; empty: the callbacks decide"),
        Field("mode", "Better is", kind="choice",
              choices=(("", "as the name says"), ("min", "lower"), ("max", "higher"))),
    )  # fmt: skip

    def is_ready(self, form: Query) -> bool:
        """Return whether a metric is typed, or left out on purpose."""
        return "monitor" in form

    def plan(self, store: Store, form: Query) -> Plan:
        """Return which version gets the alias."""
        artifact = store.artifact(form.get("name"))
        monitor, mode = form.get("monitor").strip() or None, form.get("mode") or None
        was = holder_of(view_of(store.logs, artifact.name), "best")
        rule = artifact.best_rule
        says = [f"Now {rule.monitor} ({rule.mode}) decides best." if rule else
                "Now the metric of the callbacks decides best."]  # fmt: skip
        to: int | None = was
        if monitor is None:
            says.append("Then the callbacks decide again. best stays where it is.")
            button = "Let the callbacks decide best"
        else:
            to = _best_by(store, artifact.name, monitor, mode)
            here = f"v{to}" if to is not None else "no version: none has the metric so far"
            says.append(f"Then best is on {here}.")
            says.append("Each later version and each later metric moves it by this rule.")
            button = f"Let {monitor} decide best" + ("" if to is None else f": v{to}")
        by = f"--monitor {shlex.quote(monitor)}" if monitor else "--clear"
        return Plan(
            title=f"What best means in {artifact.name}", says=tuple(says), button=button,
            facts=[artifact.name, monitor, mode, was, to, str(rule)],
            back=f"artifacts/{artifact.name}/",
            command=f"kept best {artifact.name} {by}{f' --mode {mode}' if mode else ''}",
            detail=(artifact.name, monitor, mode, rule),
        )  # fmt: skip

    def do(self, store: Store, plan: Plan) -> Done:
        """Set the rule, or end it."""
        name, monitor, mode, rule = plan.detail
        found = store.artifact(name).set_best(monitor, mode)
        before = (("monitor", rule.monitor), ("mode", rule.mode)) if rule else (("monitor", ""),)
        where = f": {found.reference}" if found else ""
        by = f"{monitor} decides" if monitor else "The callbacks decide"
        return Done(f"{by} best{where}.", Undo("best", (("name", name), *before)))


def _best_by(store: Store, name: str, monitor: str, mode: str | None) -> int | None:
    try:
        return store.artifact(name).best(monitor, mode).index
    except VersionNotFound:
        return None
