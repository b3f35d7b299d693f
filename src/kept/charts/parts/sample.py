"""Fewer points for a chart of many: the lowest and the highest of each stretch stay."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def sampled(values: Sequence[float], most: int, always: Sequence[int] = ()) -> list[int]:
    """Return the places of about `most` values that show the same curve, in order.

    The first and the last one stay, the lowest and the highest of each stretch, and those in
    always. Values that are no finite number stay only in always.
    """
    places = [place for place, value in enumerate(values) if math.isfinite(value)]
    if len(places) <= most:
        return sorted({*places, *always})
    stretches = max(most // 2, 1)
    kept = {places[0], places[-1], *always}
    for number in range(stretches):
        start = number * len(places) // stretches
        stretch = places[start : (number + 1) * len(places) // stretches]
        kept.add(min(stretch, key=values.__getitem__))
        kept.add(max(stretch, key=values.__getitem__))
    return sorted(kept)
