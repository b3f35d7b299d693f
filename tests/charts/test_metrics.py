"""The chart of metrics: what it shows of few and of many versions, and what it says is missing."""

import dataclasses
import json
import math
import random

import pytest

from kept.charts.look import CSS, DARK, LIGHT, SHAPES, Look
from kept.charts.metrics import axis_groups, metric_chart
from kept.charts.parts.sample import sampled
from kept.charts.parts.series import Axes
from kept.charts.render import svg
from kept.charts.rows import Point
from tests.charts.conftest import HOSTILE

VERSION = Axes("version")


def rows(spec):
    return spec["data"]["values"]


def notes(spec):
    return spec["title"].get("subtitle", [])


def texts(spec):
    """The texts beside the stars."""
    values = [layer["data"]["values"][0] for layer in spec["layer"] if "data" in layer]
    return {value["t"] for value in values if "t" in value}


@pytest.mark.parametrize("count", [1, 2, 20, 10_000])
@pytest.mark.parametrize("by", ["version", "epoch", "time"])
@pytest.mark.parametrize("is_log", [False, True])
def test_any_number_of_versions_is_drawn(curve, count, by, is_log):
    spec = metric_chart(curve(count), ["val_loss", "val_accuracy"], Axes(by, is_log))
    drawn = svg(spec)
    assert drawn.startswith("<svg")
    assert "NaN" not in drawn
    assert "Infinity" not in drawn
    assert f"best v{count - 1} " in drawn
    assert len(drawn) < 400_000


def test_of_many_points_the_extremes_and_the_marked_ones_stay(curve):
    points = curve(10_000)
    chance = random.Random(3)
    low, high, flagged, best = chance.sample(range(10_000), 4)
    change = dataclasses.replace
    points[-1] = change(points[-1], is_best=False)
    points[low] = change(points[low], values={"val_loss": 0.0001})
    points[high] = change(points[high], values={"val_loss": 99.0})
    points[flagged] = change(points[flagged], flags=("prod",))
    points[best] = change(points[best], is_best=True)
    spec = metric_chart(points, ["val_loss"], VERSION)
    shown = {row["x"] for row in rows(spec)}
    assert {0, 9_999, low, high, flagged, best} <= shown
    assert len(shown) < 700
    assert notes(spec)[0].startswith(f"{len(shown)} of 10,000 points are shown")


def test_a_sample_has_the_lowest_and_highest_of_each_stretch():
    values = [math.sin(n / 50) for n in range(5_000)]
    values[1234], values[4321] = 5.0, -5.0
    found = sampled(values, 100, [7])
    assert {0, 7, 1234, 4321, 4_999} <= set(found)
    assert len(found) <= 103
    assert found == sorted(found)
    assert sampled([1.0, math.nan, 2.0], 10) == [0, 2]


def test_values_without_a_place_are_counted(curve):
    bad = [math.nan, math.inf, 0.0, -1.0]
    points = [Point(n, {"a": value}) for n, value in enumerate([1.0, 0.5, *bad])]
    linear = metric_chart(points, ["a"], VERSION)
    assert notes(linear) == ["2 values not shown: NaN or too large."]
    assert [row["y"] for row in rows(linear)] == [1.0, 0.5, None, None, 0.0, -1.0]
    log = metric_chart(points, ["a"], Axes("version", log=True))
    assert notes(log) == ["4 values not shown: zero, negative, NaN or too large."]
    json.dumps(log, allow_nan=False)
    assert "<svg" in svg(log)


def test_without_a_value_the_chart_says_so():
    spec = metric_chart([Point(0, {"a": math.nan})], ["a"], VERSION)
    assert notes(spec)[-1] == "No value to show."
    assert "No value to show." in svg(spec)
    assert "<svg" in svg(metric_chart([], ["a"], Axes("version", log=True)))


def test_versions_without_an_epoch_are_counted():
    points = [Point(0, {"a": 1.0}, epoch=0), Point(1, {"a": 2.0})]
    spec = metric_chart(points, ["a"])
    assert [row["x"] for row in rows(spec)] == [0]
    assert notes(spec) == ["1 version not shown: no epoch is known."]


def test_versions_that_would_go_are_hollow(curve):
    points = curve(5)
    points[:3] = [dataclasses.replace(point, would_go=True) for point in points[:3]]
    spec = metric_chart(points, ["val_loss"])
    assert [row.get("g", False) for row in rows(spec)] == [True, True, True, False, False]
    assert notes(spec) == ["Hollow: 3 versions that would go."]
    marks = [layer["mark"] for layer in spec["layer"] if layer["mark"].get("filled") is False]
    assert [mark["fill"] for mark in marks] == [LIGHT.surface]


def test_of_many_versions_those_that_would_stay_have_dots(curve):
    points = [dataclasses.replace(p, would_go=p.index not in (17, 5_000)) for p in curve(10_000)]
    spec = metric_chart(points, ["val_loss"])
    assert {row["x"] for row in rows(spec) if "g" not in row} == {17, 5_000}
    assert notes(spec)[1] == "Dots: 2 versions that would stay, of 10,000."
    assert [layer["mark"]["type"] for layer in spec["layer"]].count("point") == 2  # one is the star
    assert "<svg" in svg(spec)


