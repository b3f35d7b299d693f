"""The part of a state that is about the data, so that the batches come in the same order again."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from kept.training.data.dataset import Dataset
from kept.training.keras_api import private_fit

if TYPE_CHECKING:
    from kept.training.data.running_fit import Fit


def data_metadata(fit: Fit, first_epoch: int, own: Any) -> dict[str, Any]:
    """Return what a state holds about the data.

    The data began with first_epoch, and own is what own_state returned.
    """
    return {
        "first_epoch": first_epoch,
        "batches": fit.batches,
        "batch_size": getattr(fit.adapter, "batch_size", None),
        "own": own,
        **({"order": found} if (found := order_of(fit)) else {}),
    }


def own_state(fit: Fit) -> dict[str, Any]:
    """Return the state that the data itself has, beside the global random generators.

    It is what get_state of a keras.utils.PyDataset returns, if that also has set_state, and the
    states of the generators that the user gave a torch DataLoader.
    """
    found: dict[str, Any] = {}
    dataset = dataset_of(fit)
    if has_own_state(dataset):
        found["dataset"] = copy.deepcopy(dataset.get_state())
    generators = _generators(fit)
    if generators:
        found["generators"] = [generator.get_state().numpy() for generator in generators]
    return found


def restore_own(fit: Fit, own: dict[str, Any]) -> None:
    """Set the state of the data to what own_state returned."""
    dataset = dataset_of(fit)
    if "dataset" in own and has_own_state(dataset):
        dataset.set_state(copy.deepcopy(own["dataset"]))
    for generator, state in zip(_generators(fit), own.get("generators", ()), strict=False):
        import torch

        generator.set_state(torch.tensor(state))


def dataset_of(fit: Fit) -> Any:
    """Return the keras.utils.PyDataset of the training data, None for other data."""
    return getattr(fit.adapter, "py_dataset", None)


def order_of(fit: Fit) -> dict[str, int] | None:
    """Return what the order of a kept.Dataset depends on, None for other data."""
    dataset = dataset_of(fit)
    return dataset.order if isinstance(dataset, Dataset) else None


def has_own_state(dataset: Any) -> bool:
    """Return whether a dataset has get_state() and set_state(state)."""
    return all(callable(getattr(dataset, name, None)) for name in ("get_state", "set_state"))


def loader_of(fit: Fit) -> Any:
    """Return the torch DataLoader of the training data, None for other data."""
    return private_fit.loader_of(fit.adapter)


def _generators(fit: Fit) -> list[Any]:
    """Return the torch generators that the user gave a DataLoader or its samplers, each once."""
    loader = loader_of(fit)
    sampler = getattr(loader, "sampler", None)
    inner = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    found = [getattr(holder, "generator", None) for holder in (loader, sampler, inner)]
    return list({id(one): one for one in found if hasattr(one, "get_state")}.values())
