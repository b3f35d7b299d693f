"""Moves aliases: by hand, by promotion, and back."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from kept.errors import InvalidInput
from kept.names import Reference, check_alias, check_own_alias
from kept.store.log.lookup import find, view_of
from kept.store.promotion.move import check_terms, holder_of, move_back, promotion_of
from kept.store.promotion.protected import refuse_protected
from kept.store.rank.rule import check_unruled
from kept.web.verbs.chosen import one, place
from kept.web.verbs.plan import Done, Field, Plan, Undo, Verb

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.web.query import Query

_ALIAS = Field("alias", "Alias", required=True, hint="such as prod: A-Z a-z 0-9 . _ -")
_MESSAGE = Field("message", "Message", kind="area", hint="for people, who read it in the log")


class SetAlias(Verb):
    """Puts an alias on a version."""

    name = "alias"
    title = "Set an alias"
    inputs = (_ALIAS,)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return from which version the alias is taken."""
        version, alias = one(store, form), check_own_alias(form.get("alias").strip())
        check_unruled(store.logs, version.name, alias)
        refuse_protected(store.bucket, [alias], version.reference)
        was = _holder(store, version.name, alias)
        if was == version.index:
            raise InvalidInput(f"{version.reference} has the alias {alias} already.")
        return Plan(
            title=f"Set {alias} on {version.reference}",
            says=(_taken(version.name, alias, was, version.reference),
                  "A version with an alias is not deleted by retention."),
            button=_moves(alias, was, version.version),
            facts=[version.reference, alias, was],
            back=place(version),
            command=f"kept alias {version.reference} {alias}",
            detail=(version, alias, was),
        )  # fmt: skip

    def do(self, store: Store, plan: Plan) -> Done:
        """Set the alias."""
        version, alias, was = plan.detail
        store.set_alias(version.reference, alias)
        return Done(f"{alias} is on {version.reference}.", _back_to(version.name, alias, was))


class RemoveAlias(Verb):
    """Takes an alias from the version that has it."""

    name = "unalias"
    title = "Remove an alias"
    keys = ("name", "alias")

    def plan(self, store: Store, form: Query) -> Plan:
        """Return which version loses the alias."""
        name, alias = form.get("name"), check_alias(form.get("alias"))
        check_unruled(store.logs, name, alias)
        refuse_protected(store.bucket, [alias], None)
        record = find(view_of(store.logs, name), Reference(name, alias=alias))
        return Plan(
            title=f"Remove {alias} from {name}:v{record.index}",
            says=(f"{alias} is on no version of {name} then.",
                  f"Retention may delete v{record.index} if no other alias or rule keeps it."),
            button=f"Remove {alias} from v{record.index}",
            facts=[name, alias, record.index],
            back=f"artifacts/{name}/v{record.index}/",
            command=f"kept alias --remove {name}:{alias}",
            detail=(name, alias, record.index),
        )  # fmt: skip

    def do(self, store: Store, plan: Plan) -> Done:
        """Remove the alias."""
        name, alias, index = plan.detail
        store.remove_alias(name, alias)
        undo = Undo("alias", (("ref", f"{name}:v{index}"), ("alias", alias)))
        return Done(f"{alias} is removed from {name}:v{index}.", undo)


class Promote(Verb):
    """Moves an alias under a condition, protected or not, and logs the decision."""

    name = "promote"
    title = "Promote a version"
    inputs = (
        _ALIAS,
        Field("condition", "Only if", hint="such as test_acc >= 0.9; empty: always"),
        _MESSAGE,
    )

    def plan(self, store: Store, form: Query) -> Plan:
        """Return from which version the alias moves, and whether the condition is fulfilled."""
        version, alias = one(store, form), form.get("alias").strip()
        condition = form.get("condition").strip() or None
        wanted, terms = promotion_of(version.reference, alias, condition, None, None)
        check_unruled(store.logs, version.name, alias)
        view = view_of(store.logs, version.name)
        was = holder_of(view, alias)
        check_terms(view, find(view, wanted), terms, f"{alias} stays where it is")
        says = [_taken(version.name, alias, was, version.reference)]
        if condition:
            says.append(f"The condition is fulfilled now, and is checked again: {condition}")
        if alias in store.protected():
            says.append(f"{alias} is protected: only a promotion or a rollback moves it.")
        says.append("The log keeps the decision, with its time, author and message.")
        if_ = f" --if {shlex.quote(condition)}" if condition else ""
        return Plan(
            title=f"Promote {version.reference} to {alias}",
            says=tuple(says),
            button=_moves(alias, was, version.version),
            facts=[version.reference, alias, was, condition],
            back=place(version),
            command=f"kept promote {version.reference} {alias}{if_}",
            detail=(version, alias, was, condition, _message(form)),
        )

    def do(self, store: Store, plan: Plan) -> Done:
        """Promote the version; the condition is checked on the log as it is then."""
        version, alias, was, condition, message = plan.detail
        store.promote(version.reference, alias, condition=condition, message=message)
        can_undo = was is not None or alias not in store.protected()  # nothing takes those away
        undo = _back_to(version.name, alias, was) if can_undo else None
        return Done(f"{version.reference} is {alias} now.", undo)


class Rollback(Verb):
    """Puts an alias back where it was."""

    name = "rollback"
    title = "Roll an alias back"
    keys = ("name", "alias")
    inputs = (_MESSAGE,)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return to which version the alias goes back."""
        name, alias = form.get("name"), check_own_alias(form.get("alias"))
        check_unruled(store.logs, name, alias)
        view = view_of(store.logs, name)
        was = holder_of(view, alias)
        moved = move_back(view, alias, was)
        to = moved.record.index
        says = [_taken(name, alias, was, f"{name}:v{to}, which had it before")]
        if moved.skipped:
            gone = ", ".join(f"v{index}" for index in moved.skipped)
            says.append(f"Versions that had it in between are deleted: {gone}.")
        return Plan(
            title=f"Roll {name}:{alias} back to v{to}",
            says=(*says, "A second rollback goes one move further back."),
            button=_moves(alias, was, f"v{to}"),
            facts=[name, alias, was, to],
            back=f"artifacts/{name}/v{to}/",
            command=f"kept rollback {name}:{alias}",
            detail=(name, alias, was, _message(form)),
        )

    def do(self, store: Store, plan: Plan) -> Done:
        """Roll the alias back."""
        name, alias, was, message = plan.detail
        found = store.rollback(f"{name}:{alias}", message=message)
        undo = None
        if was is not None:
            pairs = (("ref", f"{name}:v{was}"), ("alias", alias))
            undo = Undo("promote", pairs)
        return Done(f"{alias} is back on {found.reference}.", undo)


def _message(form: Query) -> str | None:
    return form.get("message").strip() or None


def _holder(store: Store, name: str, alias: str) -> int | None:
    return holder_of(view_of(store.logs, name), alias)


def _taken(name: str, alias: str, was: int | None, to: str) -> str:
    if was is None:
        return f"{alias} is on no version of {name} now. It is put on {to}."
    return f"{alias} is taken from {name}:v{was} and put on {to}."


def _moves(alias: str, was: int | None, to: str) -> str:
    return f"Put {alias} on {to}" if was is None else f"Move {alias} from v{was} to {to}"


def _back_to(name: str, alias: str, was: int | None) -> Undo:
    pairs = (("name", name), ("alias", alias))
    return Undo("unalias", pairs) if was is None else Undo("rollback", pairs)
