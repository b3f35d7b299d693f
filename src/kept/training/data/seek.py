"""Bringing data to where an epoch begins.

Most data begins anew with every epoch, in an order that comes from the random states. Some has a
memory of how often it has been begun (a tf.data.Dataset that reshuffles), and with
steps_per_epoch data may go on from epoch to epoch (a stream). Both count from the first epoch of
the fit, so the first epoch after a resumption is preceded by what the epochs before it have done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.training.data.skip_batches import take

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.data.running_fit import Fit

# Streams that give the same batches when they are made anew, or can be made to.
_STREAMS = ("TFDatasetAdapter", "GrainDatasetAdapter", "GeneratorDataAdapter")


def is_stream(fit: Fit) -> bool:
    """Return whether an epoch begins where the one before it has ended."""
    if fit.kind == "GeneratorDataAdapter":
        return True
    return fit.steps_per_epoch is not None and fit.adapter.num_batches != fit.steps_per_epoch


def cannot_seek(fit: Fit, epochs: int) -> str | None:
    """Return why the data cannot be brought to where it was after a number of epochs."""
    if not epochs or not is_stream(fit):
        return None
    if fit.steps_per_epoch is None:
        return "a Python generator begins anew"
    end = fit.adapter.num_batches
    if fit.kind not in _STREAMS or (end is not None and epochs * fit.steps_per_epoch >= end):
        return "with steps_per_epoch this data goes on from epoch to epoch and begins anew now"
    return None


def batches_to_read(fit: Fit, epochs: int) -> int:
    """Return how many batches seek reads from a stream."""
    if not is_stream(fit) or _slices(fit):
        return 0
    return epochs * (fit.steps_per_epoch or 0)


def seek(fit: Fit, epochs: int, batches: int | None) -> None:
    """Bring data that has just been made to where it was after a number of epochs.

    batches is how many an epoch has, which Keras may have found out in the first one. Raises
    CannotResume if a stream ends before that.
    """
    if not epochs:
        return
    if is_stream(fit):
        _seek_stream(fit, epochs * int(fit.steps_per_epoch or 0))
        return
    for _ in range(_beginnings(fit, epochs)):
        iter(_tf_dataset(fit))
    if fit.batches is None:
        fit.epochs._num_batches = batches  # noqa: SLF001
    if fit.steps_per_epoch is not None:
        # Keras has made this epoch's iterator at the end of the one before it; torch's draws a
        # random number when it is made.
        fit.epochs._current_iterator = iter(fit.epochs._get_iterator())  # noqa: SLF001
        fit.epochs._steps_seen = 0  # noqa: SLF001


def _seek_stream(fit: Fit, batches: int) -> None:
    if _slices(fit):
        iterator = _sliced(fit, batches)
    else:
        iterator = iter(fit.epochs._get_iterator())  # noqa: SLF001
        for _ in range(batches):
            take(iterator, 1)
    fit.epochs._current_iterator = iterator  # noqa: SLF001
    fit.epochs._steps_seen = batches  # noqa: SLF001


def _beginnings(fit: Fit, epochs: int) -> int:
    """Return how often Keras begins a tf.data.Dataset in some epochs; 0 for other data."""
    if fit.kind != "TFDatasetAdapter":
        return 0
    if keras.backend.backend() != "tensorflow" or fit.steps_per_epoch is not None:
        return epochs
    # Once for the epoch and once, for nothing, at its end, where Keras knows of it beforehand.
    return epochs if fit.adapter.num_batches is None else 2 * epochs


def _tf_dataset(fit: Fit) -> Any:
    if keras.backend.backend() == "tensorflow":
        return fit.epochs._get_iterator()  # noqa: SLF001 - the dataset, distributed
    return fit.adapter._dataset  # noqa: SLF001


def _slices(fit: Fit) -> bool:
    """Return whether this is a grain.MapDataset, which finds a place without reading up to it."""
    return fit.kind == "GrainDatasetAdapter" and hasattr(fit.adapter._dataset, "slice")  # noqa: SLF001


def _sliced(fit: Fit, batches: int) -> Iterator[Any]:
    adapter = fit.adapter
    whole = adapter._dataset  # noqa: SLF001
    adapter._dataset = whole[batches:]  # noqa: SLF001
    try:
        is_tensorflow = keras.backend.backend() == "tensorflow"
        return iter(adapter.get_tf_dataset() if is_tensorflow else fit.epochs._get_iterator())  # noqa: SLF001
    finally:
        adapter._dataset = whole  # noqa: SLF001
