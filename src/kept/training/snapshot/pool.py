"""The pool of snapshots: at most two.

While the writer writes one, the training thread can take the other. So a run needs up to twice the
memory of its variables in addition. A run that saves seldom uses one.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from kept.training.snapshot.python_part import PythonPart
from kept.training.snapshot.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.training.group.base import Group
    from kept.training.snapshot.frameworks import Variable

SNAPSHOTS = 2


class SnapshotPool:
    """Lends the snapshots; borrow can wait until the writer returns one."""

    def __init__(self, snapshots: Iterable[Snapshot]) -> None:
        self._free = deque(snapshots)
        self._returned = threading.Condition()

    @property
    def has_free(self) -> bool:
        """Whether a snapshot is free; it stays so until the thread that borrows does."""
        return bool(self._free)

    def borrow(self, *, wait: bool) -> Snapshot | None:
        """Return a free snapshot; None if none is free and wait is False."""
        with self._returned:
            if wait:
                self._returned.wait_for(lambda: self._free)
            return self._free.pop() if self._free else None

    def give_back(self, snapshot: Snapshot) -> None:
        """Return a snapshot; it is lent next, because its memory is touched."""
        snapshot.python = PythonPart()  # the last one refers to layers
        with self._returned:
            self._free.append(snapshot)
            self._returned.notify()

    def reserve(self, variables: list[Variable]) -> None:
        """Make the buffers of the snapshot that is lent next, if one is free.

        touch then provides their memory.
        """
        with self._returned:
            if self._free and not self._free[-1].has_buffers(variables):
                self._free[-1].reserve(variables)

    def touch(self) -> None:
        """Touch the memory of the snapshots that are free now; borrow can still lend them."""
        with self._returned:
            free = [*self._free]
        for snapshot in free:
            snapshot.touch()


def plain_pool(framework_name: str) -> SnapshotPool:
    """Return the snapshots of a process that has all values."""
    return SnapshotPool(Snapshot(framework_name) for _ in range(SNAPSHOTS))


def sharded_pool(group: Group) -> SnapshotPool:
    """Return the snapshots of a process that has a part of the values, on JAX."""
    from kept.training.snapshot.shards import ShardedSnapshot  # imports JAX

    return SnapshotPool(ShardedSnapshot(group.rank, group.size) for _ in range(SNAPSHOTS))
