"""Data whose order depends on a seed and the epoch only."""

from __future__ import annotations

import math
import operator
from typing import Any

import keras
import numpy as np

from kept.errors import InvalidInput


class Dataset(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """Shuffle batches of arrays by seed and epoch: exact to resume on every framework.

    Pass it to fit with shuffle=False; a resumed run then does not read the batches that it skips.
    With shuffle=True, Keras shuffles the batches once more.

    Args:
        x: An array or a dict, list or tuple of arrays. kept indexes each with an array of row
            numbers, so a NumPy memmap is not read into memory.
        y: Targets, of the same kinds.
        sample_weight: Weights, of the same kinds.
        batch_size: Rows in a batch, of all processes together; the last one may have fewer.
        seed: Another seed gives another order.
        shuffle: False keeps the rows in their order.
        shard: (rank, processes) if several processes train together: each gets its part of every
            batch. Together they get the rows that one process would get, so a run can resume
            exactly with another number of processes. If the rows of the last batch cannot be
            divided, its first rows fill it up.
        keras_options: workers, use_multiprocessing and max_queue_size of keras.utils.PyDataset.

    Raises:
        InvalidInput: The arrays differ in length or have no rows, or the processes cannot divide
            a batch.
    """

    def __init__(  # noqa: PLR0913 - public
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int = 32,
        seed: int = 0,
        shuffle: bool = True,
        shard: tuple[int, int] = (0, 1),
        **keras_options: Any,
    ) -> None:
        super().__init__(**keras_options)
        parts = (x, y, sample_weight) if sample_weight is not None else (x, y)
        self._parts = (x,) if y is None and sample_weight is None else parts
        self._rows = _rows(self._parts)
        self._batch_size, self._seed, self._shuffle = batch_size, seed, shuffle
        self._shard = _checked(shard, batch_size)
        self._epoch = 0
        self._is_set = False  # whether set_epoch was called for the epoch that begins next
        self._done = 0  # batches at the start of the epoch, whose content does not matter

    @property
    def order(self) -> dict[str, int]:
        """What the order of the rows depends on, and how many processes divide each batch."""
        return {
            "rows": self._rows,
            "batch_size": self._batch_size,
            "seed": self._seed,
            "shuffle": int(self._shuffle),
            "shards": self._shard[1],
        }

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(self._rows / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return a batch of the epoch."""
        # A skipped batch needs the right shape only: it has the rows of the first one.
        first = (index if index >= self._done else 0) * self._batch_size
        rows = self._part(self._order()[first : first + self._batch_size])
        return tuple(
            keras.tree.map_structure(lambda array: None if array is None else array[rows], part)
            for part in self._parts
        )

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        """Set which epoch begins, and how many of its batches were done in the saved run.

        kept's callbacks call it. Without one, the dataset counts how often Keras starts to read
        it, which Keras may also do to look at the first batch.
        """
        self._epoch, self._done, self._is_set = epoch, done, True
        self._order()

    def on_epoch_begin(self) -> None:
        """Count the epochs unless set_epoch was called."""
        if not self._is_set:
            self._epoch, self._done = self._epoch + 1, 0
        self._is_set = False
        self._order()

    def _part(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the rows of a batch that this process gets."""
        rank, processes = self._shard
        size = math.ceil(len(rows) / processes)
        return np.resize(rows, size * processes)[rank * size : (rank + 1) * size]

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
            "The arrays of a dataset need the same number of rows, one or more. "
            f"Received: arrays of the lengths {sorted(lengths)}"
        )
    return int(lengths.pop())


def _checked(shard: Any, batch_size: int) -> tuple[int, int]:
    """Return the argument shard; raises InvalidInput."""
    try:
        rank, processes = map(operator.index, shard)
    except (TypeError, ValueError):
        rank, processes = 0, 0
    if not 0 <= rank < processes or batch_size % processes:
        raise InvalidInput(
            "shard is (rank, processes) with a rank from 0 to processes - 1, and each process gets "
            f"as many rows of a batch. Received: shard={shard!r}, batch_size={batch_size}"
        )
    return rank, processes
