"""Is this the best checkpoint so far? Pure logic, and how the direction is found out."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCheckpoint, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.store import Store
    from kept.training.keras_api.adapter import KerasAdapter


def is_better(value: float, best: float | None, mode: str) -> bool:
    """Return whether value beats best; mode is "min" or "max".

    NaN and infinities never do: Keras's callback keeps a NaN of the first epoch as the best for
    ever, so that nothing is saved after it.
    """
    if not math.isfinite(value):
        return False
    if best is None or math.isnan(best):
        return True
    return value < best if mode == "min" else value > best


def scalar(value: Any) -> float | None:
    """Return a metric as a float, None if it is no single number."""
    if value is None or isinstance(value, str):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def monitored(callback: Any, logs: Mapping[str, Any]) -> float | None:
    """Return the value of the callback's metric; warn of none where one is needed."""
    monitor = callback.monitor
    value = scalar(logs.get(monitor))
    if value is None and callback.save_best_only:
        why = "is not a single number" if monitor in logs else "is not available"
        warnings.warn(
            f"Can save best model only with {monitor}, which {why}; saving anyway. "
            f"Available: {', '.join(sorted(logs))}",
            stacklevel=2,
        )
    return value


def as_text(value: float | None) -> str:
    """Return a metric as Keras's callback prints it."""
    return "None" if value is None else f"{value:.5f}"


def find_mode(callback: Any, edition: KerasAdapter) -> str:
    """Return "min" or "max" for the callback's metric; raises InvalidCheckpoint.

    With mode="auto" the loss goes down, and of other metrics Keras knows the direction, from the
    first batch on.
    """
    if callback.mode in ("min", "max"):
        return str(callback.mode)
    if callback.monitor.removeprefix("val_") == "loss":
        return "min"
    direction = edition.direction(callback)
    if direction is None:
        raise InvalidCheckpoint(
            f"mode='auto' cannot tell whether {callback.monitor!r} should go up or down. Pass "
            "mode='max' if higher is better, or mode='min' if lower is better. "
            f"Received: monitor={callback.monitor!r}, mode='auto'"
        )
    return direction


def best_in_store(store: Store, name: str, monitor: str, mode: str) -> float | None:
    """Return the value of the artifact's best version, None if there is none by this metric."""
    try:
        metadata: Mapping[str, Any] = store.version(f"{name}:best").metadata
    except NotFound:
        return None
    return best_value(metadata, monitor, mode)


def best_value(metadata: Mapping[str, Any], monitor: str, mode: str) -> float | None:
    """Return the value in a version's metadata, None if it is not by this metric."""
    if metadata.get("monitor") != monitor or metadata.get("mode") != mode:
        return None
    value = scalar(metadata.get("value"))
    return value if value is not None and math.isfinite(value) else None


def checkpoint_told(
    epoch: int,
    batch: int | None,
    step: int | None,
    judged: tuple[str, str | None, float | None],
    logs: Mapping[str, Any],
) -> dict[str, Any]:
    """Return where in the run a checkpoint is of, and what its metrics are.

    batch is None at the end of an epoch; judged are the monitored metric, the mode ("min" or "max",
    None while it is not known) and the metric's value (None for a save that is not judged by it).
    """
    monitor, mode, value = judged
    return {
        "epoch": epoch,
        "batch": batch,
        "step": step,
        "monitor": monitor,
        "mode": mode,
        "value": value,
        "metrics": numbers_or_texts(logs),
    }


def numbers_or_texts(logs: Mapping[str, Any]) -> dict[str, float | str]:
    """Return metrics as JSON can hold them."""
    return {name: _number_or_text(metric) for name, metric in logs.items()}


def _number_or_text(metric: Any) -> float | str:
    value = scalar(metric)
    return str(metric) if value is None else value
