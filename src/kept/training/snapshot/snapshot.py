"""Snapshots: copies of a model's variables in host memory, made on the training thread.

Training waits for that copy only. Its memory is reused from save to save. Two snapshots exist at
most: while the writer writes one, the training thread can take the other. So a run needs up to
twice the memory of its variables in addition. A run that saves seldom uses one.
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
    """The values of variables at one moment, in buffers that are reused.

    A copy into memory that was never touched takes 3 to 10 times as long. So the buffers of the
    first snapshot are made and touched before the first use.
    """

    def __init__(self, framework_name: str) -> None:
        self._framework = framework(framework_name)
        # The variable is kept beside its copy, so that no other object can get its id.
        self._values: dict[int, tuple[Variable, HostBuffer]] = {}
        self._cold: list[HostBuffer] = []  # buffers whose memory was never touched
        self._touching = threading.Lock()  # held while a thread touches one

    def reserve(self, variables: Iterable[Variable]) -> None:
        """Make a buffer for every variable without one that fits; free the buffers of others."""
        before, self._values = self._values, {}
        for variable in variables:
            _, buffer = before.get(id(variable), (None, None))
            if buffer is None or not self._framework.fits(variable, buffer):
                buffer = self._framework.empty(variable)
                self._cold.append(buffer)
            self._values[id(variable)] = (variable, buffer)

    def has_buffers(self, variables: Iterable[Variable]) -> bool:
        """Return whether every variable has a buffer, which may no longer fit."""
        return all(id(variable) in self._values for variable in variables)

    def touch(self) -> None:
        """Write to the buffers, because the system provides their memory at the first write.

        Another thread than the one that calls take may call it; it then stops after one buffer.
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
            self._cold.clear()  # the copy touches them
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
        """Return a variable's copy as an array; None without one, or if NumPy lacks its type."""
        buffer = self.value(variable)
        return None if buffer is None else self._framework.array(buffer)

    @property
    def size(self) -> int:
        """Bytes in host memory."""
        return sum(int(buffer.nbytes) for _, buffer in self._values.values())


class SnapshotPool:
    """Lends the snapshots; borrow can wait until the writer returns one."""

    def __init__(self, framework_name: str) -> None:
        self._free = deque(Snapshot(framework_name) for _ in range(SNAPSHOTS))
        self._returned = threading.Condition()

    def borrow(self, *, wait: bool) -> Snapshot | None:
        """Return a free snapshot; None if none is free and wait is False."""
        with self._returned:
            if wait:
                self._returned.wait_for(lambda: self._free)
            return self._free.pop() if self._free else None

    def give_back(self, snapshot: Snapshot) -> None:
        """Return a snapshot; it is lent next, because its memory is touched."""
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
