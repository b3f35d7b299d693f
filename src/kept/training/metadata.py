"""What the metadata of a version tell of its checkpoint, as JSON can hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kept.training.monitor import scalar

if TYPE_CHECKING:
    from collections.abc import Mapping


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
