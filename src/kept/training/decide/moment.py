"""A moment of a fit that can be saved: the end of a batch or of an epoch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kept.training.monitor import metrics_as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.training.monitor import Metric


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in the run a checkpoint is from; epoch and batch count from 0."""

    epoch: int
    batch: int | None  # None at the end of an epoch
    logs: Mapping[str, Any]
    started: float = field(default_factory=time.perf_counter, compare=False)  # of its save

    @property
    def label(self) -> str:
        """The moment in messages, as Keras counts: "Epoch 1"."""
        return f"Epoch {self.epoch + 1}"

    @property
    def alias(self) -> str:
        """The alias of its version, as W&B counts: "epoch_0"."""
        own = f"epoch_{self.epoch}"
        return own if self.batch is None else f"{own}_batch_{self.batch}"

    def metadata(self, step: int | None, metric: Metric) -> dict[str, Any]:
        """Return what the metadata of its version say about it, as JSON can hold it."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": step,
            "monitor": metric.name,
            "mode": metric.mode,
            "value": metric.value,
            "metrics": metrics_as_json(self.logs),
        }
