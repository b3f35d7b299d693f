"""The position in the data: whether kept can find it again, and the reason if it cannot.

kept restores the random states of the epoch's start, so the data comes in the same order again.
Then it replays the batches that were done. Whether the position is exact depends on the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.training.data import data_state, seek
from kept.training.data.data_state import dataset_of, has_own_state, loader_of
from kept.training.keras_api import private_fit
from kept.training.resume import rng

if TYPE_CHECKING:
    from kept.training.data.running_fit import Fit
    from kept.training.resume.state import State

FALLBACK = "this epoch starts again, and its finished batches are trained on again"


def cannot_find_batch(fit: Fit, state: State, processes: int = 1) -> str | None:
    """Return why kept cannot find a position within an epoch again, None if it can."""
    now = keras.backend.backend()
    if state.framework != now and _is_shuffled_array(fit):
        return f"{state.framework} shuffled the data before, and {now} shuffles it now"
    return _differs(fit, state, processes, state.epoch - state.first_epoch)


def cannot_find_epoch(fit: Fit, state: State, processes: int = 1) -> str | None:
    """Return why the next epochs differ from those of an uninterrupted run, None if they do not."""
    return _differs(fit, state, processes, state.epoch + 1 - state.first_epoch)


def _differs(fit: Fit, state: State, processes: int, epochs: int) -> str | None:
    return (
        other_processes(fit, state, processes)
        or other_batches(fit, state)
        or seek.cannot_seek(fit, epochs)
        or other_seed(fit, state)
    )


def other_processes(fit: Fit, state: State, processes: int) -> str | None:
    """Return why another number of processes reads other batches, None if it does not.

    A kept.Dataset that all processes divide has the same batches for each number of them.
    """
    if state.processes == processes:
        return None
    saved, now = state.data.get("order"), data_state.order_of(fit)
    if saved and now and saved.get("shards") == state.processes and now["shards"] == processes:
        return None if {**saved, "shards": processes} == now else "the kept.Dataset is another one"
    return f"{_read(state.processes)} the data before, and {_read(processes)} it now"


def _read(processes: int) -> str:
    return f"{processes} processes read" if processes > 1 else "1 process read"


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
    """Return why the data comes in another order than before, None if it does not.

    TensorFlow reads its seed for the shuffling of arrays before it calls any callback.
    """
    if not _is_shuffled_array(fit) or _same_seed(state):
        return None
    return (
        "TensorFlow shuffles arrays by its global seed, which is not set or has changed; call "
        "keras.utils.set_random_seed before fit, or use kept.Dataset"
    )


def doubt(fit: Fit) -> str | None:
    """Return the condition of an exact position that kept cannot check, None without one."""
    if fit.adapter is None:
        return "the data comes in the same order; kept cannot see which data this is"
    found: str | None = _DOUBTS[fit.kind](fit) if fit.kind in _DOUBTS else None
    return found


def start_epoch(fit: Fit, epoch: int, done: int = 0) -> None:
    """Call set_epoch(epoch, done) of the data, if it has that; done counts finished batches."""
    set_epoch = getattr(dataset_of(fit), "set_epoch", None)
    if set_epoch is not None:
        set_epoch(epoch, done if not getattr(fit.adapter, "shuffle", False) else 0)


def _is_shuffled_array(fit: Fit) -> bool:
    return fit.kind == "ArrayDataAdapter" and private_fit.shuffles_arrays(fit.adapter)


def _same_seed(state: State) -> bool:
    if keras.backend.backend() != "tensorflow" or state.framework != "tensorflow":
        return True
    now = rng.capture()["framework"]["seed"]
    return rng.is_seeded() and bool(state.random["framework"]["seed"] == now)


def _doubt_loader(fit: Fit) -> str | None:
    loader = loader_of(fit)
    sampler = getattr(loader, "batch_sampler", None) or loader.sampler
    inner = getattr(sampler, "sampler", sampler)
    if not all(type(one).__module__.startswith("torch.utils.data") for one in (sampler, inner)):
        return f"{type(inner).__name__} has no state except the global random generators"
    if not hasattr(loader.dataset, "__getitem__"):
        return "the iterable dataset gives the same rows in every epoch"
    if getattr(loader, "persistent_workers", False):
        return "the persistent workers of the DataLoader draw no random numbers"
    return None


def _doubt_py_dataset(fit: Fit) -> str | None:
    dataset = dataset_of(fit)
    if hasattr(dataset, "set_epoch"):
        return None
    name = type(dataset).__name__
    found = []
    for hook in ("on_epoch_begin", "on_epoch_end"):
        own = getattr(type(dataset), hook, None) is not getattr(keras.utils.PyDataset, hook, None)
        if own and not has_own_state(dataset):
            found.append(
                f"{name}.{hook} does not change the batches; if it does, give the dataset "
                "get_state() and set_state(state)"
            )
            break
    if keras.backend.backend() == "tensorflow" or getattr(dataset, "workers", 1) > 1:
        found.append(f"{name}.__getitem__ draws no random numbers, because batches are read early")
    return "; ".join(found) or None


_DOUBTS: dict[str, Any] = {
    "TFDatasetAdapter": lambda _: "a new tf.data.Dataset gives the same batches",
    "TorchDataLoaderAdapter": _doubt_loader,
    "PyDatasetAdapter": _doubt_py_dataset,
    "GeneratorDataAdapter": lambda _: "a new generator gives the same batches",
}
