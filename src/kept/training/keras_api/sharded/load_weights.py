"""Loads a file of weights into a model; each process reads only what its devices need.

It does the steps of saving_lib.load_weights_only, with another source of the values. Keras assigns
one value after the other, so the host memory that it takes is that of the largest part.
"""
# ruff: noqa: SLF001 - private parts of Keras

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import keras
import numpy as np

from kept.errors import InvalidInput, KeptError
from kept.fork_safe_lock import fork_safe_lock
from kept.store.loading.model_file import checked_weights
from kept.training.keras_api.private_api import is_known
from kept.training.keras_api.sharded.saved_value import SavedValue
from kept.training.snapshot.shards import is_sharded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.content.ranged_file import RangedFile

_replacing = fork_safe_lock()


def reads_ranges(model: keras.Model | None) -> bool:
    """Return whether the weights of a model are, or will be, sharded across processes."""
    if model is None or keras.backend.backend() != "jax":
        return False
    if model.weights:
        return is_sharded(model.weights)
    distribution = keras.distribution.distribution()
    return isinstance(distribution, keras.distribution.ModelParallel) and _spans_processes()


def can_load_sharded(path: str) -> bool:
    """Return whether load_sharded reads files of this name, with this version of Keras."""
    return path.endswith((".keras", ".weights.h5")) and is_known(keras.__version__)


def _spans_processes() -> bool:
    """Return whether JAX computes in several processes."""
    import jax

    return int(jax.process_count()) > 1


def load_sharded(file: RangedFile, model: keras.Model) -> None:
    """Load weights and the optimizer's state into a built model, on JAX.

    Raises Damaged, InvalidInput for a file that Keras must not read, or ValueError as Keras does.
    """
    import h5py
    from keras.src.saving import saving_lib as lib

    weights, start = _opened(file)

    class Store(lib.H5IOStore):  # type: ignore[misc]  # Keras is untyped
        def _get_h5_file(self, *_: Any, **__: Any) -> h5py.File:
            return h5py.File(weights, "r")

        def __getitem__(self, key: str) -> SavedValue:
            return SavedValue(self._h5_entry_group[key], file, start)

    failed: dict[int, tuple[Any, Exception]] = {}
    with contextlib.closing(Store(lib._VARS_FNAME_H5, mode="r")) as store, _reading_parts():
        lib._load_state(
            model,
            weights_store=store,
            assets_store=None,
            inner_path="",
            visited_saveables=set(),
            failed_saveables=set(),
            error_msgs=failed,
        )
    for _, error in failed.values():
        if isinstance(error, KeptError):
            raise error
    if failed:
        lib._raise_loading_failure(failed)


def _opened(file: RangedFile) -> tuple[BinaryIO, int]:
    """Return the checked HDF5 file in a file, and where it begins, without fetching values."""
    file.hide_values()
    try:
        found = checked_weights(cast("BinaryIO", file), file.name, file.size)
        if file.are_values(_ranges(*found)):
            return found
    except InvalidInput:  # maybe because of metadata in large chunks
        pass
    file.show_values()
    return checked_weights(cast("BinaryIO", file), file.name, file.size)


def _ranges(weights: BinaryIO, start: int) -> list[tuple[int, int]]:
    """Return where the file has the values of arrays, each in one range."""
    import h5py

    found: list[tuple[int, int]] = []

    def add(_: str, item: Any) -> None:
        offset = item.id.get_offset() if isinstance(item, h5py.Dataset) else None
        if offset is not None:
            found.append((start + offset, start + offset + item.id.get_storage_size()))

    with h5py.File(weights, "r") as root:
        root.visititems(add)
    return found


@contextlib.contextmanager
def _reading_parts() -> Iterator[None]:
    """Let variables whose values other processes share read their own parts of a saved value."""
    convert = keras.Variable._convert_to_tensor

    def read(variable: keras.Variable, value: Any, dtype: Any = None) -> Any:
        if isinstance(value, SavedValue):
            now = variable.value
            fits = tuple(now.shape) == value.shape  # if not, Keras names the difference
            if fits and not getattr(now, "is_fully_addressable", True):
                return value.to_array(now.sharding, now.dtype)
            value = np.asarray(value)
        return convert(variable, value, dtype=dtype)

    with _replacing:
        keras.Variable._convert_to_tensor = read
        try:
            yield
        finally:
            del keras.Variable._convert_to_tensor
