"""What is told of a checkpoint in the metadata of its version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kept.training.monitor import scalar

if TYPE_CHECKING:
    from collections.abc import Mapping


def step(model: keras.Model) -> int | None:
    """Return how many steps the optimizer has made, None without an optimizer."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return None
    return int(keras.ops.convert_to_numpy(optimizer.iterations))


def numbers_or_texts(logs: Mapping[str, Any]) -> dict[str, float | str]:
    """Return metrics as JSON can hold them."""
    return {name: _number_or_text(metric) for name, metric in logs.items()}


def _number_or_text(metric: Any) -> float | str:
    value = scalar(metric)
    return str(metric) if value is None else value
