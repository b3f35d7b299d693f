"""Snapshots: copies of a model's variables in host memory, made on the training thread.

Training waits for that copy only. Its memory is reused from save to save.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.training.snapshot.frameworks import framework
from kept.training.snapshot.python_part import PythonPart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.training.snapshot.frameworks import HostBuffer, Variable

    _Values = dict[int, tuple[weakref.ref[Variable], HostBuffer]]


class Snapshot:
    """The values of variables at one moment, in buffers that are reused.

    A copy into memory that was never touched takes 3 to 10 times as long. So the buffers of the
    first snapshot are made and touched before the first use.
    """

    is_sharded = False  # whether other processes have some of the values
    whole: frozenset[int] = frozenset()  # ids of variables of which the first rank has all bytes

    def __init__(self, framework_name: str) -> None:
        self._framework = framework(framework_name)
        # By the id of the variable, which is not kept alive: it belongs to a model, and that may be
        # on a GPU. Another object can get its id later, so each look compares the object, too.
        self._values: _Values = {}
        self.python = PythonPart()  # of the same moment
        self._cold: list[HostBuffer] = []  # buffers whose memory was never touched
        self._touching = threading.Lock()  # held while a thread touches one

    def reserve(self, variables: Iterable[Variable]) -> None:
        """Make a buffer for every variable without one that fits; free the buffers of others."""
        before, self._values = self._values, {}
        for variable in variables:
            buffer = _value_in(before, variable)
            if buffer is None or not self._framework.fits(variable, buffer):
                buffer = self._framework.empty(variable)
                self._cold.append(buffer)
            self._values[id(variable)] = (weakref.ref(variable), buffer)

    def has_buffers(self, variables: Iterable[Variable]) -> bool:
        """Return whether every variable has a buffer, which may no longer fit."""
        return all(self.value(variable) is not None for variable in variables)

    def touch(self) -> None:
        """Write to the buffers, because the system provides their memory at the first write.

        Another thread than the one that calls take may call it; it then stops after one buffer.
        """
        while True:
            with self._touching:
                if not self._cold:
                    return
                self._framework.touch(self._cold.pop())

    def take(self, variables: Iterable[Variable]) -> None:
        """Copy the variables."""
        given = list({id(variable): variable for variable in variables}.values())
        self.reserve(given)
        with self._touching:
            self._cold.clear()  # the copy touches them
        pairs = [(one, self._values[id(one)][1]) for one in given]
        self._values = {}
        buffers = self._framework.copy(pairs)
        copied = zip(given, buffers, strict=True)
        self._values = {id(one): (weakref.ref(one), buffer) for one, buffer in copied}

    def value(self, variable: Variable) -> HostBuffer | None:
        """Return the copy of a variable, None if it is not in the snapshot."""
        return _value_in(self._values, variable)

    def held(self) -> tuple[list[weakref.ref[Variable]], list[HostBuffer]]:
        """Return weak references to the variables, and their copies in the same order."""
        values = self._values.values()
        return [reference for reference, _ in values], [buffer for _, buffer in values]

    def bytes_of(self, buffer: HostBuffer) -> np.ndarray[Any, Any]:
        """Return the bytes of a copy, read-only."""
        return np.frombuffer(self._framework.memory(buffer), np.uint8)

    def joined(self, buffers: list[HostBuffer]) -> np.ndarray[Any, Any]:
        """Return the bytes of copies of one type, one after the other in new memory."""
        return self._framework.joined(buffers)

    def memory(self, variable: Variable) -> memoryview | None:
        """Return the bytes of a variable's copy, None if it is not in the snapshot."""
        buffer = self.value(variable)
        return None if buffer is None else self._framework.memory(buffer)

    def array(self, variable: Variable) -> np.ndarray[Any, Any] | None:
        """Return a variable's copy as an array; None without one, or if NumPy lacks its type."""
        buffer = self.value(variable)
        return None if buffer is None else self._framework.array(buffer)

    def lacks(self, variable: Variable) -> bool:  # noqa: ARG002
        """Return whether another process has the bytes of a variable, or some of them."""
        return False

    @property
    def size(self) -> int:
        """Bytes in host memory."""
        return sum(int(buffer.nbytes) for _, buffer in self._values.values())


def _value_in(values: _Values, variable: Variable) -> HostBuffer | None:
    reference, buffer = values.get(id(variable), (None, None))
    return buffer if reference is not None and reference() is variable else None
