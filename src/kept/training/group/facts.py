"""Whether all ranks of a group train the same: compared before the training begins."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from kept.digest import digest
from kept.errors import GroupError
from kept.messages import show
from kept.training.group.agreement import BEGIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.group.base import Group, Json

# By transport and rank; the same on all ranks, because they begin the same fits in one order.
_fits: defaultdict[tuple[str, int], Iterator[int]] = defaultdict(itertools.count)
# Options whose values must be equal. filepath may differ: only the first rank writes files.
_OPTIONS = ("name", "resume", "save_every", "on_error", "compression", "aliases")
_NOTICE_AFTER = 10.0  # seconds
_ATTRIBUTES = ("monitor", "save_best_only", "save_weights_only", "save_freq")


def next_fit(group: Group) -> int:
    """Return a number for a fit that begins in this process."""
    return next(_fits[group.transport.label, group.rank])


def facts(owner: Any, options: Any, adapter: Any) -> dict[str, Any]:
    """Return what a rank's callback has; all ranks must have the same, except for their host."""
    import kept

    return {
        "host": socket.gethostname(),
        "kept": kept.__version__,
        adapter.package: adapter.version,
        "framework": adapter.framework,
        **{name: repr(getattr(options, name)) for name in _OPTIONS},
        "store": repr(getattr(options.store, "location", options.store)),
        **{name: repr(getattr(owner, name)) for name in _ATTRIBUTES},
        "model": [[list(one.shape), str(one.dtype)] for one in owner.model.weights],
    }


def check_equal(group: Group, fit: int, own: dict[str, Any]) -> list[dict[str, Any]]:
    """Exchange the facts of all ranks and return them; all ranks raise the same GroupError.

    Of a model only the digest travels, if all are equal. The messages of the fits before are then
    deleted: all have begun this one. Raises RankMissing if a rank does not answer in time.
    """
    what = "the callback of every process: create it on all ranks, or pass group=False"
    notice = threading.Timer(_NOTICE_AFTER, show, [f"waiting for {what}"])
    notice.daemon = True
    if group.is_first:
        notice.start()
    channel = group.in_series(BEGIN, group.channel(f"{fit}/facts"))
    model = own["model"]
    try:
        found = channel.gather({**own, "model": digest(json.dumps(model).encode())}, what)
    finally:
        notice.cancel()
    group.delete_before(channel, BEGIN)
    if len({one["model"] for one in found}) > 1:
        models = channel.gather(model, what)
        found = [{**one, "model": model} for one, model in zip(found, models, strict=True)]
    first = found[0]
    different = [
        f"rank {rank} (on {other['host']}) has {_difference(name, other.get(name), value)}"
        for rank, other in enumerate(found)
        for name, value in first.items()
        if name != "host" and other.get(name) != value
    ]
    if different:
        raise GroupError(
            f"The {group.size} processes of this run do not train the same: "
            f"{'; '.join(different[:5])}. For separate runs pass group=False"
        )
    return found


def _difference(name: str, found: Json, expected: Json) -> str:
    if name != "model":
        return f"{name} {found}; rank 0 has {expected}"
    if not found or not expected or len(found) != len(expected):
        return f"a model with {len(found or ())} weights; rank 0 has {len(expected or ())}"
    pairs = [(one, other) for one, other in zip(found, expected, strict=True) if one != other]
    return f"another model: weights {pairs[0][0]}; rank 0 has {pairs[0][1]}"