def test_the_best_version_is_named_with_its_value(curve):
    assert texts(metric_chart(curve(3), ["val_loss"])) == {"best v2 0.1013 (epoch 2)"}
    spec = metric_chart(curve(3), ["val_accuracy"])
    assert texts(spec) == {"best v2 by val_loss (epoch 2)"}
    assert "best v2 0.1013" in metric_chart(curve(3), ["val_loss"])["description"]


def test_flags_stand_beside_each_other():
    points = [Point(n, {"a": 1.0}, flags=("prod",) if n < 2 else ()) for n in range(20)]
    spec = metric_chart(points, ["a"], VERSION)
    rules = [layer for layer in spec["layer"] if layer["mark"]["type"] == "rule"]
    heights = [layer["encoding"]["y"]["value"] for layer in rules]
    assert len(heights) == 2
    assert heights[0] != heights[1]
    assert svg(spec).count(">prod</text>") == 2


def test_series_differ_by_more_than_their_colour(curve):
    spec = metric_chart(curve(4), ["val_loss", "val_accuracy"])
    lines = [layer["mark"]["strokeDash"] for layer in spec["layer"]
             if layer["mark"]["type"] == "line"]  # fmt: skip
    assert lines == [[1, 0], [6, 3]]
    [shapes] = {
        tuple(layer["encoding"]["shape"]["scale"]["range"])
        for layer in spec["layer"]
        if "shape" in layer["encoding"]
    }
    assert shapes == SHAPES[:2]


def test_several_artifacts_share_a_chart(curve):
    points = curve(3, artifact="a") + curve(2, artifact="b")
    spec = metric_chart(points, ["val_loss"], VERSION, Look(is_interactive=True))
    assert {row["s"] for row in rows(spec)} == {"a", "b"}
    assert texts(spec) == {"best a:v2 0.1013 (epoch 2)", "best b:v1 0.1067 (epoch 1)"}
    both = metric_chart(points, ["val_loss", "val_accuracy"], VERSION)
    assert {row["s"] for row in rows(both)} == {
        "a: val_loss", "a: val_accuracy", "b: val_loss", "b: val_accuracy",
    }  # fmt: skip
    assert rows(spec)[0]["tip"]["artifact"] == "a"


def test_the_tooltip_has_all_metrics(curve):
    [first, *_] = rows(metric_chart(curve(3), ["val_loss"], VERSION, Look(is_interactive=True)))
    assert first["tip"] == {
        "version": "v0", "epoch": "0", "time": "2026-11-30 09:00:00",
        "val_loss": "1.1", "val_accuracy": "0.45",
    }  # fmt: skip


def test_of_many_metrics_the_tooltip_has_the_drawn_ones_and_a_count():
    points = [Point(0, {f"m{n}": float(n) for n in range(30)})]
    look = Look(is_interactive=True)
    [row] = rows(metric_chart(points, ["m29"], VERSION, look))
    assert list(row["tip"])[:3] == ["version", "m29", "m0"]
    assert row["tip"]["more metrics"] == "10"


def expressions(value, key=""):
    """All texts of a specification that Vega reads as a program or as a name."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name not in ("tip", "data"):
                yield from expressions(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from expressions(each, key)
    elif key in ("expr", "filter", "field", "test", "signal", "calculate", "groupby"):
        yield value


def test_no_name_is_an_expression_or_a_field():
    values = {name: 1.0 + n for n, name in enumerate(HOSTILE)}
    points = [Point(n, values, n, flags=(HOSTILE[0],), artifact=HOSTILE[1]) for n in range(3)]
    spec = metric_chart(points, HOSTILE, look=Look(is_interactive=True))
    found = set(expressions(spec))
    assert found
    assert found <= {"x", "y", "s", "n", "t", "datum.g", "!datum.g",
                     "datum.datum ? datum.datum.tip : datum.tip",
                     *(f"datum.k === {n}" for n in range(len(HOSTILE)))}  # fmt: skip
    assert not {"title", "image", "__proto__"} & set(rows(spec)[0]["tip"])
    assert len({row["s"] for row in rows(spec)}) == len(HOSTILE)
    drawn = svg(spec)
    assert "<script" not in drawn
    assert "<img" not in drawn
    assert "&lt;script&gt;" in drawn
    assert "\u202e" not in drawn
    assert len(json.dumps(spec)) < 100_000


def test_metrics_of_different_sizes_get_an_axis_each():
    points = [Point(0, {"loss": 0.5, "acc": 0.9, "lr": 1e-4, "gone": math.nan})]
    assert axis_groups(points, ["loss", "acc", "lr"]) == [["loss", "acc"], ["lr"]]
    assert axis_groups(points, ["gone"]) == [["gone"]]


@pytest.mark.parametrize("theme", [LIGHT, DARK, CSS])
def test_a_theme_has_all_colours(curve, theme):
    spec = metric_chart(curve(3), ["val_loss"], look=Look(theme))
    assert spec["config"]["title"]["color"] == theme.text
    assert spec["background"] == "transparent"
    assert theme.series[0] in json.dumps(spec)
