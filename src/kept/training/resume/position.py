"""The position in the data: what can be found again, and what is said where it cannot.

The randomness of the epoch's start is restored, so the data comes in the same order again; the
batches that were done are taken from it without training on them. What that gives depends on the
data, and this module says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.training.data import seek
from kept.training.data.data_state import dataset_of, has_own_state, loader_of
from kept.training.resume import rng

if TYPE_CHECKING:
    from kept.training.data.running_fit import Fit
    from kept.training.resume.state import State

FALLBACK = "the batches of this epoch are trained on from its start, those already done again"


def cannot_pass_over(fit: Fit, state: State) -> str | None:
    """Return why the position in the middle of an epoch cannot be found again, None if it can."""
    if state.framework != keras.backend.backend() and _is_shuffled_array(fit):
        return f"{state.framework} shuffled the data and {keras.backend.backend()} does it now"
    epochs = state.epoch - state.first_epoch
    return other_batches(fit, state) or seek.cannot_seek(fit, epochs) or other_seed(fit, state)


def cannot_go_on(fit: Fit, state: State) -> str | None:
    """Return why the epochs after the end of one will not be what they would have been."""
    epochs = state.epoch + 1 - state.first_epoch
    return other_batches(fit, state) or seek.cannot_seek(fit, epochs) or other_seed(fit, state)


def other_batches(fit: Fit, state: State) -> str | None:
    """Return how the batches of an epoch differ from those of the saved run."""
    before = state.data.get("batches"), state.data.get("batch_size")
    now = fit.batches, getattr(fit.adapter, "batch_size", None)
    names = ("batches in an epoch", "rows in a batch")
    for name, saved, given in zip(names, before, now, strict=True):
        if saved is not None and given is not None and saved != given:
            return f"there were {saved} {name}, now there are {given}"
    return None


def other_seed(fit: Fit, state: State) -> str | None:
    """Return why the data will be shuffled otherwise than before, None if it will not.

    TensorFlow gives its seed to the shuffling of arrays before any callback is called.
    """
    if not _is_shuffled_array(fit) or _same_seed(state):
        return None
    return (
        "TensorFlow shuffles arrays by its global seed, which was not set or is another one; call "
        "keras.utils.set_random_seed before fit, or use kept.Dataset"
    )


def doubt(fit: Fit) -> str | None:
    """Return on what an exact position depends that cannot be seen from here."""
    if fit.adapter is None:
        return "it cannot be seen what data this is"
    found: str | None = _DOUBTS[fit.kind](fit) if fit.kind in _DOUBTS else None
    return found


def start_epoch(fit: Fit, epoch: int, done: int = 0) -> None:
    """Tell data that has a set_epoch(epoch, done) which epoch begins; done batches are passed."""
    set_epoch = getattr(dataset_of(fit), "set_epoch", None)
    if set_epoch is not None:
        set_epoch(epoch, done if not getattr(fit.adapter, "shuffle", False) else 0)


def forget_read_ahead(fit: Fit) -> None:
    """Throw away what the workers of a PyDataset have read before the first epoch. Private.

    Keras reads a batch to build the model; what the workers have read beyond it comes first in
    the first epoch and shifts every epoch after it. A resumed run would be shifted otherwise.
    """
    queue = getattr(getattr(fit.adapter, "enqueuer", None), "ready_queue", None)
    if queue is not None and fit.adapter.num_batches is not None:
        while not queue.empty():
            queue.get_nowait()


def _is_shuffled_array(fit: Fit) -> bool:
    return fit.kind == "ArrayDataAdapter" and bool(getattr(fit.adapter, "_shuffle", False))


def _same_seed(state: State) -> bool:
    if keras.backend.backend() != "tensorflow" or state.framework != "tensorflow":
        return True
    now = rng.capture()["framework"]["seed"]
    return rng.is_seeded() and bool(state.random["framework"]["seed"] == now)


def _doubt_loader(fit: Fit) -> str | None:
    loader = loader_of(fit)
    sampler = getattr(loader, "batch_sampler", None) or loader.sampler
    inner = getattr(sampler, "sampler", sampler)
    if all(type(one).__module__.startswith("torch.utils.data") for one in (sampler, inner)):
        iterable = not hasattr(loader.dataset, "__getitem__")
        return "the iterable dataset gives the same rows in every epoch" if iterable else None
    return f"{type(inner).__name__} has no memory but the global random generators"


def _doubt_py_dataset(fit: Fit) -> str | None:
    dataset = dataset_of(fit)
    if has_own_state(dataset) or hasattr(dataset, "set_epoch"):
        return None
    for name in ("on_epoch_begin", "on_epoch_end"):
        if getattr(type(dataset), name, None) is not getattr(keras.utils.PyDataset, name, None):
            return (
                f"{type(dataset).__name__}.{name} leaves the batches as they are; if it does not, "
                "give the dataset get_state() and set_state(state)"
            )
    return None


_DOUBTS: dict[str, Any] = {
    "TFDatasetAdapter": lambda _: "the tf.data.Dataset gives the same batches when made anew",
    "TorchDataLoaderAdapter": _doubt_loader,
    "PyDatasetAdapter": _doubt_py_dataset,
    "GeneratorDataAdapter": lambda _: "the generator gives the same batches when made anew",
}
