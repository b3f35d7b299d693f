"""What a controller announces to the other processes of its run, if it has any."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCheckpoint
from kept.training.group.announce import Alone, Begun, FirstRank, Lead
from kept.training.group.facts import check_equal, facts, next_fit
from kept.training.keras_api.formats import KERAS

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


def begun(artifact: str, store: Store | None, *, uses_store: bool) -> Begun:
    """Return what the other ranks need to know of a fit."""
    marker = None if store is None else store.logs.marker
    store_id = (marker.id if marker else None) or ""
    return Begun(artifact, store_id, store is not None and uses_store)


def spans_processes(model: Any, framework: str) -> bool:
    """Return whether the model's weights lie across processes, each of which has a part."""
    if framework != "jax":
        return False
    shards = importlib.import_module("kept.training.snapshot.shards")  # imports JAX
    return bool(shards.is_sharded(model.variables))


def check_can_share(parts: Parts, group: Group | None) -> None:
    """Raise InvalidCheckpoint if weights that lie across processes cannot be saved so."""
    wrong = None
    if group is None:
        wrong = "this process knows of no others. Initialize jax.distributed, and pass no group"
    elif parts.destination.store is None:
        wrong = "they are saved into a store: pass store=. W&B alone cannot take them"
    elif parts.path.format != KERAS:
        wrong = f"they are saved as .keras files. Received: filepath={parts.path.given!r}"
    elif not parts.saves_snapshots:
        wrong = "they are saved in the background. Received: background=False"
    if wrong:
        raise InvalidCheckpoint(f"The weights lie across several processes, and {wrong}")
