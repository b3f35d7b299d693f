"""What a callback with verbose=1 prints of its saves, in the words of Keras's callback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.training.monitor import as_text

if TYPE_CHECKING:
    from kept.training.decide.moment import Moment
    from kept.training.monitor import Metric
    from kept.training.request import Improvement, SaveResult


def not_saved(moment: Moment, metric: Metric, best: float | None) -> str:
    """Return the message for a checkpoint that save_best_only does not save."""
    return f"{moment.label}: {metric.name} did not improve from {as_text(best)}"


def save_begins(moment: Moment, metric: Metric, improvement: Improvement | None, path: str) -> str:
    """Return the message for a checkpoint that is saved."""
    if improvement is None:
        return f"{moment.label}: saving model to {path}"
    change = f"{as_text(improvement.before)} to {as_text(improvement.value)}"
    return f"{moment.label}: {metric.name} improved from {change}, saving model to {path}"


def save_ended(result: SaveResult) -> str | None:
    """Return the message for a result; None for a failure, which is raised or warned of."""
    request = result.request
    if result.dropped:
        return f"{request.label}: skipped, two are still being written"
    if not result.committed or result.error is not None:
        return None
    if result.superseded:
        return (
            f"{request.label}: finished saving {result.name}; the next save is for {request.path}"
        )
    return f"{request.label}: finished saving model to {request.path} ({result.name})"
