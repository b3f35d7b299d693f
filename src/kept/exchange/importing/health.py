"""Measures the health of a file before it becomes a version: an unhealthy one is never the best."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kept.errors import KeptError
from kept.store.health.findings import Layers, Statistics, Wrong, judge
from kept.store.health.measure import Figures
from kept.store.tensors.kinds import is_floating
from kept.store.tensors.stats import stats_of
from kept.store.tensors.tensors import tensors_at

if TYPE_CHECKING:
    from kept.store.encoding import Json


def health_in(path: str) -> dict[str, Json]:
    """Return the metadata that state the health of a file; none if it has no readable tensors.

    Only NaN and infinities count: a file does not say which weights are trained.
    """
    norms, wrong = [], []
    try:
        with tensors_at(path) as tensors:
            for tensor in tensors:
                if not is_floating(tensor.dtype):
                    continue
                found = stats_of(tensors, tensor)
                if found.nans or found.infinities:
                    counts = Figures(math.nan, found.nans, found.infinities)
                    wrong.append(Wrong(tensor.name, tensor.size, counts))
                if not tensor.is_optimizer:
                    norms.append(math.nan if found.nans or found.infinities else found.norm)
    except (KeptError, OSError):
        return {}
    if not norms:
        return {}
    return judge(Statistics(Layers(), np.zeros(0), {}, math.hypot(*norms), wrong), None)
