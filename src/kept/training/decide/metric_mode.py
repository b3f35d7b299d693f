"""Whether the monitored metric should go up or down, and its value at a save."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCheckpoint
from kept.training.monitor import Metric, scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.training.keras_api.adapter import KerasAdapter


def find_mode(callback: Any, adapter: KerasAdapter) -> str:
    """Return "min" or "max" for the callback's metric; raises InvalidCheckpoint.

    With mode="auto" a loss goes down. Keras knows the direction of other metrics, from the first
    batch on. An attribute monitor_op that the user set decides alone, as in Keras.
    """
    if getattr(callback, "monitor_op", None) is not None:
        return str(adapter.direction(callback))
    if callback.mode in ("min", "max"):
        return str(callback.mode)
    if callback.monitor.removeprefix("val_") == "loss":
        return "min"
    direction = adapter.direction(callback)
    if direction is None:
        raise InvalidCheckpoint(
            f"mode='auto' cannot find out whether {callback.monitor!r} should go up or down. Pass "
            "mode='max' if higher is better, or mode='min' if lower is better. "
            f"Received: monitor={callback.monitor!r}, mode='auto'"
        )
    return direction


def monitored(callback: Any, mode: str | None, logs: Mapping[str, Any]) -> Metric:
    """Return the callback's metric in the logs; warn if save_best_only lacks it."""
    name = callback.monitor
    value = scalar(logs.get(name))
    if value is None and callback.save_best_only:
        why = "is not a single number" if name in logs else "is not available"
        warnings.warn(
            f"Can save best model only with {name}, which {why}; saving anyway. "
            f"Available: {', '.join(sorted(logs))}",
            stacklevel=2,
        )
    return Metric(name, mode, value)
