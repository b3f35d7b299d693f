"""What is kept of the data, so that it comes in the same order again."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kept.training.data.running_fit import Fit


def describe(fit: Fit, first_epoch: int, own: Any) -> dict[str, Any]:
    """Return what a state holds of the data; own is what own_state has returned."""
    return {
        "first_epoch": first_epoch,  # the one that the data began with
        "batches": fit.batches,
        "batch_size": getattr(fit.adapter, "batch_size", None),
        "own": own,
    }


def own_state(fit: Fit) -> dict[str, Any]:
    """Return what the data itself says that it remembers, beside the global random generators.

    That is what a keras.utils.PyDataset returns from get_state, if it has that and set_state, and
    the states of the generators that a torch DataLoader was given.
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
    """Give the data back what own_state has returned."""
    dataset = dataset_of(fit)
    if "dataset" in own and has_own_state(dataset):
        dataset.set_state(copy.deepcopy(own["dataset"]))
    for generator, state in zip(_generators(fit), own.get("generators", ()), strict=False):
        import torch

        generator.set_state(torch.tensor(state))


def dataset_of(fit: Fit) -> Any:
    """Return the keras.utils.PyDataset that is trained on, None if it is other data."""
    return getattr(fit.adapter, "py_dataset", None)


def has_own_state(dataset: Any) -> bool:
    """Return whether a dataset has get_state() and set_state(state)."""
    return all(callable(getattr(dataset, name, None)) for name in ("get_state", "set_state"))


def loader_of(fit: Fit) -> Any:
    """Return the torch DataLoader that is trained on, None if it is other data. Private."""
    return getattr(fit.adapter, "_dataloader", None)


def _generators(fit: Fit) -> list[Any]:
    """Return the torch generators that a DataLoader shuffles by, where it was given any."""
    loader = loader_of(fit)
    sampler = getattr(loader, "sampler", None)
    inner = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    found = [getattr(holder, "generator", None) for holder in (loader, sampler, inner)]
    return list({id(one): one for one in found if hasattr(one, "get_state")}.values())
