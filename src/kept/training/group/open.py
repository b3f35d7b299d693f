"""Finds the processes that train one model together with this one.

Only what joins processes into one run counts: jax.distributed with Keras on JAX, torch.distributed
with Keras on torch, a MultiWorkerMirroredStrategy in scope, or an object that the user gives.
Jobs of a sweep have none of these, so they are never grouped. A framework that is not loaded is
not imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCheckpoint
from kept.training.group.base import Group
from kept.training.group.transports.communicator import is_communicator, join
from kept.training.group.transports.jax_store import jax_store
from kept.training.group.transports.tensorflow_store import tensorflow_store
from kept.training.group.transports.torch_store import torch_store

if TYPE_CHECKING:
    from kept.training.group.base import Transport

_TRANSPORT = ("rank", "size", "label", "set", "get", "delete")


def find_group(given: Any, seconds: float) -> Group | None:
    """Return the group of this process, None if it trains alone; each wait has a time limit.

    given is None (look for a group), False (alone), a communicator like those of mpi4py, a
    Transport or a Group. All processes call this at the same moment of the run.
    Raises InvalidCheckpoint, and GroupError if the processes cannot reach each other.
    """
    if given is False:
        return None
    if isinstance(given, Group):
        return given if given.size > 1 else None
    transport = _found() if given is None else _transport(given, seconds)
    if transport is None or transport.size < 2:
        return None
    return Group(transport, seconds=seconds)


def _found() -> Transport | None:
    strategy = tensorflow_store()
    if strategy is not None:
        return strategy
    keras = sys.modules.get("keras")
    framework = None if keras is None else keras.backend.backend()
    if framework == "jax":
        return jax_store()
    return torch_store() if framework == "torch" else None


def _transport(given: Any, seconds: float) -> Transport | None:
    if is_communicator(given):
        return join(given, seconds)
    if all(hasattr(given, name) for name in _TRANSPORT):
        transport: Transport = given
        return transport
    raise InvalidCheckpoint(
        f"group={given!r} is not valid: pass None (kept looks for the processes of the run), False "
        "(this process trains alone), or an object with Get_rank, Get_size, bcast and allgather, "
        "for example MPI.COMM_WORLD of mpi4py"
    )
