"""Bringing data to the position where an epoch begins.

Most data begins again with every epoch, in an order that follows from the random states. Two kinds
do not. A tf.data.Dataset that reshuffles counts how often it was started. With steps_per_epoch, a
stream continues from epoch to epoch. Both count from the first epoch of the fit. So the first epoch
of a resumed run needs what the epochs before it have done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.training.data.replay_batches import read
from kept.training.keras_api import private_fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.data.running_fit import Fit

# Streams that give the same batches in a new run, or can be made to.
_STREAMS = ("TFDatasetAdapter", "GrainDatasetAdapter", "GeneratorDataAdapter")


def is_stream(fit: Fit) -> bool:
    """Return whether an epoch begins at the batch after the last one of the epoch before."""
    if fit.kind == "GeneratorDataAdapter":
        return True
    return fit.steps_per_epoch is not None and fit.adapter.num_batches != fit.steps_per_epoch


def cannot_seek(fit: Fit, epochs: int) -> str | None:
    """Return why seek cannot find the position after a number of epochs, None if it can."""
    if not epochs or not is_stream(fit):
        return None
    if fit.steps_per_epoch is None:
        return "a Python generator begins again from its start"
    end = fit.adapter.num_batches
    if fit.kind not in _STREAMS or (end is not None and epochs * fit.steps_per_epoch >= end):
        return (
            "with steps_per_epoch this data continues from epoch to epoch, and now it begins again "
            "from its start"
        )
    return None


def batches_to_read(fit: Fit, epochs: int) -> int:
    """Return how many batches seek reads from a stream."""
    if not is_stream(fit) or _is_sliceable(fit):
        return 0
    return epochs * (fit.steps_per_epoch or 0)


def seek(fit: Fit, epochs: int, batches: int | None) -> None:
    """Bring new data to the position after a number of epochs.

    batches is the number of batches in an epoch, because Keras may have learned it in the first
    one. Raises CannotResume if a stream ends before that position.
    """
    if not epochs:
        return
    if is_stream(fit):
        _seek_stream(fit, epochs * int(fit.steps_per_epoch or 0))
        return
    for _ in range(_starts(fit, epochs)):
        iter(_tf_dataset(fit))
    if fit.batches is None:
        private_fit.set_number_of_batches(fit.epochs, batches)
    if fit.steps_per_epoch is not None:
        # Keras makes the iterator of an epoch at the end of the epoch before. A torch DataLoader
        # draws a random number when it makes one.
        private_fit.set_position(fit.epochs, iter(private_fit.batches_of(fit.epochs)), 0)


def _seek_stream(fit: Fit, batches: int) -> None:
    if _is_sliceable(fit):
        iterator = _slice(fit, batches)
    else:
        iterator = iter(private_fit.batches_of(fit.epochs))
        for _ in range(batches):
            read(iterator, 1)
    private_fit.set_position(fit.epochs, iterator, batches)


def _starts(fit: Fit, epochs: int) -> int:
    """Return how often Keras starts a tf.data.Dataset in a number of epochs; 0 for other data."""
    if fit.kind != "TFDatasetAdapter":
        return 0
    if keras.backend.backend() != "tensorflow" or fit.steps_per_epoch is not None:
        return epochs
    # If Keras knows the number of batches, it starts the dataset a second time at the epoch's end.
    return epochs if fit.adapter.num_batches is None else 2 * epochs


def _tf_dataset(fit: Fit) -> Any:
    if keras.backend.backend() == "tensorflow":
        return private_fit.batches_of(fit.epochs)
    return private_fit.dataset_of(fit.adapter)


def _is_sliceable(fit: Fit) -> bool:
    """Return whether this is a grain.MapDataset, which needs no reading up to a position."""
    return fit.kind == "GrainDatasetAdapter" and hasattr(
        private_fit.dataset_of(fit.adapter), "slice"
    )


def _slice(fit: Fit, batches: int) -> Iterator[Any]:
    """Return an iterator over a grain.MapDataset that begins after a number of batches."""
    rest = private_fit.dataset_of(fit.adapter)[batches:]
    with private_fit.replaced_dataset(fit.adapter, rest):
        if keras.backend.backend() == "tensorflow":
            return iter(fit.adapter.get_tf_dataset())
        return iter(private_fit.batches_of(fit.epochs))
