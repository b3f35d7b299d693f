"""Charts in a terminal."""

import dataclasses
import math
import re
import sys

import pytest

from kept.charts.metrics import metric_chart
from kept.charts.parts.series import Axes
from kept.charts.render import svg
from kept.charts.rows import Point
from kept.charts.terminal import Terminal, draw
from kept.cli.layout import cells
from kept.errors import InvalidInput
from tests.charts.conftest import HOSTILE


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("count", [1, 2, 20, 10_000])
@pytest.mark.parametrize("axes", [Axes("epoch"), Axes("time", log=True)])
def test_a_chart_fits_into_the_terminal(curve, width, count, axes):
    shown = draw(curve(count), ["val_loss"], axes, Terminal(width, 12))
    chart = [line for line in shown.splitlines() if "│" in line]
    assert len(chart) >= 5
    assert max(map(cells, chart)) <= width
    assert "★" in shown
    assert f"★ best v{count - 1} " in shown


def test_without_unicode_the_chart_is_ascii(curve):
    points = [dataclasses.replace(point, would_go=point.index < 5) for point in curve(10)]
    shown = draw(points, ["val_loss", "val_accuracy"], terminal=Terminal(80, 14, is_ascii=True))
    assert shown.isascii()
    assert shown.startswith("* val_loss   # val_accuracy\n")
    assert "o" in shown


def test_without_colour_there_is_no_escape(curve):
    assert "\x1b" not in draw(curve(3), ["val_loss"])
    coloured = draw(curve(3), ["val_loss"], terminal=Terminal(has_colour=True))
    assert "\x1b[38;5;39m" in coloured


def test_points_of_versions_that_would_go_are_hollow(curve):
    points = [dataclasses.replace(point, would_go=point.index < 5) for point in curve(10)]
    shown = draw(points, ["val_loss"])
    assert shown.count("○") == 5
    assert "Hollow: 5 versions that would go." in shown


def test_of_many_versions_those_that_would_stay_have_dots(curve):
    points = [dataclasses.replace(p, would_go=p.index not in (200, 700)) for p in curve(1_000)]
    shown = draw(points, ["val_loss"])
    assert shown.count("●") == 3  # one is in the legend
    assert "○" not in shown
    assert "Dots: 2 versions that would stay, of 1,000." in shown


def test_no_two_ticks_lie_in_one_line():
    points = [Point(n, {"a": 0.101 + n / 20}) for n in range(20)]
    shown = draw(points, ["a"], Axes("version", log=True), Terminal(60, 10))
    ticks = [line.split("┤")[0].strip() for line in shown.splitlines() if "┤" in line]
    assert ticks == sorted(ticks, key=float, reverse=True)
    assert all(math.isfinite(float(tick)) for tick in ticks)


def test_no_name_reaches_the_terminal_as_it_is():
    values = {name: float(n) for n, name in enumerate(["\x1b[31mred", *HOSTILE])}
    points = [Point(n, values, flags=("\x1b[2J",)) for n in range(2)]
    shown = draw(points, list(values), Axes("version"))
    assert "\x1b" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("has_colour", [False, True])
def test_the_names_of_many_metrics_take_lines(has_colour):
    names = [f"metric_{n}" for n in range(50)]
    points = [Point(n, dict.fromkeys(names, float(n)), epoch=n) for n in range(3)]
    shown = re.sub(
        r"\x1b\[[0-9;]*m", "", draw(points, names, terminal=Terminal(80, 20, has_colour))
    )
    assert max(map(cells, shown.splitlines())) <= 80
    assert all(f" {name} " in shown.replace("\n", " \n") for name in names)


@pytest.mark.parametrize("by", ["epoch", "version"])
def test_versions_in_one_place_have_its_tick(by):
    points = [Point(5, {"a": 1.0}, epoch=5)]
    *_, ticks, title = draw(points, ["a"], Axes(by)).splitlines()
    assert (ticks.strip(), title.strip()) == ("5", by)


@pytest.mark.parametrize("epochs", [(-1e308, 1e308), (0.1, 0.2), (1e300, 1e308), (0, 2**50)])
def test_any_epochs_are_drawn_or_named(epochs):
    points = [Point(n, {"a": float(n)}, epoch=epoch) for n, epoch in enumerate(epochs)]
    shown = draw(points, ["a"])
    assert ("no epoch is known" in shown) is (epochs[1] > 1)
    assert ("│" in shown) is (abs(epochs[0]) < 1)
    assert "<svg" in svg(metric_chart(points, ["a"]))


def test_without_a_value_only_the_notes_are_shown():
    shown = draw([Point(0, {"a": math.nan})], ["a"], Axes("version"))
    assert shown == "● a\n1 value not shown: NaN or too large.\nNo value to show."


def test_without_the_package_the_error_names_the_extra(monkeypatch, curve):
    monkeypatch.setitem(sys.modules, "plotext", None)
    with pytest.raises(InvalidInput, match=r"pip install 'kept\[plot\]'"):
        draw(curve(1), ["val_loss"])


@pytest.mark.parametrize("values", [[1e308, -1e308], [5e-324, 1e-323], [0.0, 0.0], [1e300] * 3])
@pytest.mark.parametrize("is_log", [False, True])
def test_extreme_values_are_drawn_or_named(values, is_log):
    points = [Point(n, {"a": value}, is_best=n == 0) for n, value in enumerate(values)]
    axes = Axes("version", is_log)
    assert draw(points, ["a"], axes).startswith("● a")
    assert not re.search("[MLl,(]NaN", svg(metric_chart(points, ["a"], axes)))
