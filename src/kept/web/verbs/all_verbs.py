"""All verbs of the page, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.web.verbs.aliases import Promote, RemoveAlias, Rollback, SetAlias
from kept.web.verbs.artifacts import Copy, Remove, Rename, Restore
from kept.web.verbs.rules import Best, Protect, Unprotect
from kept.web.verbs.texts import AddNote, Describe, Metric, Tag
from kept.web.verbs.upkeep import Gc, Prune, Verify
from kept.web.verbs.versions import Delete, Ttl, Undelete

if TYPE_CHECKING:
    from kept.web.verbs.plan import Verb

VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Delete(), Undelete(), Ttl(), SetAlias(), RemoveAlias(), Promote(), Rollback(), Protect(),
        Unprotect(), Best(), Tag(), AddNote(), Describe(), Metric(), Remove(), Restore(), Rename(),
        Copy(), Prune(), Gc(), Verify(),
    )
}  # fmt: skip
