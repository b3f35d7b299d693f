"""What an action will do, as a value: what its page says before, and after."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from kept.digest import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kept.store.store import Store
    from kept.web.query import Query

Kind = Literal["text", "area", "choice"]


@dataclass(frozen=True)
class Field:
    """Something that a person types or chooses."""

    name: str
    label: str
    kind: Kind = "text"
    required: bool = False
    hint: str = ""
    choices: Sequence[tuple[str, str]] = ()  # value, label


@dataclass(frozen=True)
class Row:
    """A version or artifact that the action changes."""

    reference: str
    text: str  # what becomes of it
    name: str | None = None  # for a link to its page
    index: int | None = None


@dataclass(frozen=True)
class Plan:
    """What will happen."""

    title: str
    says: tuple[str, ...]  # one sentence each
    button: str  # its text says what it does
    facts: Any  # JSON: if they change, something else would happen
    rows: tuple[Row, ...] = ()
    values: tuple[tuple[str, str], ...] = ()  # texts of users, with their labels
    back: str = ""  # where to go afterwards, below the first page
    command: str | None = None  # which does the same
    is_dangerous: bool = False
    detail: Any = None  # for do: what plan has found out, and what was typed

    @property
    def digest(self) -> str:
        """Identifies what happens; the form carries it."""
        return digest(json.dumps([self.title, self.facts], sort_keys=True).encode())[:32]


@dataclass(frozen=True)
class Undo:
    """An action that takes another one back."""

    verb: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Done:
    """What an action has done."""

    text: str
    undo: Undo | None = None
    is_partial: bool = False  # an error ended it after a part
    back: str | None = None  # instead of the plan's


class Verb:
    """An action of the page. It changes the store only in do."""

    name: ClassVar[str]
    title: ClassVar[str]  # without its object
    keys: ClassVar[tuple[str, ...]] = ("ref",)  # parameters that only the address sets
    inputs: ClassVar[tuple[Field, ...]] = ()  # what a person types; the plan depends on it
    previews: ClassVar[bool] = True  # what is typed changes the plan

    def is_ready(self, form: Query) -> bool:
        """Return whether enough is typed for a plan."""
        return all(form.get(each.name).strip() for each in self.inputs if each.required)

    def plan(self, store: Store, form: Query) -> Plan:
        """Return what will happen; raises KeptError if it cannot."""
        raise NotImplementedError

    def do(self, store: Store, plan: Plan) -> Done:
        """Do what the plan says; raises KeptError or OSError."""
        raise NotImplementedError


@dataclass(frozen=True)
class Shown:
    """What the page of an action shows."""

    verb: str
    title: str
    fields: tuple[tuple[Field, str], ...]  # with what was typed
    hidden: tuple[tuple[str, str], ...]
    plan: Plan | None = None  # None: something is missing, or wrong
    error: str | None = None
    is_changed: bool = False  # the store changed since the plan that was confirmed
    status: int = 200
    previews: bool = True  # what is typed changes the plan
