"""Snapshots: host copies of a model's variables, taken on the training thread.

Taking one is all that a checkpoint costs the training: one copy of the state into memory that is
reused from save to save. There are at most two, so a run needs at most twice the memory of its
state beside the state itself: while one is being written the next can be taken. A run whose saves
are far apart has only one.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from kept.training.snapshot.frameworks import framework

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from kept.training.snapshot.frameworks import HostBuffer, Variable

SNAPSHOTS = 2


class Snapshot:
    """The values of variables at one moment, in buffers that are used again.

    A copy into memory that was never touched takes 3 to 10 times as long, so the buffers of the
    first snapshot are made and touched ahead of the first use.
    """

    def __init__(self, framework_name: str) -> None:
        self._framework = framework(framework_name)
        # The variable is kept beside its copy, so that its id is not given to another object.
        self._values: dict[int, tuple[Variable, HostBuffer]] = {}
        self._cold: list[HostBuffer] = []  # whose memory was never touched
        self._touching = threading.Lock()  # held while one of them is

    def reserve(self, variables: Iterable[Variable]) -> None:
        """Make a buffer for every variable that has none that fits; let go of all others."""
        before, self._values = self._values, {}
        for variable in variables:
            _, buffer = before.get(id(variable), (None, None))
            if buffer is None or not self._framework.fits(variable, buffer):
                buffer = self._framework.empty(variable)
                self._cold.append(buffer)
            self._values[id(variable)] = (variable, buffer)

    def has_buffers(self, variables: Iterable[Variable]) -> bool:
        """Return whether there is a buffer for every variable, if perhaps one that fits no more."""
        return all(id(variable) in self._values for variable in variables)

    def touch(self) -> None:
        """Have the system give memory to the buffers, which it does at the first write.

        For a thread of its own: take has it stop after the buffer in hand.
        """
        while True:
            with self._touching:
                if not self._cold:
                    return
                self._cold.pop()[...] = 0

    def take(self, variables: Iterable[Variable]) -> None:
        """Copy the variables."""
        self.reserve(variables)
        with self._touching:
            self._cold.clear()  # the copy is what touches them
        self._framework.copy(self._values.values())

    def value(self, variable: Variable) -> HostBuffer | None:
        """Return the copy of a variable, None if it is not in the snapshot."""
        found = self._values.get(id(variable))
        return None if found is None else found[1]

    def memory(self, variable: Variable) -> memoryview | None:
        """Return the bytes of a variable's copy, None if it is not in the snapshot."""
        buffer = self.value(variable)
        return None if buffer is None else self._framework.memory(buffer)

    def array(self, variable: Variable) -> np.ndarray[Any, Any] | None:
        """Return a variable's copy as it lies there; None without one, or without such a type."""
        buffer = self.value(variable)
        return None if buffer is None else self._framework.array(buffer)

    @property
    def size(self) -> int:
        """Bytes in host memory."""
        return sum(int(buffer.nbytes) for _, buffer in self._values.values())


class SnapshotPool:
    """Lends out the snapshots; asking for one waits while all are being written."""

    def __init__(self, framework_name: str) -> None:
        self._free = deque(Snapshot(framework_name) for _ in range(SNAPSHOTS))
        self._returned = threading.Condition()

    def borrow(self, *, wait: bool) -> Snapshot | None:
        """Return a free snapshot; None if there is none and wait is False."""
        with self._returned:
            if wait:
                self._returned.wait_for(lambda: self._free)
            return self._free.pop() if self._free else None

    def give_back(self, snapshot: Snapshot) -> None:
        """Take a snapshot back; it is the next one to be lent, its memory being warm."""
        with self._returned:
            self._free.append(snapshot)
            self._returned.notify()

    def reserve(self, variables: list[Variable]) -> None:
        """Make the buffers of the snapshot that is lent next, if one is free.

        Their memory comes with touch.
        """
        with self._returned:
            if self._free and not self._free[-1].has_buffers(variables):
                self._free[-1].reserve(variables)

    def touch(self) -> None:
        """Touch the memory of the snapshots that are free now; they can be lent meanwhile."""
        with self._returned:
            free = [*self._free]
        for snapshot in free:
            snapshot.touch()
