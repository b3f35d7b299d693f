"""What a state says about a model, so that only a model of the same form resumes from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.training.snapshot.variables import all_optimizers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kept.training.snapshot.frameworks import Variable


def model_metadata(model: keras.Model) -> dict[str, Any]:
    """Return what a state says about the weights and the optimizers of a model."""
    return {
        "model": variables_metadata(model.weights),
        "optimizer": optimizer_metadata(model),
        "optimizers": trained_weights(model),
    }


def variables_metadata(variables: Iterable[Variable]) -> list[list[Any]]:
    """Return [path, shape, type] of each variable."""
    return [[v.path, list(v.shape), keras.backend.standardize_dtype(v.dtype)] for v in variables]


def optimizer_metadata(model: keras.Model) -> list[Any]:
    """Return the optimizer's class and the metadata of its variables; empty without optimizer."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return []
    return [type(optimizer).__name__, *variables_metadata(optimizer.variables)]


def trained_weights(model: keras.Model) -> list[list[int] | None]:
    """Return which of model.weights each optimizer was built with, as indices.

    It is empty for an optimizer that was not built, and None for one that trains other variables.
    """
    index = {id(variable): n for n, variable in enumerate(model.weights)}
    found: list[list[int] | None] = []
    for optimizer in all_optimizers(model):
        trained = built_with(optimizer)
        known = [index[id(variable)] for variable in trained if id(variable) in index]
        found.append(known if len(known) == len(trained) else None)
    return found


def built_with(optimizer: keras.optimizers.Optimizer) -> list[Variable]:
    """Return the variables that an optimizer trains; none before it is built."""
    return [*(getattr(optimizer, "_trainable_variables", None) or [])] if optimizer.built else []
