"""Whether the monitored metric should go up or down, and its value at a save."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from kept.errors import InvalidCheckpoint
from kept.messages import show_once
from kept.names import suggestion
from kept.store.rank.mode import is_loss
from kept.training.monitor import Metric, scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kept.training.decide.best import BestTracker
    from kept.training.keras_api.adapter import KerasAdapter
    from kept.training.save.path_template import PathTemplate


def find_mode(callback: Any, adapter: KerasAdapter) -> str:
    """Return "min" or "max" for the callback's metric; raises InvalidCheckpoint.

    With mode="auto" a loss goes down. Keras knows the direction of other metrics, from the first
    batch on. An attribute monitor_op that the user set decides alone, as in Keras.
    """
    if getattr(callback, "monitor_op", None) is not None:
        return str(adapter.direction(callback))
    if callback.mode in ("min", "max"):
        return str(callback.mode)
    if is_loss(callback.monitor):
        return "min"
    direction = adapter.direction(callback)
    if direction is None:
        raise InvalidCheckpoint(
            f"mode='auto' cannot find out whether {callback.monitor!r} should go up or down. Pass "
            "mode='max' if higher is better, or mode='min' if lower is better. "
            f"Received: monitor={callback.monitor!r}, mode='auto'"
        )
    return direction


def check_names(callback: Any, path: PathTemplate, logs: Mapping[str, Any]) -> None:
    """Report a metric or placeholder that looks misspelled, once the first batch shows the names.

    Other callbacks may add any name to the logs later, so an unknown name is no error.
    """
    known = {str(name) for name in logs} | {f"val_{name}" for name in logs}
    if callback.monitor not in known and (close := suggestion(callback.monitor, known)):
        show_once(f"no log has the metric {callback.monitor!r} so far{close}")
    for name in path.names - known - {"epoch", "batch"}:
        if close := suggestion(name, known | {"epoch", "batch"}):
            show_once(f"no log has {{{name}}} of filepath so far{close}")


def monitored(callback: Any, mode: str | None, logs: Mapping[str, Any]) -> Metric:
    """Return the callback's metric in the logs."""
    op = getattr(callback, "monitor_op", None)
    return Metric(callback.monitor, mode, scalar(logs.get(callback.monitor)), op)


def saves_unmeasured(
    callback: Any, adapter: KerasAdapter, best: BestTracker, logs: Mapping[str, Any]
) -> bool:
    """Return whether save_best_only saves a checkpoint without the metric, and warn of it.

    Keras 3 saves it, and tf_keras does not. No such checkpoint follows one with the metric.
    """
    name, saves = callback.monitor, adapter.saves_unmeasured and best.is_fresh
    why = "is not a single number" if name in logs else "is not available"
    names = sorted(map(str, logs))
    warnings.warn(
        f"Can save best model only with {name}, which {why}; "
        f"{'saving anyway' if saves else 'nothing is saved'}. Available: {', '.join(names)}"
        f"{suggestion(name, names)}",
        stacklevel=2,
    )
    return saves
