"""The monitored metric: its value in the logs, and in the metadata of versions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kept.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.store.store import Store


@dataclass(frozen=True, slots=True)
class Metric:
    """A monitored metric: its name in the logs, its direction, and its value at one moment."""

    name: str
    mode: str | None  # "min" or "max"; None until the first batch has shown the metrics
    value: float | None = None  # None for a save that the metric does not decide

    def is_better_than(self, best: float | None) -> bool:
        """Return whether the value beats best.

        NaN and infinities never do. Keras's callback keeps a NaN of the first epoch as the best
        value, so it saves nothing after that epoch.
        """
        if self.value is None or not math.isfinite(self.value):
            return False
        if best is None or math.isnan(best):
            return True
        return self.value < best if self.mode == "min" else self.value > best

    def best_in(self, metadata: Mapping[str, Any]) -> float | None:
        """Return the value in a version's metadata, or None if another metric decided it."""
        if metadata.get("monitor") != self.name or metadata.get("mode") != self.mode:
            return None
        value = scalar(metadata.get("value"))
        return value if value is not None and math.isfinite(value) else None

    def best_in_store(self, store: Store, artifact: str) -> float | None:
        """Return the value of the artifact's best version, or None if it has none by the metric."""
        try:
            return self.best_in(store.version(f"{artifact}:best").metadata)
        except NotFound:
            return None


def scalar(value: Any) -> float | None:
    """Return a metric as a float, or None if it is no single number."""
    if value is None or isinstance(value, str):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def as_text(value: float | None) -> str:
    """Return a metric as Keras's callback prints it."""
    return "None" if value is None else f"{value:.5f}"


def metrics_as_json(logs: Mapping[str, Any]) -> dict[str, float | str]:
    """Return the metrics of the logs as JSON can hold them: numbers, or texts."""
    return {name: _as_json(metric) for name, metric in logs.items()}


def _as_json(metric: Any) -> float | str:
    value = scalar(metric)
    return str(metric) if value is None else value
