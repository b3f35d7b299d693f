"""The scope in which Keras saves a model as it was when a snapshot of it was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kept.errors import InvalidCheckpoint

if TYPE_CHECKING:
    from kept.training.snapshot.frameworks import HostBuffer, Variable
    from kept.training.snapshot.snapshot import Snapshot

_BLOCK = 8 * 1024 * 1024  # bytes compared at a time


class SnapshotScope(keras.StatelessScope):  # type: ignore[misc]  # Keras is untyped
    """Returns the snapshot's values to Keras.

    The constructor does not get the values, because it would copy each to the accelerator.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(initialize_variables=False)
        self.snapshot = snapshot
        self.python = snapshot.python
        self._last_read: Variable | None = None
        self.missing: list[Variable] = []
        self.read: list[Variable] = []  # in the order in which Keras has read them
        self.copies = False  # whether the object that is saved copies its variables unchanged

    def get_current_value(self, variable: Variable) -> HostBuffer | Any | None:
        self._last_read = variable
        self.read.append(variable)
        value = self.snapshot.value(variable)
        if self.snapshot.lacks(variable):
            return self._in_place_of(variable, value)
        if value is None:
            value = super().get_current_value(variable)
        if value is None and not any(variable is known for known in self.missing):
            self.missing.append(variable)
        return value

    def array(self, value: Any) -> np.ndarray[Any, Any] | None:
        """Return the snapshot's memory of a value that Keras saves, None if it has none.

        The value is a variable, or a copy of the last one that Keras read: optimizers pass copies.
        """
        if isinstance(value, keras.Variable):
            self._last_read = value
            return self.snapshot.array(value)
        held = None if self._last_read is None else self.snapshot.array(self._last_read)
        if self.copies and held is not None and self.snapshot.lacks(self._last_read):
            return held
        if held is None or not isinstance(value, np.ndarray) or not value.flags.c_contiguous:
            return None
        if (value.dtype, value.shape) != (held.dtype, held.shape):
            return None
        return held if _are_equal(_bytes_of(value), _bytes_of(held)) else None

    def _in_place_of(self, variable: Variable, value: HostBuffer) -> HostBuffer:
        """Return an empty value in place of one that other processes have, for array to replace.

        Raises InvalidCheckpoint if it would be used otherwise.
        """
        if not self.copies:
            raise InvalidCheckpoint(
                f"the weight {variable.path} is sharded across processes, and its values are "
                "needed to save the model. A layer with a save_own_variables of its own may save "
                "such weights, but not compute with them. Save it by one process, or shard other "
                "weights."
            )
        return np.empty(0, value.dtype)

    def find(self, written: memoryview) -> memoryview | None:
        """Return the snapshot's memory of the variable that Keras read last, if it has these bytes.

        Keras reads a variable and then writes its copy in the snapshot, or a copy of that.
        """
        held = None if self._last_read is None else self.snapshot.memory(self._last_read)
        if held is None or len(written) != len(held):
            return None
        return held if _address(written) == _address(held) or _are_equal(written, held) else None


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _address(memory: memoryview) -> int:
    return int(np.frombuffer(memory, np.uint8).__array_interface__["data"][0])


def _are_equal(one: memoryview, other: memoryview) -> bool:
    word = np.uint64 if len(one) % 8 == 0 else np.uint8  # not floats: NaN is not equal to NaN
    return all(
        np.array_equal(
            np.frombuffer(one[start : start + _BLOCK], word),
            np.frombuffer(other[start : start + _BLOCK], word),
        )
        for start in range(0, len(one), _BLOCK)
    )
