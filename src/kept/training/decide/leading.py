"""What a controller announces to the other processes of its run, if it has any."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCheckpoint
from kept.messages import show_once
from kept.training.group.announce import Begun
from kept.training.group.facts import check_equal, facts, next_fit
from kept.training.group.first_rank import Alone, FirstRank, Lead
from kept.training.keras_api.save_file import cannot_share

if TYPE_CHECKING:
    from kept.store.store import Store
    from kept.training.decide.parts import Parts
    from kept.training.group.base import Group
    from kept.training.save.saver import Saver


def lead(group: Group | None, owner: Any, parts: Parts) -> Lead:
    """Return what announces the decisions of a fit that begins.

    In a group, all ranks first find out whether they train the same. Raises GroupError.
    """
    if group is None:
        return Alone()
    fit = next_fit(group)
    check_equal(group, fit, facts(owner, parts.options, parts.adapter))
    return FirstRank(group, fit)


def begun(artifact: str, store: Store | None, *, is_shared: bool, resumes: bool) -> Begun:
    """Return what the other ranks need to know of a fit."""
    marker = None if store is None else store.logs.marker
    store_id = (marker.id if marker else None) or ""
    uses_store = store is not None and (is_shared or resumes)
    return Begun(artifact, store_id, uses_store, store is not None and resumes)


def spans_processes(model: Any, framework: str) -> bool:
    """Return whether the model's weights lie across processes, each of which has a part."""
    if framework != "jax":
        return False
    shards = importlib.import_module("kept.training.snapshot.shards")  # imports JAX
    return bool(shards.is_sharded(model.variables))


def share(model: Any, parts: Parts, group: Group | None, saver: Saver) -> bool:
    """Find out whether the weights lie across processes, and save them so if they do.

    Raises InvalidCheckpoint if they cannot be saved so.
    """
    is_shared = spans_processes(model, parts.adapter.framework)
    if is_shared:
        check_can_share(model, parts, group)
    saver.share(group if is_shared else None)
    return is_shared


def stop(model: Any, lead: Lead) -> None:
    """End the training of all ranks after the batch or epoch of this hook."""
    model.stop_training = True
    lead.stop()


def other_order(group: Group) -> str | None:
    """Return why the ranks of a group are not the processes of JAX, None if they are.

    The devices bring each piece of the weights to a process of JAX, by its number there.
    """
    jax = importlib.import_module("jax")
    there = jax.process_index(), jax.process_count()
    if there == (group.rank, group.size):
        return None
    return (
        f"it is process {there[0]} of {there[1]} of jax.distributed. The weights lie across these "
        "processes, so pass group=None, or a group with the same order"
    )


def check_can_share(model: Any, parts: Parts, group: Group | None) -> None:
    """Raise InvalidCheckpoint if weights that lie across processes cannot be saved so."""
    path = parts.path
    if group is None:
        wrong: str | None = "this process knows of no others: call it with jax.distributed"
    elif not parts.saves_snapshots:
        wrong = "they are saved in the background only. Received: background=False"
    else:
        wrong = cannot_share(model, path.plain(), weights_only=path.weights_only)
        wrong = wrong and f"{wrong}. Received: filepath={path.given!r}"
    if wrong:
        raise InvalidCheckpoint(f"The weights lie across several processes: {wrong}")
    parts.destination.check_sharded()
    show_once(
        "the weights lie across several processes: they go to versions only, and no file appears "
        f"at {path.given}; kept get writes it"
    )
