"""What a controller announces to the other processes of its run, if it has any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.training.group.announce import Alone, Begun, FirstRank, Lead
from kept.training.group.facts import check_equal, facts, next_fit

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.training.decide.parts import Parts
    from kept.training.group.base import Group


def lead(group: Group | None, owner: Any, parts: Parts) -> Lead:
    """Return what announces the decisions of a fit that begins.

    In a group, all ranks first find out whether they train the same. Raises GroupError.
    """
    if group is None:
        return Alone()
    fit = next_fit(group)
    check_equal(group, fit, facts(owner, parts.options, parts.adapter))
    return FirstRank(group, fit)


def begun(artifact: str, store: Store | None, *, resumes: bool) -> Begun:
    """Return what the other ranks need to know of a fit."""
    marker = None if store is None else store.logs.marker
    store_id = (marker.id if marker else None) or ""
    return Begun(artifact, store_id, store is not None and resumes)
