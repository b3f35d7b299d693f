"""Heat maps, bars of storage, sparklines, and how they are drawn."""

import json
import math
import struct
import sys
import xml.etree.ElementTree as ET

import pytest

from kept.charts import render
from kept.charts.heat_map import heat_map
from kept.charts.look import DARK, Look, even_ticks, label, labels, log_ticks, stacked
from kept.charts.metrics import metric_chart
from kept.charts.rows import Cell, Stored
from kept.charts.sparkline import sparkline
from kept.charts.storage import storage_bars
from kept.errors import InvalidInput
from tests.charts.conftest import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"


def test_a_heat_map_crosses_out_what_did_not_change():
    changes = {"v1": 0.1, "v2": 0.0, "v3": None, "v4": math.nan, "v5": 1e-7}
    spec = heat_map([Cell("dense", version, c) for version, c in changes.items()], "Layers")
    assert [row["c"] for row in spec["data"]["values"]] == [0.1, None, None, None, 1e-7]
    assert [row["t"] for row in spec["data"]["values"]] == [
        "0.1",
        "none",
        "not known",
        "nan",
        "1e-07",
    ]
    [*_, colours] = spec["layer"]
    assert colours["encoding"]["color"]["scale"]["domain"] == [1e-7, 0.1]
    json.dumps(spec, allow_nan=False)
    assert "crossed out" in render.svg(spec).lower()


def test_a_heat_map_keeps_the_order_of_layers_and_names_all():
    names = ["z", "a", *HOSTILE]
    spec = heat_map([Cell(name, "v1", 0.1) for name in names], HOSTILE[0], Look(DARK))
    shown = spec["encoding"]["y"]["scale"]["domain"]
    assert shown[:2] == ["z", "a"]
    assert len(set(shown)) == len(names)
    drawn = render.svg(spec)
    assert "<script" not in drawn
    assert "\u202e" not in drawn


def test_bars_of_storage_have_a_unit_and_leave_nothing_out():
    spec = storage_bars([Stored("v0", 2_000_000, 0, 0), Stored("v1", 500_000, 1_500_000, 250_000)])
    assert spec["encoding"]["y"]["title"] == "bytes (MB)"
    found = [(row["x"], row["k"], row["b"]) for row in spec["data"]["values"]]
    assert found == [
        ("v0", "new", 2.0), ("v1", "new", 0.5), ("v1", "shared", 1.5), ("v1", "saved", 0.25),
    ]  # fmt: skip
    [said] = spec["title"]["subtitle"]
    assert said == "2.5 MB new (full), 1.5 MB shared (pale), 250.0 kB saved (hollow)"
    many = storage_bars([Stored(f"v{n}", 1, 0, 0) for n in range(1_000)])
    assert many["title"]["subtitle"][1] == "The newest 200 of 1,000 versions."
    assert render.svg(spec).count("<path") > 4


def test_a_sparkline_has_a_title_and_a_dot():
    text = sparkline([3.0, math.nan, 1.0, 2.0], "<b>loss", best=2)
    root = ET.fromstring(text)
    assert root.find(f"{SVG}title").text == "<b>loss: 3 to 2, 4 versions"
    assert len(root.find(f"{SVG}polyline").get("points").split()) == 3
    assert root.find(f"{SVG}circle").get("cy") == "17.5"
    assert "style" not in text
    assert len(sparkline([float(n) for n in range(10_000)])) < 2_500


def test_a_sparkline_of_few_or_equal_values_is_drawn():
    assert sparkline([]) == sparkline([math.nan]) == ""
    for values in ([1.0], [2.0, 2.0], [0.0, 1e308, -1e308]):
        assert "nan" not in sparkline(values, "x").lower().replace("polyline", "")


def test_a_png_has_the_size_and_the_background_of_its_theme(curve):
    spec = metric_chart(curve(3), ["val_loss"], look=Look(DARK, 300, 100))
    data = render.png(spec, 2)
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width == pytest.approx(600, abs=40)
    assert height == pytest.approx(200, abs=40)
    assert spec["background"] == "transparent"  # the specification itself stays


def test_a_stack_of_charts_keeps_their_legends_apart(curve):
    one = metric_chart(curve(3), ["val_loss"], look=Look(width=300))
    assert stacked([one]) is one
    drawn = render.svg(stacked([one, metric_chart(curve(3), ["val_accuracy"])]))
    assert drawn.count(">best v2 ") == 4  # each on its halo


def test_the_script_for_browsers_is_made_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    render.bundle.cache_clear()
    made = render.bundle()
    assert b"vegaEmbed" in made
    [path] = (tmp_path / "kept").glob("vega-*.js")
    path.write_bytes(b"from the folder")
    render.bundle.cache_clear()
    assert render.bundle() == b"from the folder"
    render.bundle.cache_clear()


def test_a_cache_that_cannot_be_written_costs_only_time(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    render.bundle.cache_clear()
    assert b"vegaEmbed" in render.bundle()
    render.bundle.cache_clear()


def test_without_the_package_the_error_names_the_extra(monkeypatch, curve):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    for call in (render.svg, render.png):
        with pytest.raises(InvalidInput, match=r"pip install 'kept\[plot\]'"):
            call(metric_chart(curve(1), ["val_loss"]))


def test_labels_are_short_printable_and_differ():
    found = labels(HOSTILE + [f"{'x' * 30_000}{n}{'x' * 30_000}" for n in range(3)])
    assert len(set(found.values())) == len(found)
    assert all(text.isprintable() and 0 < len(text) <= 46 for text in found.values())
    assert label("a" * 41) == f"{'a' * 20}…{'a' * 19}"


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0.1, 1.0), [0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0]),
        ((0.001, 10.0), [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),
        ((0.31, 0.32), []),
    ],
)
def test_ticks_of_a_log_scale_are_round(span, expected):
    found = log_ticks(*span)
    assert set(found) <= set(expected)
    assert len(found) >= min(len(expected), 4)
    assert len(log_ticks(1e-300, 1e300)) <= 8


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1036, 1.1, [0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 9, [0.0, 2.0, 4.0, 6.0, 8.0]),
        (-3, 4, [-2.0, 0.0, 2.0, 4.0]),
        (5, 5, [5]),
    ],
)
def test_even_ticks_are_round(low, high, expected):
    assert even_ticks(low, high, 6) == expected


@pytest.mark.parametrize(("low", "high"), [(0, 1e300), (1e-300, 2e-300), (1e16, 1e16 + 4)])
def test_even_ticks_are_few_and_inside(low, high):
    found = even_ticks(low, high, 6)
    assert 1 <= len(found) <= 6
    assert all(low <= tick <= high for tick in found)


@pytest.mark.parametrize("changes", [[1.7e308, 1e-300], [1e-320], [0.0], [math.inf, math.nan], []])
def test_any_changes_have_a_scale(changes):
    spec = heat_map([Cell("dense", f"v{n}", c) for n, c in enumerate(changes)], "Layers")
    json.dumps(spec, allow_nan=False)
    assert "<svg" in render.svg(spec)
