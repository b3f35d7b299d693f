"""The best value of the monitored metric so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.store.health.state import is_unhealthy
from kept.training.request import Improvement

if TYPE_CHECKING:
    from kept.training.monitor import Metric
    from kept.training.request import SaveResult


class BestTracker:
    """Owns the best value: proposes it, confirms it on a commit, takes it back on a failure.

    A proposed value counts at once, because the next epochs end while its checkpoint is written.
    """

    def __init__(self) -> None:
        self.initial: float | None = None  # initial_value_threshold
        self._series: tuple[str, ...] | None = None  # where the versions go
        self._confirmed: float | None = None
        self._proposed: list[Improvement] = []  # oldest first; their saves have no result yet

    @property
    def value(self) -> float | None:
        """The value that a metric must beat; None if nothing was the best so far."""
        return self._proposed[-1].value if self._proposed else self._confirmed

    @value.setter
    def value(self, value: float | None) -> None:
        self._confirmed, self._proposed = value, []

    @property
    def is_fresh(self) -> bool:
        """Whether no checkpoint was the best so far."""
        return self.value is None or self.value == self.initial

    def begin(self, initial: float | None) -> None:
        """Begin with initial_value_threshold, which may be None."""
        self.initial = self.value = initial

    def begin_series(self, series: tuple[str, ...]) -> None:
        """Start afresh if the versions of a fit go elsewhere than those of the fit before."""
        if self._series not in (None, series):
            self.begin(self.initial)
        self._series = series

    def propose(self, metric: Metric) -> Improvement | None:
        """Make the metric's value the best if it beats the best so far; return what changed."""
        before = self.value
        if metric.value is None or not metric.is_better_than(before):
            return None
        improvement = Improvement(metric.value, before)
        self._proposed.append(improvement)
        return improvement

    def continue_from(self, earlier: Metric) -> bool:
        """Take over the best value of an earlier run; return False if it does not beat this one."""
        if not earlier.is_better_than(self.value):
            return False
        self.value = earlier.value
        return True

    def settle(self, result: SaveResult) -> None:
        """Confirm the value that a request proposed.

        It is taken back if nothing was committed, or if the version is unhealthy: a later value
        then becomes the best one.
        """
        improvement = result.request.improvement
        place = next((n for n, one in enumerate(self._proposed) if one is improvement), None)
        if improvement is None or place is None:  # the best was set meanwhile
            return
        if result.committed and not is_unhealthy(result.request.metadata):
            self._confirmed = improvement.value
            # Older proposals that are still open never got a result: their hook was interrupted.
            del self._proposed[: place + 1]
        else:
            del self._proposed[place]
