"""The monitored metric: its value in the logs, and in the metadata of versions."""

from __future__ import annotations

import functools
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kept.errors import NotFound
from kept.names import Reference
from kept.store.encoding import canonical
from kept.store.health.state import is_unhealthy
from kept.store.log.lookup import find, view_of
from kept.store.metadata import check_metadata
from kept.store.rank.best import BEST, is_better, score_of
from kept.store.rank.rule import records_in, rule_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kept.store.store import Store

_MOST_ITEMS = 1000  # of an array of the logs in the metadata
_MOST_BYTES = 16 * 1024  # of JSON
_LEFT_OUT = object()


@dataclass(frozen=True, slots=True)
class Metric:
    """A monitored metric: its name in the logs, its direction, and its value at one moment."""

    name: str
    mode: str | None  # "min" or "max"; None until the first batch has shown the metrics
    value: float | None = None  # None for a save that the metric does not decide
    op: Callable[[float, float], Any] | None = None  # Keras's attribute monitor_op, if it is set

    def is_better_than(self, best: float | None) -> bool:
        """Return whether the value beats best.

        NaN and infinities never do. Keras's callback keeps a NaN of the first epoch as the best
        value, so it saves nothing after that epoch.
        """
        if self.op is None or self.value is None or best is None or math.isnan(best):
            return is_better(self.value, best, self.mode)
        return math.isfinite(self.value) and bool(self.op(self.value, best))

    def best_in(self, metadata: Mapping[str, Any]) -> float | None:
        """Return the value in a version's metadata.

        None if another metric decided it, or if the version is unhealthy.
        """
        score = None if is_unhealthy(metadata) else score_of(metadata)
        if score is None or (score.monitor, score.mode) != (self.name, self.mode):
            return None
        return score.value

    def best_of(self, values: Iterable[float | None]) -> float | None:
        """Return the best of some values of this metric, None if there is none."""
        best: float | None = None
        for value in values:
            best = value if is_better(value, best, self.mode) else best
        return best

    def best_in_store(self, store: Store, artifact: str) -> float | None:
        """Return the value of the artifact's best version, or None if it has none by the metric.

        If a rule decides the alias best, the best of the metric can be another version.
        """
        try:
            view = view_of(store.logs, artifact)
            if rule_of(view) is not None:
                return self.best_of(self.best_in(record.metadata) for record in records_in(view))
            return self.best_in(find(view, Reference(artifact, alias=BEST)).metadata)
        except NotFound:
            return None


def scalar(value: Any) -> float | None:
    """Return a metric as a float, or None if it is no single number.

    Logs may hold any object, so any error of a conversion means that it is no number.
    """
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        return float(value)
    except Exception:  # noqa: BLE001 - of the object's own code
        return None


def as_text(value: float | None) -> str:
    """Return a metric as Keras's callback prints it."""
    return "None" if value is None else f"{value:.5f}"


def metrics_as_json(logs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the metrics of the logs as JSON can hold them; a warning names once what cannot."""
    found = {name: _as_json(name, metric) for name, metric in logs.items()}
    for name in (name for name, metric in found.items() if metric is _LEFT_OUT):
        _warn(repr(name), type(logs[name]).__name__)
    return {name: metric for name, metric in found.items() if metric is not _LEFT_OUT}


def _as_json(name: Any, metric: Any) -> Any:
    number = scalar(metric)
    value = metric if number is None else number
    if isinstance(value, np.ndarray) and value.size > _MOST_ITEMS:
        return _LEFT_OUT
    try:
        plain = check_metadata({name: value})
        return plain[name] if len(canonical(plain)) <= _MOST_BYTES else _LEFT_OUT
    except Exception:  # noqa: BLE001 - as in scalar
        return _LEFT_OUT


@functools.cache
def _warn(name: str, kind: str) -> None:
    warnings.warn(
        f"The metric {name} of the logs is left out of the metadata of versions: a {kind} is no "
        "number, short text or small list. Training and files are not affected",
        stacklevel=2,
    )
