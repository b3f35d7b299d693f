"""Data whose order is a function of a seed and the epoch, and of nothing else."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from kept.errors import InvalidInput


class Dataset(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """Batches of arrays, shuffled by seed and epoch: resumed exactly on every framework.

    Pass it to fit with shuffle=False; the batches that a resumed run passes over are then not even
    read. With Keras's shuffle=True, Keras mixes the batches once more.

    Args:
        x: An array or a dict, list or tuple of arrays; what can be indexed with an array of row
            numbers will do, so a NumPy memmap is not read into memory.
        y: Targets, of the same kinds.
        sample_weight: Weights, of the same kinds.
        batch_size: Rows in a batch; the last one may have fewer.
        seed: Another seed gives another order.
        shuffle: False keeps the rows in their order.
        keras_options: workers, use_multiprocessing and max_queue_size of keras.utils.PyDataset.

    Raises:
        InvalidInput: The arrays differ in length, or there is no row.
    """

    def __init__(  # noqa: PLR0913 - what makes data
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int = 32,
        seed: int = 0,
        shuffle: bool = True,
        **keras_options: Any,
    ) -> None:
        super().__init__(**keras_options)
        parts = (x, y, sample_weight) if sample_weight is not None else (x, y)
        self._parts = (x,) if y is None and sample_weight is None else parts
        self._rows = _rows(self._parts)
        self._batch_size, self._seed, self._shuffle = batch_size, seed, shuffle
        self._epoch = 0
        self._is_told = False  # the epoch that begins next
        self._done = 0  # batches at the start of the epoch that nobody looks at

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(self._rows / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return a batch of the epoch."""
        # What is passed over only has to look like a batch: the rows of the first one are read.
        first = (index if index >= self._done else 0) * self._batch_size
        rows = self._order()[first : first + self._batch_size]
        return tuple(
            keras.tree.map_structure(lambda array: None if array is None else array[rows], part)
            for part in self._parts
        )

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        """Say which epoch begins, and how many of its batches are passed over.

        kept's callbacks do so. Without one the dataset counts for itself how often Keras begins
        to read it, which Keras may also do to look at the first batch.
        """
        self._epoch, self._done, self._is_told = epoch, done, True
        self._order()

    def on_epoch_begin(self) -> None:
        """Count the epochs where nobody says which one begins."""
        if not self._is_told:
            self._epoch, self._done = self._epoch + 1, 0
        self._is_told = False
        self._order()

    def _order(self) -> np.ndarray[Any, Any]:
        """Return the row numbers in the order of the epoch."""
        if not self._shuffle:
            return np.arange(self._rows)
        known = getattr(self, "_known", None)
        if known is None or known[0] != self._epoch:
            generator = np.random.default_rng([self._seed, self._epoch])
            self._known = known = (self._epoch, generator.permutation(self._rows))
        order: np.ndarray[Any, Any] = known[1]
        return order


def _rows(parts: tuple[Any, ...]) -> int:
    arrays = [array for array in keras.tree.flatten(parts) if array is not None]
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1 or not min(lengths):
        raise InvalidInput(
            "The arrays of a dataset have one row for each sample, at least one. "
            f"Received: arrays of the lengths {sorted(lengths)}"
        )
    return int(lengths.pop())
