"""The scope in which Keras saves a model as it was when a snapshot of it was taken."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kept.errors import InvalidCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self._saved: Variable | None = None  # whose values Keras saves now, if that is sure
        self.missing: list[Variable] = []
        self.read: list[Variable] = []  # in the order in which Keras has read them
        self.copies = False  # whether what is read now is saved unchanged

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
        Values that other processes have read as zeros, so they are compared with nothing.
        """
        self._saved = None
        if isinstance(value, keras.Variable):
            self._last_read = self._saved = value
            return self.snapshot.array(value)
        if self._last_read is None:
            return None
        held = self.snapshot.array(self._last_read)
        if self.snapshot.lacks(self._last_read):
            self._saved = self._last_read if self.copies else None
            return held if self.copies else None
        if held is None or not isinstance(value, np.ndarray) or not value.flags.c_contiguous:
            return None
        if (value.dtype, value.shape) != (held.dtype, held.shape):
            return None
        return held if _are_equal(_bytes_of(value), _bytes_of(held)) else None

    def _in_place_of(self, variable: Variable, value: HostBuffer) -> HostBuffer:
        """Return what Keras copies in place of a value that other processes have.

        It is empty if array replaces it. Raises InvalidCheckpoint if it would be used otherwise.
        """
        if not self.copies:
            raise InvalidCheckpoint(
                f"the weight {variable.path} is sharded across processes, and its values are "
                "needed to save the model. A layer with a save_own_variables of its own may save "
                "such weights, but not compute with them. Save it by one process, or shard other "
                "weights."
            )
        return value if self.snapshot.array(variable) is None else np.empty(0, value.dtype)

    @contextlib.contextmanager
    def copying(self, value: Any) -> Iterator[None]:
        """While Keras saves a value: if that is a variable, what Keras reads is saved unchanged."""
        before, self.copies = self.copies, self.copies or isinstance(value, keras.Variable)
        try:
            yield
        finally:
            self.copies = before

    def find(self, written: memoryview) -> memoryview | None:
        """Return the snapshot's memory of the variable that Keras read last, if it has these bytes.

        Keras reads a variable and then writes its copy in the snapshot, or a copy of that.
        """
        last = self._last_read
        if last is None or (self.snapshot.lacks(last) and self._saved is not last):
            return None
        held = self.snapshot.memory(last)
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
