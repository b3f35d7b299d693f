import math
from datetime import UTC, datetime, timedelta

import pytest

from kept.charts.rows import Point

HOSTILE = [
    "a.b['x']\\\"<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "}); alert(1); ({",
    "datum['x']",
    "title",
    "image",
    "__proto__",
    "\u202egnp.exe",
    "x" * 100_000,
    "",
    "line\nbreak",
]
START = datetime(2026, 11, 30, 9, tzinfo=UTC)


@pytest.fixture
def curve():
    """Make the points of a falling loss, of which the last one is the best."""

    def make(count: int, **more) -> list[Point]:
        points = []
        for index in range(count):
            loss = 0.1 + math.exp(-index * 10 / count)
            created = (START + timedelta(minutes=index)).isoformat()
            is_best = index == count - 1
            values = {"val_loss": loss, "val_accuracy": 1 - loss / 2}
            points.append(Point(index, values, index, created, (), is_best, "val_loss", **more))
        return points

    return make
