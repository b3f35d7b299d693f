"""The scope in which Keras saves a model as it was when a snapshot of it was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from kept.training.frameworks import HostBuffer, Variable
    from kept.training.snapshot import Snapshot

_BLOCK = 8 * 1024 * 1024  # bytes compared at a time


class SnapshotScope(keras.StatelessScope):  # type: ignore[misc]  # Keras is untyped
    """Answers with the snapshot's values.

    The values are not given to the constructor, which would copy each to the accelerator.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(initialize_variables=False)
        self._snapshot = snapshot
        self._asked: Variable | None = None
        self.missing: list[Variable] = []

    def get_current_value(self, variable: Variable) -> HostBuffer | Any | None:
        self._asked = variable
        value = self._snapshot.value(variable)
        if value is None:
            value = super().get_current_value(variable)
        if value is None and not any(variable is known for known in self.missing):
            self.missing.append(variable)
        return value

    def find(self, written: memoryview) -> memoryview | None:
        """Return the snapshot's memory if it holds these bytes, of the variable asked for last.

        Keras asks for a variable and then writes a copy of its value.
        """
        held = None if self._asked is None else self._snapshot.memory(self._asked)
        return held if held is not None and _are_equal(written, held) else None


def _are_equal(one: memoryview, other: memoryview) -> bool:
    if len(one) != len(other):
        return False
    word = np.uint64 if len(one) % 8 == 0 else np.uint8  # not as floats: NaN is not NaN
    return all(
        np.array_equal(
            np.frombuffer(one[start : start + _BLOCK], word),
            np.frombuffer(other[start : start + _BLOCK], word),
        )
        for start in range(0, len(one), _BLOCK)
    )
