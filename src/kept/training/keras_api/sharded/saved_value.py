"""A value in a file of weights, which is read when it is needed, or only a part of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.training.snapshot.devices.read_box import Stored, read_box

if TYPE_CHECKING:
    import h5py
    from jax.sharding import Sharding

    from kept.store.content.ranged_file import RangedFile
    from kept.training.snapshot.devices.layout import Box, JaxArray


class SavedValue:
    """What Keras gets in place of an array; NumPy can make one of it."""

    def __init__(self, dataset: h5py.Dataset, file: RangedFile, start: int) -> None:
        """Take the array in an HDF5 file, which begins at a place of the file."""
        self._dataset = dataset
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype
        if dataset.attrs.get("dtype") == "bfloat16":
            import ml_dtypes

            self.dtype = np.dtype(ml_dtypes.bfloat16)
        offset = dataset.id.get_offset()
        is_plain = offset is not None
        self._stored = Stored(file, start + offset, self.shape, self.dtype) if is_plain else None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self)[key]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        found = self._box(tuple((0, end) for end in self.shape), self.dtype)
        return found if dtype is None else found.astype(dtype, copy=False)

    def to_array(self, sharding: Sharding, dtype: Any) -> JaxArray:
        """Return an array of JAX; this process reads the parts of its own devices only."""
        import jax

        found = sharding.addressable_devices_indices_map(self.shape).values()
        boxes = {self._bounds(index) for index in found}
        hull = tuple(
            (min(one[0] for one in bounds), max(one[1] for one in bounds))
            for bounds in zip(*boxes, strict=True)
        )
        # Parts that lie side by side are read together, because they share chunks of the file.
        if _count(hull) == sum(map(_count, boxes)):
            together = self._box(hull, dtype)
            lows = [low for low, _ in hull]
            parts = {box: together[_slices(box, lows)] for box in boxes}
        else:
            parts = {box: self._box(box, dtype) for box in boxes}
        return jax.make_array_from_callback(
            self.shape, sharding, lambda index: parts[self._bounds(index)]
        )

    def _bounds(self, index: tuple[slice, ...]) -> Box:
        return tuple(one.indices(end)[:2] for one, end in zip(index, self.shape, strict=True))

    def _box(self, box: Box, dtype: Any) -> np.ndarray[Any, Any]:
        if self._stored is not None:
            found = read_box(self._stored, box)
        else:  # in chunks of HDF5, or empty
            found = np.asarray(self._dataset[_slices(box, [0] * len(box))])
        if found.dtype.kind == "V" and found.dtype != dtype:  # as HDF5 has types of few bits
            found = found.view(dtype)
        return found.astype(dtype, copy=False)


def _count(box: Box) -> int:
    return math.prod(last - first for first, last in box)


def _slices(box: Box, lows: list[int]) -> tuple[slice, ...]:
    return tuple(
        slice(first - low, last - low) for (first, last), low in zip(box, lows, strict=True)
    )
