"""The position in the data: passing over the batches that were done before the interruption.

The randomness of the epoch's start is restored, so the data comes in the same order again; the
batches that were done are taken from it without training on them. What that gives depends on the
data, and this module says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.training import randomness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.training.fit import Fit
    from kept.training.state import State

FALLBACK = "the batches of this epoch are trained on from its start, those already done again"


class PassOver:
    """Stands in for model.train_function until a number of batches has been passed over.

    The last of them is trained on after all. So everything is built (TensorFlow builds metrics in
    the first step only) when the state that replaces the outcome is put in.
    """

    def __init__(self, model: keras.Model, batches: int, logs: dict[str, Any]) -> None:
        self._model = model
        self._left = batches
        self._logs = logs  # of the last of the batches when it was done
        self._train = model.train_function
        self._fit = model.history.params  # one dict for each fit
        self._is_jax = keras.backend.backend() == "jax"

    def __call__(self, *args: Any) -> Any:
        """Take what train_function takes; return what it returns."""
        if self._model.history.params is not self._fit:  # left behind by a fit that broke off
            self.stop()
            return self._train(*args)
        try:
            return self._pass(args)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Put the real function back."""
        self._model.train_function = self._train

    def _pass(self, args: tuple[Any, ...]) -> Any:
        self._left -= self._model.steps_per_execution
        if self._left <= 0:
            self.stop()
            outcome = self._train(*args)
            return (self._logs, outcome[1]) if self._is_jax else self._logs
        if not isinstance(args[-1], list):  # torch passes the batches and not an iterator
            self._take(args[-1])
        return ({}, args[0]) if self._is_jax else {}

    def _take(self, iterator: Iterator[Any]) -> None:
        next(iterator)
        for _ in range(self._model.steps_per_execution - 1):
            next(iterator, None)


def cannot_pass_over(fit: Fit, state: State) -> str | None:
    """Return why the position in the data cannot be found again, None if it can."""
    kind = type(fit.adapter).__name__
    if fit.steps_per_epoch is not None and _goes_on(fit):
        return "with steps_per_epoch the data goes on from epoch to epoch and begins anew now"
    if kind == "GeneratorDataAdapter":
        return "a Python generator begins anew"
    if state.framework != keras.backend.backend() and _is_shuffled(fit.adapter):
        return f"{state.framework} shuffled the data and {keras.backend.backend()} does it now"
    return other_seed(fit, state)


def other_seed(fit: Fit, state: State) -> str | None:
    """Return why the data will be shuffled otherwise than before, None if it will not.

    TensorFlow gives its seed to the shuffling of arrays before any callback is called.
    """
    is_array = type(fit.adapter).__name__ == "ArrayDataAdapter"
    if not is_array or not _is_shuffled(fit.adapter) or _same_seed(state):
        return None
    return (
        "TensorFlow shuffles arrays by its global seed, which was not set or is another one; call "
        "keras.utils.set_random_seed before fit, or use kept.Dataset"
    )


def doubt(fit: Fit) -> str | None:
    """Return on what an exact position depends that cannot be seen from here."""
    kind = type(fit.adapter).__name__
    if kind == "TFDatasetAdapter":
        return "a tf.data.Dataset must give the same order each time it is iterated"
    if kind == "TorchDataLoaderAdapter":
        return "a torch DataLoader must shuffle by torch's global generator, not one of its own"
    if fit.adapter is None:
        return "it cannot be seen what data this is"
    return None


def dataset_of(fit: Fit) -> Any:
    """Return the keras.utils.PyDataset that is trained on, None if it is other data."""
    return getattr(fit.adapter, "py_dataset", None)


def start_epoch(fit: Fit, epoch: int, done: int = 0) -> None:
    """Tell data that has a set_epoch(epoch, done) which epoch begins; done batches are passed."""
    set_epoch = getattr(dataset_of(fit), "set_epoch", None)
    if set_epoch is not None:
        set_epoch(epoch, done if not _is_shuffled(fit.adapter) else 0)


def forget_read_ahead(fit: Fit) -> None:
    """Throw away what the workers of a PyDataset have read before the first epoch. Private.

    Keras reads a batch to build the model; what the workers have read beyond it comes first in
    the first epoch and shifts every epoch after it. A resumed run would be shifted otherwise.
    """
    queue = getattr(getattr(fit.adapter, "enqueuer", None), "ready_queue", None)
    if queue is not None and fit.adapter.num_batches is not None:
        while not queue.empty():
            queue.get_nowait()


def _goes_on(fit: Fit) -> bool:
    return bool(fit.adapter is None or fit.adapter.num_batches != fit.steps_per_epoch)


def _is_shuffled(adapter: Any) -> bool:
    return bool(getattr(adapter, "_shuffle", getattr(adapter, "shuffle", False)))


def _same_seed(state: State) -> bool:
    if keras.backend.backend() != "tensorflow" or state.framework != "tensorflow":
        return True
    now = randomness.capture()["framework"]["seed"]
    return randomness.is_seeded() and bool(state.random["framework"]["seed"] == now)
